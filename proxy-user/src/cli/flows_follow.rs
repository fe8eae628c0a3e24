//! `sidestep flows --follow`.

use std::{collections::HashSet, thread, time::Duration};

use anyhow::Result;
use proxy_common::names::map;
use proxy_core::exit::{Class, Failure};
use proxy_plane::{
    dataplane::{Meta, WorkloadPins},
    flows::{Filter, Journal},
};

use super::flows_print::Printer;

/// How often a follower looks. The journal has room for what closes meanwhile, see `docs/flows.md`.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Until the reader goes, or what was followed.
pub(super) fn follow(
    mut journal: Journal,
    filter: &Filter,
    printer: &mut Printer,
    mut listed: HashSet<u64>,
) -> Result<()> {
    let watched = Watched::of(filter)?;
    let mut lost = 0;
    loop {
        thread::sleep(LOOK_EVERY);
        let gone = watched.gone();
        let batch = if gone.is_some() { journal.drain() } else { journal.read() }?;
        let mut flows = batch.flows;
        flows.retain(|flow| filter.matches(flow) && !listed.remove(&flow.id));
        let mut is_read = printer.print(&flows, false)?;
        if batch.lost > lost {
            is_read &= printer.say_lost(batch.lost - lost, batch.lost)?;
            lost = batch.lost;
        }
        if !is_read {
            return Ok(());
        }
        if let Some(name) = gone {
            return Err(detached(&name));
        }
    }
}

fn detached(name: &str) -> anyhow::Error {
    Failure::error(
        Class::Other,
        format!(
            "workload {name} was detached, there is nothing left to follow; `sidestep status` lists those there are"
        ),
    )
}

/// The workloads somebody follows, by their numbers: one that is detached and attached has another.
pub(super) struct Watched(Vec<(WorkloadPins, Option<u32>)>);

impl Watched {
    pub(super) fn of(filter: &Filter) -> Result<Self> {
        let mut all = WorkloadPins::all()?;
        if !filter.workloads.is_empty() {
            all.retain(|pins| filter.workloads.contains(&pins.name()));
        }
        Ok(Self(all.into_iter().map(|pins| (pins.clone(), attached_as(&pins))).collect()))
    }

    /// # Errors
    /// Once none of them is left as it was.
    pub(super) fn check(&self) -> Result<()> {
        self.gone().map_or(Ok(()), |name| Err(detached(&name)))
    }

    /// A name once none of them is left as it was.
    fn gone(&self) -> Option<String> {
        let last = self.0.last()?;
        let none_left = self.0.iter().all(|(pins, map)| attached_as(pins) != *map);
        none_left.then(|| last.0.name())
    }
}

fn attached_as(pins: &WorkloadPins) -> Option<u32> {
    Meta::read(&pins.map(map::META)).ok().map(|meta| meta.number)
}
