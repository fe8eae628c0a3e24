//! The ring into which the programs of the node log.

use std::{fs::File, os::fd::AsFd as _};

use anyhow::Result;
use aya::maps::MapInfo;
use nix::fcntl::Flock;
use proxy_common::names::{map, program};

use super::{
    node_pins,
    pins::{WorkloadPins, map_in},
    ring_turn::{self, Claim},
};
use crate::sys::{bpf_link, bpf_pin};

/// The right to read it.
#[derive(Debug)]
pub struct LogRing {
    id: u32,
    program: u32,
    _lock: Flock<File>,
}

impl LogRing {
    pub fn claim() -> Result<Claim<Self>> {
        let Some(id) = current() else { return Ok(Claim::Absent) };
        let Some(lock) = ring_turn::take("log")? else { return Ok(Claim::Taken) };
        for pins in WorkloadPins::all()? {
            // Of any workload: they log into the same ring.
            let link = bpf_pin::open(&pins.link(program::SOCK_OPS));
            if let Ok(program) = link.and_then(|link| bpf_link::program_id(link.as_fd())) {
                return Ok(Claim::Granted(Self { id, program, _lock: lock }));
            }
        }
        Ok(Claim::Absent)
    }

    /// A program that logs into it.
    pub fn program(&self) -> u32 {
        self.program
    }

    /// Whether it is still the one that is pinned.
    pub fn is_current(&self) -> bool {
        current() == Some(self.id)
    }
}

fn current() -> Option<u32> {
    MapInfo::from_pin(map_in(&node_pins::dir(), map::LOGS)).ok().map(|info| info.id())
}
