//! The ring in which workloads ask for a look at their programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, MapInfo, RingBuf};
use nix::fcntl::Flock;
use proxy_common::{accel::ASKS_SIZE, names::map};

use super::{
    node_pins,
    pins::{WorkloadPins, map_in, pinned},
    ring_turn::{self, Claim},
    workloads::Workloads,
};

/// The right to answer.
pub struct Asks {
    ring: RingBuf<MapData>,
    id: u32,
    _lock: Flock<File>,
}

/// Who has asked.
pub struct Asked {
    pub tenancies: BTreeSet<u64>,
    /// Others may have found no room.
    pub was_full: bool,
}

/// An ask in the ring: a tenancy, and the ring's own word about it (`kernel/bpf/ringbuf.c: BPF_RINGBUF_HDR_SZ`).
const ASK_SIZE: u32 = 16;

impl Asks {
    pub fn claim() -> Result<Claim<Self>> {
        let Some(id) = current() else { return Ok(Claim::Absent) };
        let Some(lock) = ring_turn::take("asks")? else { return Ok(Claim::Taken) };
        let data = pinned(&node_pins::dir(), map::ASKS)?;
        let ring = RingBuf::try_from(Map::RingBuf(data)).context("open the ring of those who ask")?;
        Ok(Claim::Granted(Self { ring, id, _lock: lock }))
    }

    /// Whether it is still the one that is pinned: the last detach takes it away, the next attach makes another one.
    pub fn is_current(&self) -> bool {
        current() == Some(self.id)
    }

    /// Those who have asked since.
    pub fn drain(&mut self) -> Asked {
        let mut tenancies = BTreeSet::new();
        let mut asks = 0;
        while let Some(item) = self.ring.next() {
            tenancies.extend(<[u8; 8]>::try_from(&*item).map(u64::from_ne_bytes));
            asks += 1;
        }
        Asked { tenancies, was_full: asks >= ASKS_SIZE / ASK_SIZE }
    }
}

// To wait for it.
impl AsRawFd for Asks {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Asks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Those that are attached, by tenancy.
pub fn tenants() -> Result<BTreeMap<u64, WorkloadPins>> {
    let Some(table) = Workloads::if_there(&node_pins::dir())? else { return Ok(BTreeMap::new()) };
    Ok(table.taken().map(|(slot, entry)| (entry.tenancy(slot), WorkloadPins::of_entry(&entry))).collect())
}

fn current() -> Option<u32> {
    MapInfo::from_pin(map_in(&node_pins::dir(), map::ASKS)).ok().map(|info| info.id())
}
