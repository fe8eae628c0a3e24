//! Attach: one shot, idempotent, all or nothing.
//!
//! A first attach prepares everything in a directory of its own and renames it into place. A second one loads the
//! programs anew with the new configuration, and puts them into the existing links one by one: each connection meets
//! either the old rules or the new, and sockets keep what is remembered of them.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use aya::Ebpf;
use proxy_common::{names::map, wire::Kernel};

use super::{
    bpffs, compile,
    compile::Compiled,
    hooks::{HOOKS, Hook, Needs, Target},
    late_listeners,
    meta::Meta,
    object,
    passthrough6::Passthrough6,
    pins::{self, WorkloadPins},
    privileges,
};
use crate::{
    cgroup::Cgroup,
    config::Config,
    exit::{Class, Failure},
    kernel::{btf::Offsets, version::KernelVersion},
    netns::{Interfaces, Netns, Routes},
    sys::{bpf_link, bpf_pin},
};

/// What an attach did.
#[derive(Debug)]
pub struct Attached {
    pub pins: WorkloadPins,
    /// The workload was attached before and got new programs and configuration.
    pub updated: bool,
    /// What the user should know though it did not fail.
    pub warnings: Vec<String>,
}

/// Attaches one workload. On error everything is as before.
pub fn attach(netns: &Netns, cgroup: &Cgroup, config: &Config) -> Result<Attached> {
    privileges::check()?;
    let pins = WorkloadPins::new(netns, cgroup);
    let interfaces = Interfaces::of(netns)?;
    let Some(ipv6) = interfaces.enable_ipv6(config.dual_stack) else {
        return Err(Failure::new(
            Class::Other,
            format!(
                "no valid local IP address found in {}: attach after the pod's interface is configured",
                netns.path().display()
            ),
        ));
    };
    let cookie = netns.cookie()?;
    let (kernel, mut warnings) = kernel_facts(cookie)?;
    let needs = Needs::of(config, kernel.sk_socket != 0);
    warnings.extend(unknown_interfaces(config, &interfaces));
    let mut meta = describe(netns, cgroup, config, cookie, ipv6)?;
    forget_stale(&pins, &meta)?;
    refuse_second_owner(&pins)?;
    let passthrough6 = Passthrough6::ensure(netns, &pins, config, ipv6, &mut warnings)?;
    meta.added_passthrough6 = passthrough6.ours();
    let compiled = compile::compile(config, ipv6, &interfaces, &Routes::of(netns)?);

    let chunks = meta.to_chunks()?;
    bpffs::ensure_root()?;
    let updated = pins.exists();
    let listeners = if updated {
        update(&pins, netns, cgroup, needs, &compiled, &kernel, &chunks)?
    } else {
        create(&pins, netns, cgroup, needs, &compiled, &kernel, &chunks)?
    };
    if listeners.1 > 0 {
        warnings.push(format!(
            "{} of {} sidecar listeners belong to processes not visible here; they are found when they listen again",
            listeners.1, listeners.0
        ));
    }
    passthrough6.keep();
    Ok(Attached { pins, updated, warnings })
}

type Listeners = (usize, usize);

fn create(
    pins: &WorkloadPins,
    netns: &Netns,
    cgroup: &Cgroup,
    needs: Needs,
    compiled: &Compiled,
    kernel: &Kernel,
    meta: &[proxy_common::wire::MetaChunk],
) -> Result<Listeners> {
    let stage = pins.staging();
    pins::remove(&stage)?;
    fs::create_dir(&stage).with_context(|| format!("create {}", stage.display()))?;
    let result = (|| {
        let mut ebpf = object::load(compiled, kernel, meta, &stage)?;
        pin_policy_maps(&ebpf, &stage)?;
        let mut links = Vec::new();
        let mut listeners = (0, 0);
        for hook in HOOKS.iter().filter(|hook| hook.is_needed(needs)) {
            if hook.target == Target::Netns {
                // From here on connections are redirected, and sock_ops already sees new listeners.
                listeners = late_listeners::add(netns, &compiled.policy, &stage)?;
            }
            links.push(attach_hook(&mut ebpf, hook, netns, cgroup, &stage)?);
        }
        fs::rename(&stage, pins.dir()).with_context(|| format!("rename to {}", pins.dir().display()))?;
        Ok(listeners)
    })();
    if result.is_err() {
        // Links without pin and descriptor are gone already; this removes the pins of those that have one.
        pins::remove(&stage)?;
    }
    result
}

fn update(
    pins: &WorkloadPins,
    netns: &Netns,
    cgroup: &Cgroup,
    needs: Needs,
    compiled: &Compiled,
    kernel: &Kernel,
    meta: &[proxy_common::wire::MetaChunk],
) -> Result<Listeners> {
    let stage = pins.staging();
    pins::remove(&stage)?;
    fs::create_dir(&stage).with_context(|| format!("create {}", stage.display()))?;
    let mut undo = Undo::default();
    let result = (|| {
        let mut ebpf = object::load(compiled, kernel, meta, pins.dir())?;
        pin_policy_maps(&ebpf, &stage)?;
        for hook in HOOKS {
            let path = pins.link(hook.program);
            match (hook.is_needed(needs), path.exists()) {
                (true, true) => {
                    let prog = object::load_program(&mut ebpf, hook.program)?;
                    let link = bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))?;
                    let old = bpf_link::program_id(link.as_fd()).and_then(bpf_link::program_by_id);
                    bpf_link::update(link.as_fd(), prog)
                        .with_context(|| format!("update the link of {}", hook.program))?;
                    undo.updated.push((link, old.context("the program in place")?));
                }
                (true, false) => {
                    attach_hook(&mut ebpf, hook, netns, cgroup, pins.dir())?;
                    undo.made.push(path);
                }
                (false, true) => undo.unneeded.push(path),
                (false, false) => {}
            }
        }
        late_listeners::add(netns, &compiled.policy, pins.dir())
    })();
    match result {
        Ok(listeners) => {
            for path in std::mem::take(&mut undo.unneeded) {
                super::detach::remove_link(&path)?;
            }
            for name in map::POLICY {
                let (from, to) = (pins::map_in(&stage, name), pins.map(name));
                fs::rename(&from, &to).with_context(|| format!("rename to {}", to.display()))?;
            }
            pins::remove(&stage)?;
            Ok(listeners)
        }
        Err(error) => {
            undo.run();
            pins::remove(&stage)?;
            Err(error)
        }
    }
}

/// What an update has to take back when it fails halfway.
#[derive(Default)]
struct Undo {
    updated: Vec<(OwnedFd, OwnedFd)>,
    made: Vec<std::path::PathBuf>,
    unneeded: Vec<std::path::PathBuf>,
}

impl Undo {
    fn run(self) {
        for (link, old) in self.updated {
            if let Err(error) = bpf_link::update(link.as_fd(), old.as_fd()) {
                tracing::error!(%error, "a link keeps the new program although the attach failed");
            }
        }
        for path in self.made {
            if let Err(error) = super::detach::remove_link(&path) {
                tracing::error!(%error, "a link stays although the attach failed");
            }
        }
    }
}

fn attach_hook(ebpf: &mut Ebpf, hook: &Hook, netns: &Netns, cgroup: &Cgroup, dir: &Path) -> Result<OwnedFd> {
    let prog = object::load_program(ebpf, hook.program)?;
    let target = match hook.target {
        Target::Cgroup => cgroup.as_fd(),
        Target::Netns => netns.as_fd(),
    };
    let link = bpf_link::create(prog, target, hook.kind).with_context(|| {
        let place = if hook.target == Target::Cgroup { cgroup.path() } else { netns.path() };
        format!("attach {} to {}", hook.program, place.display())
    })?;
    let path = pins::link_in(dir, hook.program);
    bpf_pin::pin(link.as_fd(), &path).with_context(|| format!("pin {}", path.display()))?;
    Ok(link)
}

fn pin_policy_maps(ebpf: &Ebpf, dir: &Path) -> Result<()> {
    for name in map::POLICY {
        let map = ebpf.map(name).with_context(|| format!("the object has no map {name}"))?;
        let path = pins::map_in(dir, name);
        map.pin(&path).with_context(|| format!("pin {}", path.display()))?;
    }
    Ok(())
}

/// What the programs are told about the kernel, and what is worse without it.
fn kernel_facts(cookie: Option<u64>) -> Result<(Kernel, Vec<String>)> {
    let version = KernelVersion::current()?;
    let mut warnings = Vec::new();
    let offsets = Offsets::of_running_kernel(&["sock", "socket", "file", "cred"])
        .map_err(|error| {
            warnings.push(format!(
                "socket owners are recorded when a socket is created, real ids only, not for sockets that exist \
                 already: no kernel type information ({error:#})"
            ));
        })
        .ok();
    let at = |strukt: &str, member: &str| offsets.as_ref().and_then(|o| o.get(strukt, member)).unwrap_or(0);
    let kernel = Kernel {
        netns_cookie: cookie.unwrap_or(0),
        sk_socket: at("sock", "sk_socket"),
        socket_file: at("socket", "file"),
        file_cred: at("file", "f_cred"),
        cred_fsuid: at("cred", "fsuid"),
        cred_fsgid: at("cred", "fsgid"),
        has_ingress_ifindex: u32::from(version >= KernelVersion(5, 17)),
        has_sock_ops_cookie: u32::from(version >= KernelVersion(5, 15) && cookie.is_some()),
        reserved: 0,
    };
    Ok((kernel, warnings))
}

fn unknown_interfaces(config: &Config, interfaces: &Interfaces) -> Vec<String> {
    let named = config.exclude_interfaces.iter().chain(&config.kube_virt_interfaces);
    named
        .filter(|name| interfaces.index(name).is_none())
        .map(|name| {
            format!("interface {name} does not exist: rules about it take effect when attach runs again after it does")
        })
        .collect()
}

fn describe(netns: &Netns, cgroup: &Cgroup, config: &Config, cookie: Option<u64>, ipv6: bool) -> Result<Meta> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(Meta {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        layout: Meta::LAYOUT,
        netns: netns.id(),
        netns_path: netns.path().to_owned(),
        netns_cookie: cookie,
        cgroup_path: cgroup.path().to_owned(),
        cgroup_id: cgroup.id(),
        ipv6,
        added_passthrough6: false,
        attached_at: now.as_secs(),
        config: config.clone(),
    })
}

/// Namespace numbers are used again: pins of a namespace that is gone are not this workload's.
fn forget_stale(pins: &WorkloadPins, new: &Meta) -> Result<()> {
    if !pins.exists() {
        return Ok(());
    }
    let stale = match Meta::read(&pins.map(map::META)) {
        Ok(old) => old.netns_cookie != new.netns_cookie || old.layout != new.layout,
        Err(error) => {
            tracing::warn!(workload = pins.name(), error = format!("{error:#}"), "unreadable pins are replaced");
            true
        }
    };
    if stale { super::detach::remove_workload(pins) } else { Ok(()) }
}

/// Two sets of programs on one namespace would both decide.
fn refuse_second_owner(pins: &WorkloadPins) -> Result<()> {
    for other in WorkloadPins::all()? {
        if other.netns_inode() == pins.netns_inode() && other != *pins {
            return Err(Failure::new(
                Class::Usage,
                format!(
                    "this network namespace is attached already with another cgroup (workload {}): run \
                     `sidestep detach --netns PATH` first",
                    other.name()
                ),
            ));
        }
    }
    Ok(())
}
