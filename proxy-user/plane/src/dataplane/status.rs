//! What is attached, read from the pins.

use std::{
    collections::{BTreeMap, HashSet},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use proxy_common::names::{map, program};
use serde::Serialize;

use super::{
    counters::{Counters, NodeCounters, Traffic},
    described::Described,
    hooks::{HOOKS, Needs},
    layout::layout,
    meta::Meta,
    pins::{WorkloadPins, entries, name_of, program_of},
    presence::{Gone, hangs_on_nothing},
};

/// From its first pin to its directory, on a busy machine.
const RELEASED_WITHIN: Duration = Duration::from_millis(250);

/// One workload.
#[derive(Debug, Serialize)]
pub struct WorkloadStatus {
    pub workload: String,
    /// Whether every link is in place.
    pub complete: bool,
    /// What of its place is gone for good.
    pub gone: Option<Gone>,
    pub programs: Vec<&'static str>,
    pub meta: Described,
    /// Milliseconds for which nothing of it is redirected, from now on; none: it is not paused.
    pub paused_ms: Option<u64>,
    pub counters: Counters,
    /// What became of messages between local sockets.
    pub acceleration: BTreeMap<&'static str, Traffic>,
}

/// All workloads of this node, and those whose pins cannot be read.
pub fn status() -> Result<(Vec<WorkloadStatus>, Vec<String>)> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let mut patience = Patience::default();
    let mut node = None;
    for pins in WorkloadPins::all()? {
        match of(&pins, &mut node) {
            Ok(status) if status.complete => good.push(status),
            // Being released while it was looked at.
            _ if patience.outlasts(&pins) => {}
            Ok(status) => good.push(status),
            Err(error) => bad.push(format!("{}: {error:#}", pins.name())),
        }
    }
    Ok((good, bad))
}

/// A release removes pin by pin, and the directory last: one that is half gone may be gone in a moment.
#[derive(Default)]
struct Patience(Option<Instant>);

impl Patience {
    /// Whether the pins are gone, now or in a moment. All that is doubtful in one look has this moment together.
    fn outlasts(&mut self, pins: &WorkloadPins) -> bool {
        let end = *self.0.get_or_insert_with(|| Instant::now() + RELEASED_WITHIN);
        while pins.exists() {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

/// `node`: opened for the first that needs it.
fn of(pins: &WorkloadPins, node: &mut Option<NodeCounters>) -> Result<WorkloadStatus> {
    let meta = Meta::read(&pins.map(map::META))?;
    anyhow::ensure!(
        meta.layout == layout(),
        "another version of sidestep attached it (layout {}): run `sidestep attach` again",
        meta.layout
    );
    let programs = linked(pins);
    let is_loose = hangs_on_nothing(pins)?;
    let node = match node {
        Some(node) => node,
        None => node.insert(NodeCounters::open()?),
    };
    Ok(WorkloadStatus {
        workload: pins.name(),
        complete: has_all(&meta, &programs) && !is_loose,
        gone: Gone::of(pins, &meta, is_loose),
        programs,
        counters: node.of(meta.slot)?,
        acceleration: node.acceleration_of(meta.slot)?,
        paused_ms: node.pause_of(meta.slot)?.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        meta: meta.into(),
    })
}

/// In the order of the hooks.
fn linked(pins: &WorkloadPins) -> Vec<&'static str> {
    let pinned = entries(pins.dir()).unwrap_or_default();
    let pinned: HashSet<&str> = pinned.iter().filter_map(|path| program_of(name_of(path)?)).collect();
    HOOKS.iter().map(|hook| hook.program).filter(|program| pinned.contains(program)).collect()
}

fn has_all(meta: &Meta, programs: &[&'static str]) -> bool {
    let needs = Needs::of_features(meta.features, programs.contains(&program::SOCK_CREATE));
    HOOKS.iter().all(|hook| !hook.is_needed(needs) || programs.contains(&hook.program))
}

/// Whether this build has attached the workload, and every link is in place.
pub fn is_whole(pins: &WorkloadPins, meta: &Meta) -> bool {
    meta.layout == layout()
        && has_all(meta, &linked(pins))
        && hangs_on_nothing(pins).is_ok_and(|loose| !loose)
}

impl WorkloadStatus {
    /// Whether the workload is attached still.
    pub fn is_attached(&self) -> bool {
        WorkloadPins::parse(&self.workload).is_some_and(|pins| !Patience::default().outlasts(&pins))
    }
}
