//! What became of a workload's messages: the acceleration's counters, read from the node's map.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya::maps::{Map, PerCpuArray};
use proxy_common::{
    accel::{Reason, counter_index},
    names::map,
};
use serde::Serialize;

use super::{
    node_pins,
    pins::{map_in, pinned},
};

/// Sockets that entered or stayed out; messages of sockets that entered, and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Traffic {
    pub sockets: u64,
    pub messages: u64,
    pub bytes: u64,
}

/// By reason, since the slot was made; only those that happened. Empty where nothing is accelerated.
pub(super) fn read(slot: u32) -> Result<BTreeMap<&'static str, Traffic>> {
    let path = map_in(&node_pins::dir(), map::ACCEL_COUNTERS);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let counters: PerCpuArray<_, u64> =
        PerCpuArray::try_from(Map::PerCpuArray(pinned(&node_pins::dir(), map::ACCEL_COUNTERS)?))
            .context("read the acceleration's counters")?;
    let sum = |index: u32| -> Result<u64> {
        let values = counters.get(&index, 0).context("read a counter of the acceleration")?;
        Ok(values.iter().sum())
    };
    let mut found = BTreeMap::new();
    for reason in Reason::ALL {
        let index = counter_index(slot, *reason);
        let traffic = Traffic { sockets: sum(index)?, messages: sum(index + 1)?, bytes: sum(index + 2)? };
        if traffic != Traffic::default() {
            found.insert(reason.name(), traffic);
        }
    }
    Ok(found)
}
