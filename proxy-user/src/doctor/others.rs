//! Who else is here: BPF programs on the cgroup and above it, Istio's iptables chains.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader},
    os::fd::AsFd as _,
    path::Path,
    process::Command,
};

use proxy_plane::{
    cgroup::{self, Cgroup},
    dataplane::HOOKS,
    sys::bpf_query,
};

use super::finding::{Finding, read};

const PROGRAMS: &str = "other_programs";
const CHAINS: &str = "istio_chains";

/// Programs that run for the workload's sockets besides ours.
pub(super) fn on_cgroup(cgroup: Option<&Cgroup>) -> Vec<Finding> {
    let opened;
    let cgroup = match cgroup {
        Some(cgroup) => cgroup,
        None => match cgroup::mount_point().and_then(|root| Cgroup::open(&root)) {
            Ok(root) => {
                opened = root;
                &opened
            }
            // The check of the mounts has said it.
            Err(_) => return Vec::new(),
        },
    };
    let place = cgroup.path().display();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for hook in HOOKS.iter().filter(|hook| hook.target == proxy_plane::dataplane::Target::Cgroup) {
        match bpf_query::effective(cgroup.as_fd(), hook.kind) {
            Ok(0) => {}
            Ok(count) => {
                counts.insert(hook.program, count);
            }
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                let why = format!("the programs on {place} cannot be seen: {error}");
                return vec![Finding::unseen(PROGRAMS, why, "run doctor as root")];
            }
            // A hook this kernel does not know holds nothing.
            Err(_) => {}
        }
    }
    if counts.is_empty() {
        return vec![Finding::ok(PROGRAMS, format!("none at the hooks of {place}"))];
    }
    let list: Vec<String> = counts.iter().map(|(hook, count)| format!("{hook} {count}")).collect();
    // sidestep's own count as well: links are "multi", and what is attached runs beside the others.
    vec![Finding::ok(
        PROGRAMS,
        format!("run for {place}, sidestep's included: {}; all of them run", list.join(", ")),
    )]
}

/// In the calling thread's network namespace.
pub(super) fn in_netns() -> Vec<Finding> {
    let (found, unseen) = istio_chains_here();
    if !found.is_empty() {
        let advice = "both would capture: remove the chains before attach (the real `istio-iptables --cleanup-only`, or \
                      a pod without istio-init)";
        return vec![Finding::degraded(CHAINS, found.join("; "), advice)];
    }
    if !unseen.is_empty() {
        let advice = "run doctor as root, with iptables installed";
        return vec![Finding::unseen(CHAINS, unseen.join("; "), advice)];
    }
    vec![Finding::ok(CHAINS, "none in this network namespace")]
}

/// Istio's chains in the calling thread's network namespace, by the program that lists them, and what could not be looked
/// at.
pub(crate) fn istio_chains_here() -> (Vec<String>, Vec<String>) {
    let mut found = Vec::new();
    let mut unseen = Vec::new();
    // Asking a backend that is not in use would load its modules.
    let nf_tables = nf_tables();
    let in_use = [
        ("iptables-nft-save", nf_tables.clone()),
        ("iptables-legacy-save", legacy_tables("/proc/thread-self/net/ip_tables_names")),
        ("ip6tables-nft-save", nf_tables.clone()),
        ("ip6tables-legacy-save", legacy_tables("/proc/thread-self/net/ip6_tables_names")),
    ];
    for (program, used) in in_use {
        match used {
            Ok(false) => {}
            Ok(true) => match chains(program) {
                Ok(chains) if chains.is_empty() => {}
                Ok(chains) => found.push(format!("{program}: {}", chains.join(", "))),
                Err(error) => unseen.push(error),
            },
            Err(error) => unseen.push(error),
        }
    }
    (found, unseen)
}

/// Whether nf_tables is in the kernel, loaded or built in: sysfs does not list what is built in.
fn nf_tables() -> Result<bool, String> {
    if Path::new("/sys/module/nf_tables").is_dir() {
        return Ok(true);
    }
    let file = File::open("/proc/kallsyms").map_err(|error| format!("/proc/kallsyms: {error}"))?;
    Ok(BufReader::new(file)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.ends_with(" nft_register_chain_type")))
}

fn legacy_tables(path: &str) -> Result<bool, String> {
    match read(path) {
        Ok(tables) => Ok(!tables.is_empty()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

/// Names of Istio's chains. An error says why they cannot be listed.
fn chains(program: &str) -> Result<Vec<String>, String> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(program).env("PATH", path).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(istio_chains(&String::from_utf8_lossy(&output.stdout)))
}

fn istio_chains(rules: &str) -> Vec<String> {
    let names = rules.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next());
    names.filter(|name| name.starts_with("ISTIO_")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_istio_are_told_from_others() {
        let text = "*nat\n:PREROUTING ACCEPT [0:0]\n:ISTIO_OUTPUT - [0:0]\n:KUBE-X - [0:0]\n-A OUTPUT -j ISTIO_OUTPUT\n";
        assert_eq!(istio_chains(text), ["ISTIO_OUTPUT"]);
        assert!(istio_chains("").is_empty());
    }
}
