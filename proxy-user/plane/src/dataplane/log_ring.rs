//! The ring into which the programs of the node log.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd as _,
};

use anyhow::{Context, Result};
use aya::maps::MapInfo;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use proxy_common::names::{map, program};

use super::{
    node_pins,
    pins::{WorkloadPins, map_in},
};
use crate::sys::{bpf_link, bpf_pin};

/// The right to read it.
#[derive(Debug)]
pub struct LogRing {
    id: u32,
    program: u32,
    _lock: Flock<File>,
}

/// What came of asking for it.
#[derive(Debug)]
pub enum Claim {
    Granted(LogRing),
    /// Another process has it.
    Taken,
    /// Nothing is attached.
    Absent,
}

impl LogRing {
    pub fn claim() -> Result<Claim> {
        let Some(id) = current() else { return Ok(Claim::Absent) };
        let file = lock_file()?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(Claim::Taken),
            Err((_, error)) => return Err(error).context("lock the log of the BPF programs"),
        };
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

/// Not the node's directory: the lock of that one says that somebody holds what workloads share.
fn lock_file() -> Result<File> {
    let dir = node_pins::dir().join("log");
    match fs::create_dir(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(&dir),
    }
    .with_context(|| format!("open {}", dir.display()))
}

fn current() -> Option<u32> {
    MapInfo::from_pin(map_in(&node_pins::dir(), map::LOGS)).ok().map(|info| info.id())
}
