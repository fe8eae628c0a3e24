//! How full the maps are that can fill up.

use std::{os::fd::AsFd as _, path::Path};

use anyhow::{Context, Result};
use aya::maps::MapInfo;
use proxy_common::names::map;
use serde::Serialize;

use super::{
    node,
    pins::{WorkloadPins, map_in},
};
use crate::sys::bpf_map;

/// Policy maps are as large as their contents, and LRU maps make room by themselves.
const OF_WORKLOAD: [&str; 2] = [map::PENDING, map::GUEST_PORTS];
const OF_NODE: [&str; 4] = [map::SOCKS, map::ENDS, map::LOCAL_ADDRS, map::READERS];

#[derive(Clone, Debug, Serialize)]
pub struct Fill {
    pub map: &'static str,
    pub entries: u32,
    pub capacity: u32,
}

impl Fill {
    pub fn of_workload(pins: &WorkloadPins) -> Result<Vec<Self>> {
        OF_WORKLOAD.iter().filter_map(|name| Self::read(&pins.map(name), name).transpose()).collect()
    }

    /// Of the maps all workloads share; none where none is attached.
    pub fn of_node() -> Result<Vec<Self>> {
        OF_NODE.iter().filter_map(|name| Self::read(&map_in(&node::dir(), name), name).transpose()).collect()
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
