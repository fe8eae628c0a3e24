//! The table of workloads: which slots are taken and whose they are. Programs read the same memory.

use std::{collections::BTreeSet, os::fd::AsFd as _};

use anyhow::{Context, Result, bail};
use proxy_common::{
    names::map,
    workload::{Limits, SLOTS, Shares, Workload, state},
};

use super::{
    node_pins,
    pins::{WorkloadPins, open_map},
    wire::{bytes, decode},
};
use crate::sys::{bpf_map_elem, bpf_mmap::Mapping};

const SIZE: usize = size_of::<Workload>();
const WORDS: usize = SIZE / 8;

pub(super) struct Workloads {
    memory: Mapping,
    map: std::os::fd::OwnedFd,
    limits: std::os::fd::OwnedFd,
}

impl Workloads {
    pub(super) fn open(node_dir: &std::path::Path) -> Result<Self> {
        let map = open_map(node_dir, map::WORKLOADS)?;
        let memory =
            Mapping::new(map.as_fd(), SIZE * SLOTS as usize).context("map the table of workloads")?;
        Ok(Self { memory, map, limits: open_map(node_dir, map::LIMITS)? })
    }

    /// None: the node has not all of its maps, and so no workloads.
    pub(super) fn if_there(node_dir: &std::path::Path) -> Result<Option<Self>> {
        node_pins::is_whole(node_dir).then(|| Self::open(node_dir)).transpose()
    }

    pub(super) fn get(&self, slot: u32) -> Workload {
        let mut words = [0u64; WORDS];
        self.memory.read(slot as usize * SIZE, &mut words);
        decode(&words).unwrap_or_default()
    }

    /// Those that are there, with their slots.
    pub(super) fn taken(&self) -> impl Iterator<Item = (u32, Workload)> + '_ {
        (0..SLOTS).map(|slot| (slot, self.get(slot))).filter(|(_, found)| found.state != state::FREE)
    }

    pub(super) fn slot_of(&self, pins: &WorkloadPins) -> Option<u32> {
        self.taken()
            .find(|(_, found)| {
                found.cgroup == pins.cgroup_id() && u64::from(found.netns) == pins.netns_inode()
            })
            .map(|(slot, _)| slot)
    }

    /// One that nobody has, nor these.
    pub(super) fn free_slot(&self, but: &BTreeSet<u32>) -> Result<u32> {
        let free = |slot: &u32| self.get(*slot).state == state::FREE && !but.contains(slot);
        match (0..SLOTS).find(free) {
            Some(slot) => Ok(slot),
            None => bail!("{SLOTS} workloads are attached on this node, no more fit"),
        }
    }

    /// A certain one, that another layout's workload has. It may have been this one's in this layout, too: who is taken over
    /// leaves its entry behind where others go on with the older layout.
    pub(super) fn claim(&self, slot: u32, pins: &WorkloadPins) -> Result<u32> {
        let is_free = |slot| self.get(slot).state == state::FREE || self.slot_of(pins) == Some(slot);
        if slot >= SLOTS || !is_free(slot) {
            bail!(
                "slot {slot} is another workload's: run `sidestep detach` for this one, then attach it again"
            );
        }
        Ok(slot)
    }

    /// Programs see the old one or the new, word by word: the last word says what counts.
    pub(super) fn set(&self, slot: u32, workload: &Workload) -> Result<()> {
        bpf_map_elem::update(self.map.as_fd(), &slot.to_ne_bytes(), bytes(workload), 0)
            .context("write the table of workloads")?;
        self.share_out()
    }

    /// Divides what is shared among those that are there.
    fn share_out(&self) -> Result<()> {
        let count = u32::try_from(self.taken().count()).unwrap_or(SLOTS);
        let limits: Limits = Shares::of(count, proxy_common::flow::LIVE);
        bpf_map_elem::update(self.limits.as_fd(), &0u32.to_ne_bytes(), bytes(&limits), 0)
            .context("write the limits of workloads")
    }
}
