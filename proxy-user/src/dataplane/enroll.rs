//! Enrolment: idempotent, all or nothing.
//!
//! A new workload is prepared under a directory of its own, which is renamed into place; its cgroup's hooks do nothing
//! until they are told whose they are. One that is there gets new rules under another number, and programs into its links
//! where it needs others: each connection meets either the old rules or the new, and sockets keep what is remembered of
//! them.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use proxy_common::{
    accel::Executable,
    counter::Counters,
    names::{map, program},
    policy::{Policy, flag},
    workload::{Workload, feature, other_tables, state, tables_of},
};

use super::{
    accelerated,
    acceleration::Acceleration,
    blob, claim,
    compile::{self, Compiled},
    extras::Extras,
    guests::{self, Guests},
    hooks::{HOOKS, Hook, Needs, Target},
    known::Known,
    late_listeners,
    lock::Lock,
    meta::{Meta, layout},
    node::{self, Node},
    observation::{self, Observation, Observe},
    passthrough6::Passthrough6,
    pins::{self, WorkloadPins, open_map},
    programs::{self, Programs},
    readers::{self, Readers},
    refused::{Refused, Step},
    release,
    rules::Rules,
    shares, stub,
    takeover::{self, Earlier, Kept},
    undo::Undo,
    warning::Warning,
    workloads::Workloads,
};
use crate::{
    cgroup::Cgroup,
    config::{Config, PodName},
    exit::{Class, Failure},
    netns::{Interfaces, Netns, Routes},
    sys::{bpf_link, bpf_map_elem, bpf_pin},
};

/// What an enrolment did.
#[derive(Debug)]
pub struct Enrolled {
    pub pins: WorkloadPins,
    /// The workload was there before and got new rules.
    pub updated: bool,
    /// What the user should know though it did not fail.
    pub warnings: Vec<Warning>,
}

/// How a workload is to be attached.
#[derive(Clone, Debug)]
pub struct Wish {
    pub config: Config,
    pub acceleration: Acceleration,
    pub observe: Observe,
    /// The pod it is, where somebody knows.
    pub pod: Option<PodName>,
}

/// Enrols a workload in a process that does it once.
pub fn attach(netns: &Netns, cgroup: &Cgroup, wish: &Wish) -> Result<Enrolled> {
    Node::open()?.enroll(netns, cgroup, wish)
}

pub(super) fn enroll(node: &Node, netns: &Netns, cgroup: &Cgroup, wish: &Wish) -> Result<Enrolled> {
    let Wish { config, acceleration, observe, pod } = wish;
    let known = &node.known;
    let pins = WorkloadPins::new(netns, cgroup);
    let plan = acceleration.plan(known)?;
    let trusted = acceleration.trusted.iter().map(|path| trusted(path)).collect::<Result<Vec<_>>>()?;

    // Before the lock: what is the pod's is looked at, files of its containers included.
    let interfaces = Interfaces::of(netns)?;
    let ipv6 = interfaces.enable_ipv6(config.dual_stack).ok_or_else(|| no_address(netns))?;
    let cookie = netns.cookie()?;
    let mut warnings = Warning::of_interfaces(config, &interfaces);
    warnings.extend(known.owners.clone().map(|why| Warning::OwnersRecorded { why }));
    let mut readers = Readers::new(config, plan.findings.miscounts_waiting);
    let programs =
        if plan.is_on() { readers.in_cgroup(cgroup.path()) } else { Ok(readers::Programs::default()) };
    let added = Kept::read(&pins).is_ok_and(|kept| kept.added_passthrough6);
    let passthrough6 = Passthrough6::ensure(netns, added, config, ipv6, &mut warnings)?;
    let routes = Routes::of(netns)?;
    let mut compiled = compile::compile(config, ipv6, &interfaces, &routes);
    let guests = Guests::plan(netns, config, &interfaces, &mut warnings)?;
    if !guests.gateways.is_empty() {
        compiled.policy.flags |= flag::GUESTS;
    }
    let mut listeners = late_listeners::Found::of(netns, &compiled.policy)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let mut extras = Extras::new(acceleration.mode, plan, Observation::plan(*observe, known));

    let (root, lock) = Lock::take_making_root()?;
    let mut shared = Undo::default();
    shared.push("what workloads share", node::remove_if_unused);
    let (node_dir, earlier) = make_room(known, &pins, cookie)?;
    if let Some(earlier) = &earlier {
        let earlier = earlier.clone();
        earlier.step_aside()?;
        shared.push("what another build has attached", move || earlier.step_back());
    }
    let old = Meta::read(&pins.map(map::META)).ok();
    let mut meta = Meta {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        layout: layout(),
        netns: netns.id(),
        netns_path: netns.path().to_owned(),
        netns_cookie: cookie,
        cgroup_path: cgroup.path().to_owned(),
        cgroup_id: cgroup.id(),
        pod: pod.clone(),
        ipv6,
        added_passthrough6: passthrough6.ours(),
        attached_at: now.as_secs(),
        config: config.clone(),
        acceleration: acceleration.clone(),
        not_accelerated: None,
        kernel_differs: extras.plan.findings.differs.clone(),
        hazardous: programs.as_ref().map_or_else(|_| Vec::new(), readers::Programs::named),
        observe: *observe,
        not_observed: None,
        slot: 0,
        number: number(),
        tables: 0,
        features: 0,
        policy_flags: compiled.policy.flags,
        addresses: routes.own_addresses(),
        interfaces: compiled.interfaces.iter().map(|(index, bits)| (*index, *bits)).collect(),
        routes: compiled.routes.iter().map(|(net, route)| (*net, route.into())).collect(),
    };
    loop {
        meta.not_accelerated.clone_from(&extras.plan.reason);
        meta.not_observed.clone_from(&extras.observed.reason);
        meta.features = features(&compiled.policy, &extras);
        let job = Job {
            root: &root,
            node_dir: &node_dir,
            known,
            pins: &pins,
            netns,
            cgroup,
            compiled: &compiled,
            guests: &guests,
        };
        let done = match &old {
            Some(old) => job.update(&mut meta, old, &mut listeners),
            None => job.create(&mut meta, earlier.as_ref().and_then(Earlier::slot), &mut listeners),
        };
        match done {
            Ok(()) => break,
            Err(error) => extras.without_cause_of(error)?,
        }
    }
    // It is attached, whatever becomes of the other build's.
    shared.keep();
    passthrough6.keep();
    if let Some(earlier) = &earlier {
        earlier.finish(netns, &node_dir)?;
    }
    drop(lock);

    warnings.extend(extras.warnings());
    let (all, hidden) = listeners.counts();
    if hidden > 0 {
        warnings.push(Warning::HiddenListeners { all, hidden });
    }
    if extras.observed.is_on()
        && let Err(error) = observation::mark_listeners(netns, &node_dir)
    {
        warnings.push(Warning::UnmarkedListeners { why: format!("{error:#}") });
    }
    let accelerated = (|| {
        if !extras.plan.is_on() {
            return accelerated::switch_off(&node_dir, meta.slot, &meta.addresses);
        }
        accelerated::trust(&node_dir, &programs?, &trusted)?;
        readers.mark_listeners(netns, &compiled.policy, &node_dir, &trusted)?;
        accelerated::switch_on(&node_dir, meta.slot, acceleration.switch(), &meta.addresses)
    })();
    // Redirection never depends on acceleration: the workload is attached, its connections stay on the stack.
    if let Err(error) = accelerated {
        warnings.push(Warning::NotAcceleratedYet { why: format!("{error:#}") });
        accelerated::switch_off(&node_dir, meta.slot, &meta.addresses)?;
    }
    Ok(Enrolled { pins, updated: old.is_some() || earlier.is_some(), warnings })
}

/// The node's directory, without what is in the workload's way; and what another build's layout has of it.
fn make_room(known: &Known, pins: &WorkloadPins, cookie: Option<u64>) -> Result<(PathBuf, Option<Earlier>)> {
    let node_dir = node::ensure_dir()?;
    if Known::pinned(&node_dir).is_none() {
        known.pin(&node_dir)?;
    }
    let table = Workloads::if_there(&node_dir)?;
    if let Some(table) = &table {
        release::remains(table)?;
    }
    claim::clear(table.as_ref(), pins, cookie)?;
    takeover::clear_aside(pins)?;
    Ok((node_dir, Earlier::of(pins)))
}

fn features(policy: &Policy, extras: &Extras) -> u32 {
    let mut features = policy.flags & feature::OF_POLICY;
    for (bit, on) in [(feature::OBSERVE, extras.observed.is_on()), (feature::ACCELERATE, extras.plan.is_on())]
    {
        features |= if on { bit } else { 0 };
    }
    features
}

/// What both kinds of enrolment work with.
struct Job<'a> {
    root: &'a Path,
    node_dir: &'a Path,
    known: &'a Known,
    pins: &'a WorkloadPins,
    netns: &'a Netns,
    cgroup: &'a Cgroup,
    compiled: &'a Compiled,
    guests: &'a Guests,
}

impl Job<'_> {
    /// `slot`: the one it has to have.
    fn create(
        &self,
        meta: &mut Meta,
        slot: Option<u32>,
        listeners: &mut late_listeners::Found,
    ) -> Result<()> {
        let programs = Programs::ensure(self.root, self.node_dir, self.known, meta.features)?;
        let table = Workloads::open(self.node_dir)?;
        meta.slot = match slot {
            Some(slot) => table.claim(slot)?,
            None => table.free_slot(&takeover::slots_elsewhere()?)?,
        };
        let keeps_slot = slot.is_some();
        let [tables, _] = tables_of(meta.slot);
        meta.tables = tables;
        let (slot, cgroup) = (meta.slot, self.cgroup.id());
        let rules = Rules::open(self.node_dir)?;
        let stage = self.pins.staging();
        let mut undo = Undo::default();

        // First: who is killed from here on is found in the table.
        let entry = self.entry(meta, state::ANSWERS);
        undo.push("its place in the table", || table.set(slot, &Workload::default()));
        table.set(slot, &entry)?;
        pins::remove(&stage)?;
        fs::create_dir(&stage).with_context(|| format!("create {}", stage.display()))?;
        undo.push(format!("the pins in {}", stage.display()), || pins::remove(&stage));
        blob::pin(meta, map::META, &pins::map_in(&stage, map::META))?;
        undo.push("some of its rules", || rules.remove(tables, self.compiled));
        rules.write(tables, self.compiled)?;
        undo.push("its sums", || observation::forget(self.node_dir, slot));
        self.begin_counting(meta)?;

        for hook in self.hooks(meta, Target::Cgroup) {
            let path = self.link(&programs, hook, &stage)?;
            undo.push(format!("the link {}", path.display()), move || pins::remove_link(&path));
        }
        if !keeps_slot {
            undo.push("its cgroup's slot", move || release::set_slot(cgroup, 0));
        }
        release::set_slot(cgroup, u64::from(slot) + 1)?;
        // From here on sock_ops sees listeners that begin; those that were there before are known by now.
        undo.push("its listeners' places", || late_listeners::clear(self.node_dir, slot));
        // One that began just now may get a second place.
        self.listen(meta, listeners, true)?;
        undo.push("its inbound program", || self.clear(map::INBOUND, slot));
        self.set(map::INBOUND, slot, &programs, program::INBOUND)?;
        for hook in self.hooks(meta, Target::Netns) {
            let path = self.link_inbound(hook, slot, &stage)?;
            undo.push(format!("the link {}", path.display()), move || pins::remove_link(&path));
        }
        self.place_guests(meta, &programs, &stage, &mut undo)?;
        let dir = self.pins.dir();
        fs::rename(&stage, dir).with_context(|| format!("rename to {}", dir.display()))?;
        let back = &stage;
        undo.push("the pins", move || fs::rename(dir, back).context("rename them back"));
        table.set(slot, &Workload { state: state::CAPTURES, ..entry })?;
        undo.keep();
        Ok(())
    }

    fn update(&self, meta: &mut Meta, old: &Meta, listeners: &mut late_listeners::Found) -> Result<()> {
        let programs = Programs::ensure(self.root, self.node_dir, self.known, meta.features)?;
        let table = Workloads::open(self.node_dir)?;
        let slot = old.slot;
        meta.slot = slot;
        meta.tables = other_tables(old.tables);
        let tables = meta.tables;
        let rules = Rules::open(self.node_dir)?;
        let (stage, dir) = (self.pins.staging(), self.pins.dir());
        let was = table.get(slot);
        meta.number = old.number;
        let mut undo = Undo::default();

        pins::remove(&stage)?;
        fs::create_dir(&stage).with_context(|| format!("create {}", stage.display()))?;
        undo.push(format!("the pins in {}", stage.display()), || pins::remove(&stage));
        let description = pins::map_in(&stage, map::META);
        blob::pin(meta, map::META, &description)?;
        undo.push("some of its new rules", || rules.remove(tables, self.compiled));
        rules.write(tables, self.compiled)?;
        if meta.features & feature::OBSERVE != 0 {
            observation::begin(self.node_dir, slot, false)?;
        }

        for hook in self.hooks(meta, Target::Cgroup) {
            let path = self.pins.link(hook.program);
            if path.exists() {
                self.replace(&programs, hook, path, &mut undo)?;
            } else {
                let path = self.link(&programs, hook, dir)?;
                undo.push(format!("the link {}", path.display()), move || pins::remove_link(&path));
            }
        }
        self.exchange(map::INBOUND, slot, &programs, program::INBOUND, &mut undo)?;
        self.place_guests(meta, &programs, dir, &mut undo)?;
        let other_ports = old.config.ports != meta.config.ports;
        if other_ports {
            late_listeners::clear(self.node_dir, slot)?;
        }
        self.listen(meta, listeners, other_ports)?;
        let entry = self.entry(meta, state::CAPTURES);
        undo.push("its new rules", || table.set(slot, &was));
        table.set(slot, &entry)?;
        let pinned = self.pins.map(map::META);
        fs::rename(&description, &pinned).with_context(|| format!("rename to {}", pinned.display()))?;
        undo.keep();

        // Nothing looks for these any more.
        pins::remove(&stage)?;
        rules.remove(old.tables, &old.compiled())?;
        let needs = self.needs(meta);
        let unneeded = HOOKS.iter().filter(|hook| hook.target == Target::Cgroup && !hook.is_needed(needs));
        for path in unneeded.map(|hook| self.pins.link(hook.program)).filter(|path| path.exists()) {
            pins::remove_link(&path)?;
        }
        for path in self.guests.unneeded(dir)? {
            pins::remove_link(&path)?;
        }
        let gone = old.interfaces.iter().map(|(index, _)| *index);
        guests::forget(self.node_dir, slot, gone.filter(|index| !self.guests.gateways.contains_key(index)))?;
        programs::remove_other_builds(self.node_dir, |build| {
            table.taken().any(|(_, workload)| workload.build == build)
        })
    }

    fn needs(&self, meta: &Meta) -> Needs {
        Needs::of_features(meta.features, self.known.kernel.sk_socket == 0)
    }

    fn hooks(&self, meta: &Meta, target: Target) -> impl Iterator<Item = &'static Hook> {
        let needs = self.needs(meta);
        HOOKS.iter().filter(move |hook| hook.target == target && hook.is_needed(needs))
    }

    fn entry(&self, meta: &Meta, state: u32) -> Workload {
        Workload {
            netns_cookie: meta.netns_cookie.unwrap_or(0),
            cgroup: meta.cgroup_id,
            netns: u32::try_from(meta.netns.ino).unwrap_or(0),
            state,
            tables: meta.tables,
            build: programs::BUILD,
            number: meta.number,
            reserved: 0,
        }
    }

    /// A slot that is given out again starts from zero.
    fn begin_counting(&self, meta: &Meta) -> Result<()> {
        let counters = open_map(self.node_dir, map::COUNTERS)?;
        reset_per_cpu(&counters, meta.slot, size_of::<Counters>())?;
        shares::reset(self.node_dir, meta.slot)?;
        accelerated::reset_counters(self.node_dir, meta.slot)?;
        if meta.features & feature::OBSERVE != 0 {
            observation::begin(self.node_dir, meta.slot, true)?;
        }
        Ok(())
    }

    fn link(&self, programs: &Programs, hook: &Hook, dir: &Path) -> Result<PathBuf> {
        let link = bpf_link::create(programs.get(hook.program)?, self.cgroup.as_fd(), hook.kind)
            .map_err(|error| Refused::to(Step::Attach, hook.program, error))
            .with_context(|| format!("attach {} to {}", hook.program, self.cgroup.path().display()))?;
        pin_link(&link, dir, hook.program)
    }

    fn link_inbound(&self, hook: &Hook, slot: u32, dir: &Path) -> Result<PathBuf> {
        let own = stub::load(stub::Kind::Inbound, self.node_dir, slot)?;
        let link = bpf_link::create(own.as_fd(), self.netns.as_fd(), hook.kind)
            .map_err(|error| Refused::to(Step::Attach, hook.program, error))
            .with_context(|| format!("attach {} to {}", hook.program, self.netns.path().display()))?;
        pin_link(&link, dir, hook.program)
    }

    /// Another program into a link that is there.
    fn replace(&self, programs: &Programs, hook: &Hook, path: PathBuf, undo: &mut Undo<'_>) -> Result<()> {
        let link = bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))?;
        let old = bpf_link::program_id(link.as_fd()).and_then(bpf_link::program_by_id);
        let old = old.with_context(|| format!("the program in {}", path.display()))?;
        bpf_link::update(link.as_fd(), programs.get(hook.program)?)
            .with_context(|| format!("update the link of {}", hook.program))?;
        undo.push(format!("the new program in {}", path.display()), move || {
            bpf_link::update(link.as_fd(), old.as_fd()).context("put the old program back")
        });
        Ok(())
    }

    fn listen(&self, meta: &Meta, listeners: &mut late_listeners::Found, all: bool) -> Result<()> {
        listeners.renew(self.netns, &self.compiled.policy)?;
        listeners.add(self.node_dir, meta.slot, &self.compiled.policy, all)
    }

    fn place_guests<'b>(
        &'b self,
        meta: &Meta,
        programs: &Programs,
        dir: &'b Path,
        undo: &mut Undo<'b>,
    ) -> Result<()> {
        if self.guests.gateways.is_empty() {
            return Ok(());
        }
        let slot = meta.slot;
        for (table, name) in [(map::GUEST_OUT, program::GUEST_OUT), (map::GUEST_IN, program::GUEST_IN)] {
            self.exchange(table, slot, programs, name, undo)?;
        }
        let at = guests::Place { netns: self.netns, node_dir: self.node_dir, dir, slot };
        self.guests.place(&at, undo)
    }

    /// Puts a program under the slot, and back what was there.
    fn exchange<'b>(
        &'b self,
        table: &'static str,
        slot: u32,
        programs: &Programs,
        name: &str,
        undo: &mut Undo<'b>,
    ) -> Result<()> {
        let programs_by_slot = open_map(self.node_dir, table)?;
        let mut id = [0; 4];
        let was = if bpf_map_elem::lookup(programs_by_slot.as_fd(), &slot.to_ne_bytes(), &mut id)
            .with_context(|| format!("look into {table}"))?
        {
            Some(bpf_link::program_by_id(u32::from_ne_bytes(id)).context("the program in place")?)
        } else {
            None
        };
        self.set(table, slot, programs, name)?;
        undo.push(format!("the new program in {table}"), move || match was {
            Some(was) => bpf_map_elem::set_fd(programs_by_slot.as_fd(), slot, was.as_fd())
                .context("put the old program back"),
            None => self.clear(table, slot),
        });
        Ok(())
    }

    fn set(&self, table: &str, slot: u32, programs: &Programs, name: &str) -> Result<()> {
        bpf_map_elem::set_fd(open_map(self.node_dir, table)?.as_fd(), slot, programs.get(name)?)
            .with_context(|| format!("put {name} into {table}"))
    }

    fn clear(&self, table: &str, slot: u32) -> Result<()> {
        bpf_map_elem::clear(open_map(self.node_dir, table)?.as_fd(), slot)
            .map(drop)
            .with_context(|| format!("empty its place in {table}"))
    }
}

fn pin_link(link: &std::os::fd::OwnedFd, dir: &Path, name: &str) -> Result<PathBuf> {
    let path = pins::link_in(dir, name);
    bpf_pin::pin(link.as_fd(), &path).with_context(|| format!("pin {}", path.display()))?;
    Ok(path)
}

fn reset_per_cpu(map: &std::os::fd::OwnedFd, slot: u32, size: usize) -> Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))?;
    let zeros = vec![0; size.next_multiple_of(8) * cpus];
    bpf_map_elem::update(map.as_fd(), &slot.to_ne_bytes(), &zeros, 0).context("reset its counters")
}

/// Tells one who has a slot from the one before: the clock, in microseconds.
fn number() -> u32 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(0, |now| now.tv_sec() as u64 * 1_000_000 + now.tv_nsec() as u64 / 1000);
    (now as u32).max(1)
}

fn no_address(netns: &Netns) -> anyhow::Error {
    Failure::error(
        Class::Other,
        format!(
            "no valid local IP address found in {}: attach after the pod's interface is configured",
            netns.path().display()
        ),
    )
}

fn trusted(path: &Path) -> Result<Executable> {
    readers::program(path).map_err(|error| {
        Failure::error(
            Class::Usage,
            format!("--trust-program {}: {error:#}; name a program's file", path.display()),
        )
    })
}
