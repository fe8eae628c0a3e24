//! Where the pins are of what all workloads of a node share.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proxy_common::names::map;

use super::{bpffs, layout::layout, pins};
use crate::sys::bpf_map_elem;

/// The directory of this build. Another layout is another directory: a build that does not know it must not
/// use its maps.
pub(super) fn dir() -> PathBuf {
    bpffs::root().join(format!("node{}", layout()))
}

pub(super) fn ensure_dir() -> Result<PathBuf> {
    let dir = dir();
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// Whether all maps are there. They are made before the first workload; who is killed meanwhile leaves some of them, which
/// the next one adds to.
pub(super) fn is_whole(dir: &Path) -> bool {
    let slots = pins::slots_dir(&bpffs::root());
    map::NODE.iter().all(|name| pins::map_in(dir, name).exists()) && pins::map_in(&slots, map::SLOT).exists()
}

/// Removes what the workloads of one layout shared.
pub(super) fn remove_shared(dir: &Path) -> Result<()> {
    if let Ok(table) = pins::open_map(dir, map::DISPATCH) {
        // Sockets keep the map's program, which then has nothing to pass on to.
        let _ = bpf_map_elem::clear(table.as_fd(), 0);
    }
    pins::remove(dir)
}
