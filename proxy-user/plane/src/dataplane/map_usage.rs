//! How full the maps are that can fill up.

use std::os::fd::AsFd as _;

use anyhow::{Context, Result};
use aya::maps::MapInfo;
use proxy_common::{
    names::map,
    workload::{Limits, Shares},
};
use serde::Serialize;

use super::{node_pins, pins::map_in, shares::NodeShares};
use crate::sys::bpf_entries::{self, Sizes};

/// Of these each workload's entries are counted as they come and go.
const SHARED: [&str; 3] = [map::PENDING, map::SOCKS, map::FLOW_PEERS];

/// Of these nobody counts. LRU maps make room by themselves, and arrays are as large as they are.
const OTHERS: [&str; 6] = [map::LISTS, map::RANGES, map::ROUTES, map::ENDS, map::LOCAL_ADDRS, map::READERS];

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

    /// What these workloads have together of the maps they have shares of; none where none is attached.
    pub fn summed(workloads: &[Vec<Self>]) -> Result<Vec<Self>> {
        let of = |map: &'static str| {
            let each = workloads.iter().flatten().filter(|usage| usage.map == map);
            let entries = each.map(|usage| usage.entries).fold(0, u32::saturating_add);
            Ok(info(map)?.map(|info| Self { map, entries, capacity: info.max_entries() }))
        };
        SHARED.into_iter().filter_map(|map| of(map).transpose()).collect()
    }

    /// Of the other maps that all share, by a walk through each: through megabytes, most of them empty.
    pub fn counted() -> Result<Vec<Self>> {
        let of = |map: &'static str| {
            let Some(info) = info(map)? else { return Ok(None) };
            let (fd, capacity) = (info.fd()?, info.max_entries());
            let (key, value) = (info.key_size() as usize, info.value_size().next_multiple_of(8) as usize);
            let entries = bpf_entries::count(fd.as_fd(), Sizes { key, value, capacity })
                .with_context(|| format!("count the entries of {map}"))?;
            Ok(Some(Self { map, entries, capacity }))
        };
        OTHERS.into_iter().filter_map(|map| of(map).transpose()).collect()
    }
}

/// None: no such pin.
fn info(map: &str) -> Result<Option<MapInfo>> {
    let path = map_in(&node_pins::dir(), map);
    if !path.exists() {
        return Ok(None);
    }
    MapInfo::from_pin(&path).map(Some).with_context(|| format!("open {}", path.display()))
}
