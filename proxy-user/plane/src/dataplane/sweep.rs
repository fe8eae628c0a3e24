//! Entries of a workload in maps of the node, found by looking at all of them: for what nobody has a list of.

use std::{io, os::fd::AsFd as _, path::Path};

use anyhow::{Context, Result};
use proxy_common::{names::map, wire::ListKey};

use super::{
    pins::open_map,
    rules::TrieKey,
    wire::{Plain, value},
};
use crate::sys::bpf_map_elem;

/// More than any map of ours holds.
const MOST: u32 = 1 << 22;

/// Removes all rules under these numbers.
pub(super) fn rules(node_dir: &Path, tables: [u32; 2]) -> Result<()> {
    let ours = |key: &TrieKey| tables.contains(&key.tables());
    entries::<TrieKey, ()>(node_dir, map::RANGES, |key, ()| ours(key))?;
    entries::<TrieKey, ()>(node_dir, map::ROUTES, |key, ()| ours(key))?;
    entries::<ListKey, ()>(node_dir, map::LISTS, |key, ()| tables.contains(&key.tables))
}

/// Removes the entries that are meant; of type `()` the values are not read.
pub(super) fn entries<K: Plain, V: Plain>(
    node_dir: &Path,
    name: &str,
    meant: impl Fn(&K, V) -> bool,
) -> Result<()> {
    let map = open_map(node_dir, name)?;
    let mut found = Vec::new();
    bpf_map_elem::each_key(map.as_fd(), size_of::<K>(), MOST, |key| {
        let mut bytes = vec![0; size_of::<V>()];
        if size_of::<V>() != 0 && !bpf_map_elem::lookup(map.as_fd(), key, &mut bytes)? {
            return Ok(());
        }
        let (Some(typed), Some(with)) = (value::<K>(key), value::<V>(&bytes)) else {
            return Err(io::Error::other("another size"));
        };
        if meant(&typed, with) {
            found.push(key.to_vec());
        }
        Ok(())
    })
    .with_context(|| format!("look through {name}"))?;
    for key in found {
        bpf_map_elem::delete(map.as_fd(), &key).with_context(|| format!("remove an entry of {name}"))?;
    }
    Ok(())
}
