//! What the programs have counted, by slot.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    maps::{Array, MapData},
    util::nr_cpus,
};
use proxy_common::{
    accel::{Reason, Switch, counter_index},
    counter::{Counters as Counts, Event},
    names::map,
    verdict::Rule,
};
use serde::Serialize;

use super::{
    accelerated, node_pins,
    pins::{map_in, open_map},
    wire::{Raw, value},
};
use crate::{clock::monotonic_ns, sys::bpf_range};

/// Decisions and events since attach; only those that happened.
#[derive(Debug, Default, Serialize)]
pub struct Counters {
    pub rules: BTreeMap<&'static str, u64>,
    pub events: BTreeMap<&'static str, u64>,
}

/// Sockets that entered or stayed out; messages of sockets that entered, and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Traffic {
    pub sockets: u64,
    pub messages: u64,
    pub bytes: u64,
}

impl Counters {
    /// Those of a slot.
    ///
    /// # Errors
    /// When the node's maps cannot be read.
    pub fn read(slot: u32) -> Result<Self> {
        NodeCounters::open()?.of(slot)
    }
}

/// The node's counters, open.
pub(super) struct NodeCounters {
    counters: OwnedFd,
    /// None where nothing is accelerated.
    acceleration: Option<OwnedFd>,
    /// The same.
    switches: Option<Array<MapData, Raw<Switch>>>,
    cpus: usize,
}

impl NodeCounters {
    pub(super) fn open() -> Result<Self> {
        let dir = node_pins::dir();
        let accelerates = map_in(&dir, map::ACCEL_COUNTERS).exists();
        Ok(Self {
            counters: open_map(&dir, map::COUNTERS)?,
            acceleration: accelerates.then(|| open_map(&dir, map::ACCEL_COUNTERS)).transpose()?,
            switches: accelerates.then(|| accelerated::switches(&dir)).transpose()?,
            cpus: nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?,
        })
    }

    pub(super) fn of(&self, slot: u32) -> Result<Counters> {
        let size = size_of::<Counts>();
        let values = bpf_range::read(self.counters.as_fd(), slot, 1, size * self.cpus)
            .with_context(|| format!("read {}", map::COUNTERS))?;
        let of_cpus = values.chunks_exact(size).map(value);
        let of_cpus: Vec<Counts> = of_cpus.collect::<Option<_>>().context("counters of another size")?;
        let sum = |index: usize| of_cpus.iter().map(|counts| counts[index]).sum::<u64>();
        let happened = |name, index| Some((name, sum(index))).filter(|(_, count)| *count > 0);
        Ok(Counters {
            rules: Rule::ALL.iter().filter_map(|rule| happened(rule.name(), *rule as usize)).collect(),
            events: Event::ALL.iter().filter_map(|event| happened(event.name(), event.index())).collect(),
        })
    }

    /// What is left of a workload's pause.
    pub(super) fn pause_of(&self, slot: u32) -> Result<Option<Duration>> {
        let Some(switches) = &self.switches else { return Ok(None) };
        let until = switches.get(&slot, 0).context("read the workload's switch")?.0.paused_until;
        let left = until.saturating_sub(monotonic_ns()?);
        Ok((left > 0).then(|| Duration::from_nanos(left)))
    }

    /// What became of a workload's messages, by reason, since the slot was made; only those that happened.
    pub(super) fn acceleration_of(&self, slot: u32) -> Result<BTreeMap<&'static str, Traffic>> {
        let Some(map) = &self.acceleration else { return Ok(BTreeMap::new()) };
        let first = counter_index(slot, Reason::ALL[0]);
        let count = counter_index(slot + 1, Reason::ALL[0]) - first;
        let size = size_of::<u64>() * self.cpus;
        let values = bpf_range::read(map.as_fd(), first, count, size)
            .with_context(|| format!("read {}", map::ACCEL_COUNTERS))?;
        let sum = |index: u32| -> u64 {
            let at = (index - first) as usize * size;
            values[at..at + size].as_chunks::<8>().0.iter().map(|of_cpu| u64::from_ne_bytes(*of_cpu)).sum()
        };
        let of = |reason: &Reason| {
            let index = counter_index(slot, *reason);
            let traffic = Traffic { sockets: sum(index), messages: sum(index + 1), bytes: sum(index + 2) };
            (traffic != Traffic::default()).then_some((reason.name(), traffic))
        };
        Ok(Reason::ALL.iter().filter_map(of).collect())
    }
}
