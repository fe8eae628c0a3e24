//! How much a workload has of what all of them share, and how much it may have.

use std::{os::fd::AsFd as _, path::Path};

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

pub(super) fn of(node_dir: &Path, slot: u32) -> Result<Shares> {
    read(node_dir, map::SHARES, slot)
}

pub(super) fn limits(node_dir: &Path) -> Result<Limits> {
    read(node_dir, map::LIMITS, 0)
}

/// Nothing is the slot's any more.
pub(super) fn reset(node_dir: &Path, slot: u32) -> Result<()> {
    let shares = open_map(node_dir, map::SHARES)?;
    bpf_map_elem::update(shares.as_fd(), &slot.to_ne_bytes(), bytes(&Shares::default()), 0)
        .context("reset its shares")
}

fn read(node_dir: &Path, name: &str, key: u32) -> Result<Shares> {
    let map = open_map(node_dir, name)?;
    let mut bytes = [0; size_of::<Shares>()];
    bpf_map_elem::lookup(map.as_fd(), &key.to_ne_bytes(), &mut bytes)
        .with_context(|| format!("read {name}"))?;
    value(&bytes).with_context(|| format!("{name} has values of another size"))
}
