//! How much a workload has of what all of them share, and how much it may have.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result};
use proxy_common::{
    names::map,
    workload::{Limits, Shares},
};

use super::{
    pins::open_map,
    wire::{bytes, value},
};
use crate::sys::bpf_map_elem;

/// The shares of a node's workloads, open.
pub(super) struct NodeShares {
    shares: OwnedFd,
    /// How much each may have.
    pub(super) limits: Limits,
}

impl NodeShares {
    pub(super) fn open(node_dir: &Path) -> Result<Self> {
        let limits = open_map(node_dir, map::LIMITS)?;
        Ok(Self { shares: open_map(node_dir, map::SHARES)?, limits: read(limits.as_fd(), map::LIMITS, 0)? })
    }

    pub(super) fn of(&self, slot: u32) -> Result<Shares> {
        read(self.shares.as_fd(), map::SHARES, slot)
    }
}

pub(super) fn of(node_dir: &Path, slot: u32) -> Result<Shares> {
    read(open_map(node_dir, map::SHARES)?.as_fd(), map::SHARES, slot)
}

/// Nothing is the slot's any more.
pub(super) fn reset(node_dir: &Path, slot: u32) -> Result<()> {
    let shares = open_map(node_dir, map::SHARES)?;
    bpf_map_elem::update(shares.as_fd(), &slot.to_ne_bytes(), bytes(&Shares::default()), 0)
        .context("reset its shares")
}

fn read(map: BorrowedFd<'_>, name: &str, key: u32) -> Result<Shares> {
    let mut bytes = [0; size_of::<Shares>()];
    bpf_map_elem::lookup(map, &key.to_ne_bytes(), &mut bytes).with_context(|| format!("read {name}"))?;
    value(&bytes).with_context(|| format!("{name} has values of another size"))
}
