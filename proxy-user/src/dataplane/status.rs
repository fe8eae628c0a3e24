//! What is attached, read from the pins.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use proxy_common::{
    counter::Event,
    names::{map, program},
    verdict::Rule,
};
use serde::Serialize;

use super::{
    accel_counters::{self, Traffic},
    hooks::{HOOKS, Needs},
    meta::Meta,
    pins::WorkloadPins,
};

/// One workload.
#[derive(Debug, Serialize)]
pub struct WorkloadStatus {
    pub workload: String,
    /// Whether every link is in place.
    pub complete: bool,
    pub programs: Vec<&'static str>,
    pub meta: Meta,
    pub counters: Counters,
    /// What became of messages between local sockets.
    pub acceleration: BTreeMap<&'static str, Traffic>,
}

/// Decisions and events since attach; only those that happened.
#[derive(Debug, Default, Serialize)]
pub struct Counters {
    pub rules: BTreeMap<&'static str, u64>,
    pub events: BTreeMap<&'static str, u64>,
}

/// All workloads of this node, and those whose pins cannot be read.
pub fn status() -> Result<(Vec<WorkloadStatus>, Vec<String>)> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for pins in WorkloadPins::all()? {
        match of(&pins) {
            Ok(status) => good.push(status),
            // Detached while it was looked at.
            Err(_) if !pins.exists() => {}
            Err(error) => bad.push(format!("{}: {error:#}", pins.name())),
        }
    }
    Ok((good, bad))
}

fn of(pins: &WorkloadPins) -> Result<WorkloadStatus> {
    let meta = Meta::read(&pins.map(map::META))?;
    let programs: Vec<&'static str> =
        HOOKS.iter().map(|hook| hook.program).filter(|program| pins.link(program).exists()).collect();
    let needs = Needs {
        owner_record: programs.contains(&program::SOCK_CREATE),
        accelerated: meta.not_accelerated.is_none(),
        observe: meta.not_observed.is_none(),
        ..Needs::of(&meta.config)
    };
    let complete = HOOKS.iter().all(|hook| !hook.is_needed(needs) || programs.contains(&hook.program));
    Ok(WorkloadStatus {
        workload: pins.name(),
        complete,
        programs,
        counters: Counters::read(pins)?,
        acceleration: accel_counters::read(meta.slot)?,
        meta,
    })
}

impl Counters {
    pub fn read(pins: &WorkloadPins) -> Result<Self> {
        let path = pins.map(map::COUNTERS);
        let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
        let counters: PerCpuArray<_, u64> =
            PerCpuArray::try_from(Map::PerCpuArray(data)).context("read the counters")?;
        let sum = |index: u32| -> Result<u64> {
            let values = counters.get(&index, 0).context("read a counter")?;
            Ok(values.iter().sum())
        };
        let mut found = Self::default();
        for rule in Rule::ALL {
            let count = sum(*rule as u32)?;
            if count > 0 {
                found.rules.insert(rule.name(), count);
            }
        }
        for event in Event::ALL {
            let count = sum(event.index())?;
            if count > 0 {
                found.events.insert(event.name(), count);
            }
        }
        Ok(found)
    }
}
