//! Putting programs into the kernel: a workload's first ones, or new ones into the links that are there.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aya::Ebpf;
use proxy_common::{names::map, wire::MetaChunk};

use super::{
    compile::Compiled,
    detach,
    guests::{Guests, Placed},
    hooks::{HOOKS, Hook, Needs, Target},
    late_listeners, node,
    object::{self, Facts},
    observation,
    pins::{self, WorkloadPins},
    refused::{Refused, Step},
};
use crate::{
    cgroup::Cgroup,
    netns::Netns,
    sys::{bpf_link, bpf_pin},
};

/// How many sidecar listeners were there already, and how many of them could not be reached.
pub(super) type Listeners = (usize, usize);

/// What both kinds of attach work with.
pub(super) struct Job<'a> {
    pub(super) pins: &'a WorkloadPins,
    pub(super) netns: &'a Netns,
    pub(super) cgroup: &'a Cgroup,
    pub(super) needs: Needs,
    pub(super) compiled: &'a Compiled,
    pub(super) guests: &'a Guests,
    pub(super) facts: Facts,
    pub(super) meta: Vec<MetaChunk>,
    pub(super) node_dir: &'a Path,
    pub(super) slot: u32,
    /// The sidecar's ports are others than under the rules in place.
    pub(super) moves_ports: bool,
}

impl Job<'_> {
    pub(super) fn create(&self) -> Result<Listeners> {
        let Self { pins, netns, cgroup, needs, compiled, .. } = *self;
        let stage = pins.staging();
        pins::remove(&stage)?;
        fs::create_dir(&stage).with_context(|| format!("create {}", stage.display()))?;
        let result = (|| {
            let mut ebpf =
                object::load(compiled, self.guests, &self.facts, &self.meta, &stage, self.node_dir)?;
            self.accelerate(&mut ebpf)?;
            node::reset_counters(self.node_dir, self.slot)?;
            self.observe(&mut ebpf, true)?;
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
            self.guests.place(&mut ebpf, netns, &stage, &mut Vec::new())?;
            fs::rename(&stage, pins.dir()).with_context(|| format!("rename to {}", pins.dir().display()))?;
            Ok(listeners)
        })();
        if result.is_err() {
            // Links without pin and descriptor are gone already; this removes the pins of those that have one.
            pins::remove(&stage)?;
        }
        result
    }

    pub(super) fn update(&self) -> Result<Listeners> {
        let Self { pins, netns, cgroup, needs, compiled, .. } = *self;
        let stage = pins.staging();
        pins::remove(&stage)?;
        fs::create_dir(&stage).with_context(|| format!("create {}", stage.display()))?;
        let mut undo = Undo::default();
        let result = (|| {
            let mut ebpf =
                object::load(compiled, self.guests, &self.facts, &self.meta, pins.dir(), self.node_dir)?;
            self.accelerate(&mut ebpf)?;
            self.observe(&mut ebpf, false)?;
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
            undo.unneeded.extend(self.guests.unneeded(pins.dir())?);
            self.guests.place(&mut ebpf, netns, pins.dir(), &mut undo.guests)?;
            late_listeners::add(netns, &compiled.policy, pins.dir(), self.moves_ports)
        })();
        match result {
            Ok(listeners) => {
                for path in std::mem::take(&mut undo.unneeded) {
                    detach::remove_link(&path)?;
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

impl Job<'_> {
    /// The node's program is the workload's too.
    fn accelerate(&self, ebpf: &mut Ebpf) -> Result<()> {
        if self.needs.accelerated { node::install(ebpf, self.node_dir) } else { Ok(()) }
    }

    fn observe(&self, ebpf: &mut Ebpf, anew: bool) -> Result<()> {
        if self.needs.observe { observation::install(ebpf, self.node_dir, self.slot, anew) } else { Ok(()) }
    }
}

/// What an update has to take back when it fails halfway.
#[derive(Default)]
struct Undo {
    updated: Vec<(OwnedFd, OwnedFd)>,
    made: Vec<PathBuf>,
    unneeded: Vec<PathBuf>,
    guests: Vec<Placed>,
}

impl Undo {
    fn run(mut self) {
        for placed in self.guests {
            match placed {
                Placed::New(path) => self.made.push(path),
                Placed::Updated(link, old) => self.updated.push((link, old)),
            }
        }
        for (link, old) in self.updated {
            if let Err(error) = bpf_link::update(link.as_fd(), old.as_fd()) {
                tracing::error!(%error, "a link keeps the new program although the attach failed");
            }
        }
        for path in self.made {
            if let Err(error) = detach::remove_link(&path) {
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
    let link = bpf_link::create(prog, target, hook.kind)
        .map_err(|error| Refused::to(Step::Attach, hook.program, error))
        .with_context(|| {
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
