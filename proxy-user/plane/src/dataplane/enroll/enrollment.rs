//! A workload that is being enrolled, and what its first attach and its updates have in common.

use std::{os::fd::AsFd as _, path::Path};

use anyhow::{Context, Result};
use proxy_common::{
    counter::Counters,
    names::map,
    workload::{Workload, feature},
};
use proxy_core::compile::Compiled;

use crate::{
    cgroup::Cgroup,
    dataplane::{
        accelerated,
        guests::Guests,
        hooks::{HOOKS, Hook, Needs, Target},
        known::Known,
        late_listeners,
        meta::Meta,
        object::BUILD,
        observation,
        pins::{WorkloadPins, open_map},
        shares,
    },
    netns::Netns,
    sys::bpf_map_elem,
};

/// The workload, and what it is enrolled with. The node's lock is held as long as this value lives.
pub(super) struct Enrollment<'a> {
    /// Sidestep's directory in the bpffs.
    pub(super) root: &'a Path,
    /// Where the maps and programs are pinned that all workloads share.
    pub(super) node_dir: &'a Path,
    pub(super) known: &'a Known,
    pub(super) pins: &'a WorkloadPins,
    pub(super) netns: &'a Netns,
    pub(super) cgroup: &'a Cgroup,
    pub(super) compiled: &'a Compiled,
    pub(super) guests: &'a Guests,
}

impl Enrollment<'_> {
    fn needs(&self, meta: &Meta) -> Needs {
        Needs::of_features(meta.features, self.known.kernel.sk_socket == 0)
    }

    /// The hooks that the workload needs on its cgroup or namespace, in the order of attaching.
    pub(super) fn hooks(&self, meta: &Meta, target: Target) -> impl Iterator<Item = &'static Hook> {
        let needs = self.needs(meta);
        HOOKS.iter().filter(move |hook| hook.target == target && hook.is_needed(needs))
    }

    /// The hooks that the workload does not need there.
    pub(super) fn unneeded_hooks(&self, meta: &Meta, target: Target) -> impl Iterator<Item = &'static Hook> {
        let needs = self.needs(meta);
        HOOKS.iter().filter(move |hook| hook.target == target && !hook.is_needed(needs))
    }

    /// The workload's entry in the table of workloads.
    pub(super) fn entry(&self, meta: &Meta, state: u32) -> Workload {
        Workload {
            netns_cookie: meta.netns_cookie.unwrap_or(0),
            cgroup: meta.cgroup_id,
            netns: u32::try_from(meta.netns.ino).unwrap_or(0),
            state,
            tables: meta.tables,
            build: BUILD,
            number: meta.number,
            reserved: 0,
        }
    }

    /// A slot that is given out again starts from zero.
    pub(super) fn begin_counting(&self, meta: &Meta) -> Result<()> {
        let counters = open_map(self.node_dir, map::COUNTERS)?;
        reset_per_cpu(&counters, meta.slot, size_of::<Counters>())?;
        shares::reset(self.node_dir, meta.slot)?;
        accelerated::begin(self.node_dir, meta.slot, meta.number)?;
        if meta.features & feature::OBSERVE != 0 {
            observation::begin(self.node_dir, meta.slot, true)?;
        }
        Ok(())
    }

    /// Puts the sidecar's listeners into the workload's places. Without `all`, a listener that has been in one stays
    /// where it is.
    pub(super) fn listen(&self, meta: &Meta, listeners: &mut late_listeners::Found, all: bool) -> Result<()> {
        listeners.renew(self.netns, &self.compiled.policy)?;
        listeners.add(self.netns, self.node_dir, meta.slot, &self.compiled.policy, all)
    }
}

fn reset_per_cpu(map: &std::os::fd::OwnedFd, slot: u32, size: usize) -> Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))?;
    let zeros = vec![0; size.next_multiple_of(8) * cpus];
    bpf_map_elem::update(map.as_fd(), &slot.to_ne_bytes(), &zeros, 0).context("reset its counters")
}
