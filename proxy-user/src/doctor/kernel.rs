//! The kernel: release, features, configuration, lockdown.

use std::fs;

use proxy_plane::kernel::{
    feature::Effect,
    version::{KernelRelease, KernelVersion},
};

use super::{
    FeatureState,
    finding::{Finding, read},
};

/// Without these, nothing can be attached; distributions have all of them.
const OPTIONS: [&str; 4] = ["CONFIG_BPF_SYSCALL", "CONFIG_CGROUP_BPF", "CONFIG_BPF_JIT", "CONFIG_NET"];

pub(super) fn findings(release: &KernelRelease, features: &[FeatureState]) -> Vec<Finding> {
    let mut found = vec![version(release), configuration(), lockdown()];
    found.extend(features.iter().map(feature));
    found
}

fn version(release: &KernelRelease) -> Finding {
    if release.version < KernelVersion::OLDEST {
        let advice = format!("run Linux {} or newer", KernelVersion::OLDEST);
        return Finding::unusable("kernel", format!("Linux {release}"), advice);
    }
    Finding::ok("kernel", format!("Linux {release}"))
}

fn feature(state: &FeatureState) -> Finding {
    let check = state.name;
    let detail = state.detail.clone().unwrap_or_default();
    match state.answer {
        "yes" => Finding::ok(check, "yes"),
        "inconclusive" => Finding::unseen(check, format!("inconclusive: {detail}"), "run doctor as root"),
        _ => {
            let remedy = if state.expected {
                "this kernel's release has it: see its configuration and lockdown".to_owned()
            } else {
                format!("Linux {} has it", state.since)
            };
            let advice = format!("without it: {}; {remedy}", state.without);
            if state.effect == Effect::NoRedirection {
                Finding::unusable(check, format!("no: {detail}"), advice)
            } else {
                Finding::degraded(check, format!("no: {detail}"), advice)
            }
        }
    }
}

/// The configuration file is a hint: what counts is what the probes say.
fn configuration() -> Finding {
    const CHECK: &str = "configuration";
    let name = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let places = [format!("/boot/config-{name}"), format!("/usr/lib/modules/{name}/config")];
    let found = places.iter().find_map(|path| Some((path, fs::read_to_string(path).ok()?)));
    let Some((path, text)) = found else {
        // /proc/config.gz says the same to who unpacks it.
        return Finding::ok(CHECK, format!("no {}; the features below tell", places.join(", no ")));
    };
    let absent: Vec<&str> = OPTIONS
        .into_iter()
        .filter(|option| !text.lines().any(|line| line.strip_prefix(option) == Some("=y")))
        .collect();
    if absent.is_empty() {
        return Finding::ok(CHECK, format!("{path} has {}", OPTIONS.join(", ")));
    }
    Finding::degraded(
        CHECK,
        format!("{path} lacks {}", absent.join(", ")),
        "use a kernel of a distribution, or build one with these options",
    )
}

fn lockdown() -> Finding {
    const CHECK: &str = "lockdown";
    match read("/sys/kernel/security/lockdown") {
        Ok(text) => lockdown_of(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::ok(CHECK, "none, or securityfs is not mounted")
        }
        Err(error) => Finding::unseen(CHECK, error.to_string(), "run doctor as root"),
    }
}

/// `none [integrity] confidentiality`
fn lockdown_of(text: &str) -> Finding {
    let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    match chosen {
        Some("confidentiality") => Finding::degraded(
            "lockdown",
            "confidentiality: programs may not read kernel memory",
            "boot with lockdown=integrity to have the acceleration, and socket owners as xt_owner sees them",
        ),
        other => Finding::ok("lockdown", other.unwrap_or("none")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    #[test]
    fn lockdown_says_what_is_chosen() {
        assert_eq!(lockdown_of("none [integrity] confidentiality").found, "integrity");
        assert_eq!(lockdown_of("none integrity [confidentiality]").level, Level::Degraded);
    }
}
