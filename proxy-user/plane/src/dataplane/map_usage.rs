//! How full the maps are that can fill up.

use std::{os::fd::AsFd as _, path::Path};

use anyhow::{Context, Result};
use aya::maps::MapInfo;
use proxy_common::names::map;
use serde::Serialize;

use super::{node_pins, pins::map_in, shares};
use crate::sys::bpf_map;

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
    /// What a workload has of what is shared, and how much it may have.
    pub fn of_workload(slot: u32) -> Result<Vec<Self>> {
        let node_dir = node_pins::dir();
        let (has, may) = (shares::of(&node_dir, slot)?, shares::limits(&node_dir)?);
        // Two programs that count at once are a moment apart.
        let of = |map, has: u64, may: u64| Self {
            map,
            entries: u32::try_from(has).unwrap_or(0),
            capacity: u32::try_from(may).unwrap_or(u32::MAX),
        };
        Ok(vec![
            of(map::PENDING, has.pending, may.pending),
            of(map::SOCKS, has.sockets, may.sockets),
            of(map::LIVE, has.live, may.live),
            of(map::FLOW_PEERS, has.peers, may.peers),
        ])
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
        let entries = bpf_map::count(fd.as_fd(), info.key_size(), info.value_size(), capacity)
            .with_context(|| format!("count the entries of {}", path.display()))?;
        Ok(Some(Self { map, entries, capacity }))
    }
}
