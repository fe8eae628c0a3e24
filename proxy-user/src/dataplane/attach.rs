//! Attach: one shot, idempotent, all or nothing.
//!
//! A first attach prepares everything in a directory of its own and renames it into place. A second one loads the
//! programs anew with the new configuration, and puts them into the existing links one by one: each connection meets
//! either the old rules or the new, and sockets keep what is remembered of them.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use aya::Ebpf;
use proxy_common::{
    accel::{AccelKernel, Executable},
    names::map,
    wire::{Kernel, MetaChunk},
};

use super::{
    acceleration::Acceleration,
    compile,
    compile::Compiled,
    hooks::{HOOKS, Hook, Needs, Target},
    late_listeners,
    meta::Meta,
    node,
    object::{self, Facts},
    pins::{self, WorkloadPins},
    privileges, readers,
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
pub fn attach(
    netns: &Netns,
    cgroup: &Cgroup,
    config: &Config,
    acceleration: &Acceleration,
) -> Result<Attached> {
    privileges::check()?;
    let pins = WorkloadPins::new(netns, cgroup);
    let interfaces = Interfaces::of(netns)?;
    let Some(ipv6) = interfaces.enable_ipv6(config.dual_stack) else {
        return Err(Failure::error(
            Class::Other,
            format!(
                "no valid local IP address found in {}: attach after the pod's interface is configured",
                netns.path().display()
            ),
        ));
    };
    let routes = Routes::of(netns)?;
    let compiled = compile::compile(config, ipv6, &interfaces, &routes);
    let cookie = netns.cookie()?;
    let (kernel, mut warnings) = kernel_facts(cookie)?;
    let needs = Needs::of(config, kernel.sk_socket != 0);
    warnings.extend(unknown_interfaces(config, &interfaces));
    acceleration.plan(0)?;
    let trusted = acceleration.trusted.iter().map(|path| trusted(path)).collect::<Result<Vec<_>>>()?;

    let (root, lock) = node::Lock::take_making_root()?;
    let slot = node::slot_for(&pins)?;
    let plan = acceleration.plan(slot)?;
    let meta = Meta {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        layout: Meta::LAYOUT,
        netns: netns.id(),
        netns_path: netns.path().to_owned(),
        netns_cookie: cookie,
        cgroup_path: cgroup.path().to_owned(),
        cgroup_id: cgroup.id(),
        ipv6,
        attached_at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock is before 1970")?
            .as_secs(),
        config: config.clone(),
        acceleration: acceleration.clone(),
        not_accelerated: plan.reason,
        slot,
        addresses: routes.own_addresses(),
    };
    forget_stale(&pins, &meta)?;
    refuse_second_owner(&pins, &meta)?;
    let not_accelerated = AccelKernel::UNKNOWN;
    let job = Job {
        pins: &pins,
        netns,
        cgroup,
        needs,
        compiled: &compiled,
        facts: Facts { kernel, accel: plan.kernel.unwrap_or(not_accelerated) },
        meta: meta.to_chunks()?,
        node_dir: node::ensure_dir()?,
        slot,
    };
    let updated = pins.exists();
    let result = if updated { job.update() } else { job.create() };
    let listeners = match result {
        Ok(listeners) => listeners,
        Err(error) => {
            node::remove_if_unused()?;
            let _ = fs::remove_dir(&root);
            return Err(error);
        }
    };
    match plan.kernel {
        Some(_) => {
            let found = readers::in_cgroup(cgroup.path())?;
            node::trust(&job.node_dir, found.into_iter().chain(trusted.iter().map(|p| (p.ino, p.dev))))?;
            readers::mark_listeners(netns, &compiled.policy, &job.node_dir)?;
            node::switch_on(&job.node_dir, slot, acceleration.switch(), &meta.addresses)?;
        }
        None => node::switch_off(&pins)?,
    }
    drop(lock);
    if listeners.1 > 0 {
        warnings.push(format!(
            "{} of {} sidecar listeners belong to processes not visible here; they are found when they listen again",
            listeners.1, listeners.0
        ));
    }
    Ok(Attached { pins, updated, warnings })
}

type Listeners = (usize, usize);

/// What both kinds of attach work with.
struct Job<'a> {
    pins: &'a WorkloadPins,
    netns: &'a Netns,
    cgroup: &'a Cgroup,
    needs: Needs,
    compiled: &'a Compiled,
    facts: Facts,
    meta: Vec<MetaChunk>,
    node_dir: PathBuf,
    slot: u32,
}

impl Job<'_> {
    /// Whether the sidecar listens elsewhere than it did under the rules in place.
    fn moves_ports(&self) -> bool {
        let policy = &self.compiled.policy;
        Meta::read(&self.pins.map(map::META)).is_ok_and(|old| {
            let ports = old.config.ports;
            (ports.outbound, ports.inbound) != (policy.outbound_port, policy.inbound_port)
        })
    }

    fn create(&self) -> Result<Listeners> {
        let Self { pins, netns, cgroup, needs, compiled, .. } = *self;
        let stage = pins.staging();
        pins::remove(&stage)?;
        fs::create_dir(&stage).with_context(|| format!("create {}", stage.display()))?;
        let result = (|| {
            let mut ebpf = object::load(compiled, &self.facts, &self.meta, &stage, &self.node_dir)?;
            node::install(&mut ebpf, &self.node_dir)?;
            node::reset_counters(&self.node_dir, self.slot)?;
            pin_policy_maps(&ebpf, &stage)?;
            let mut links = Vec::new();
            let mut listeners = (0, 0);
            for hook in HOOKS.iter().filter(|hook| hook.is_needed(needs)) {
                if hook.target == Target::Netns {
                    // From here on connections are redirected, and sock_ops already sees new listeners.
                    listeners = late_listeners::add(netns, &compiled.policy, &stage, false)?;
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

    fn update(&self) -> Result<Listeners> {
        let Self { pins, netns, cgroup, needs, compiled, .. } = *self;
        let stage = pins.staging();
        pins::remove(&stage)?;
        fs::create_dir(&stage).with_context(|| format!("create {}", stage.display()))?;
        let mut undo = Undo::default();
        let result = (|| {
            let mut ebpf = object::load(compiled, &self.facts, &self.meta, pins.dir(), &self.node_dir)?;
            node::install(&mut ebpf, &self.node_dir)?;
            pin_policy_maps(&ebpf, &stage)?;
            for hook in HOOKS {
                let path = pins.link(hook.program);
                match (hook.is_needed(needs), path.exists()) {
                    (true, true) => {
                        let prog = object::load_program(&mut ebpf, hook.program)?;
                        let link =
                            bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))?;
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
            late_listeners::add(netns, &compiled.policy, pins.dir(), self.moves_ports())
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
}

/// What an update has to take back when it fails halfway.
#[derive(Default)]
struct Undo {
    updated: Vec<(OwnedFd, OwnedFd)>,
    made: Vec<PathBuf>,
    unneeded: Vec<PathBuf>,
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

fn trusted(path: &Path) -> Result<Executable> {
    readers::program(path).map_err(|error| {
        Failure::error(
            Class::Usage,
            format!("--trust-program {}: {error:#}; name a program's file", path.display()),
        )
    })
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

/// Namespace numbers are used again: pins of a namespace that is gone are not this workload's.
fn forget_stale(pins: &WorkloadPins, new: &Meta) -> Result<()> {
    if !pins.exists() {
        return Ok(());
    }
    let stale = match Meta::read(&pins.map(map::META)) {
        Ok(old) => old.netns_cookie != new.netns_cookie || old.layout != new.layout,
        Err(error) => {
            tracing::warn!(
                workload = pins.name(),
                error = format!("{error:#}"),
                "unreadable pins are replaced"
            );
            true
        }
    };
    if stale { super::detach::remove_workload(pins) } else { Ok(()) }
}

/// Two sets of programs on one namespace would both decide. Pins of a namespace or cgroup that is gone are removed.
fn refuse_second_owner(pins: &WorkloadPins, new: &Meta) -> Result<()> {
    for other in WorkloadPins::all()? {
        if other.netns_inode() != pins.netns_inode() || other == *pins {
            continue;
        }
        let alive = Meta::read(&other.map(map::META))
            .is_ok_and(|old| old.netns_cookie == new.netns_cookie && old.cgroup_exists());
        if !alive {
            super::detach::remove_workload(&other)?;
            continue;
        }
        return Err(Failure::error(
            Class::Usage,
            format!(
                "this network namespace is attached already with another cgroup (workload {}): run \
                 `sidestep detach --netns PATH` first",
                other.name()
            ),
        ));
    }
    Ok(())
}
