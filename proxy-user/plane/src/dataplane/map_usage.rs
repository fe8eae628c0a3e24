//! How full the maps are that can fill up.

use std::{os::fd::AsFd as _, path::Path};

use anyhow::{Context, Result};
use aya::maps::MapInfo;
use proxy_common::{
    names::map,
    workload::{Limits, Shares},
};
use serde::Serialize;

use super::{node_pins, pins::map_in, shares::NodeShares};
use crate::sys::bpf_entries::{self, Sizes};

/// LRU maps make room by themselves, and arrays are as large as they are.
const OF_NODE: [&str; 9] = [
    map::PENDING,
    map::LISTS,
    map::RANGES,
    map::ROUTES,
    map::SOCKS,
    map::ENDS,
    map::LOCAL_ADDRS,
    map::READERS,
    map::FLOW_PEERS,
];

#[derive(Clone, Debug, Serialize)]
pub struct MapUsage {
    pub map: &'static str,
    pub entries: u32,
    pub capacity: u32,
}

impl MapUsage {
    /// What workloads have of what is shared, and how much each may have, in the order of their slots here.
    pub fn of_workloads(slots: impl Iterator<Item = u32>) -> Result<Vec<Vec<Self>>> {
        let mut slots = slots.peekable();
        if slots.peek().is_none() {
            return Ok(Vec::new());
        }
        let node = NodeShares::open(&node_pins::dir())?;
        slots.map(|slot| Ok(Self::of_workload(&node.of(slot)?, &node.limits))).collect()
    }

    fn of_workload(has: &Shares, may: &Limits) -> Vec<Self> {
        // Two programs that count at once are a moment apart.
        let of = |map, has: u64, may: u64| Self {
            map,
            entries: u32::try_from(has).unwrap_or(0),
            capacity: u32::try_from(may).unwrap_or(u32::MAX),
        };
        vec![
            of(map::PENDING, has.pending, may.pending),
            of(map::SOCKS, has.sockets, may.sockets),
            of(map::LIVE, has.live, may.live),
            of(map::FLOW_PEERS, has.peers, may.peers),
        ]
    }

    /// Of the maps all workloads share; none where none is attached.
    pub fn of_node() -> Result<Vec<Self>> {
        OF_NODE
            .iter()
            .filter_map(|name| Self::read(&map_in(&node_pins::dir(), name), name).transpose())
            .collect()
    }

    /// None: no such pin.
    fn read(path: &Path, map: &'static str) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let info = MapInfo::from_pin(path).with_context(|| format!("open {}", path.display()))?;
        let (fd, capacity) = (info.fd()?, info.max_entries());
        let (key, value) = (info.key_size() as usize, info.value_size().next_multiple_of(8) as usize);
        let entries = bpf_entries::count(fd.as_fd(), Sizes { key, value, capacity })
            .with_context(|| format!("count the entries of {}", path.display()))?;
        Ok(Some(Self { map, entries, capacity }))
    }
}
