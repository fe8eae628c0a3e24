//! Detach: no program, link, map or pin stays. Established connections live on: their sockets are connected to the
//! sidecar, whatever becomes of the programs.

use std::{
    fs,
    os::{fd::AsFd, unix::fs::MetadataExt as _},
    path::Path,
};

use anyhow::{Context, Result};
use proxy_common::names::map;

use super::{
    bpffs, guests,
    hooks::HOOKS,
    meta::Meta,
    node, observation, passthrough6,
    pins::{self, WorkloadPins},
};
use crate::sys::{bpf_link, bpf_pin};

/// Detaches the workload of a namespace, with a cgroup given only if that is its own. The cgroup is compared by path:
/// it may be gone. Returns which there were.
pub fn detach(netns_inode: u64, cgroup: Option<&Path>) -> Result<Vec<WorkloadPins>> {
    let same = |pins: &WorkloadPins, cgroup: &Path| {
        Meta::read(&pins.map(map::META)).is_ok_and(|meta| meta.cgroup_path == cgroup)
            || fs::metadata(cgroup).is_ok_and(|meta| meta.ino() == pins.cgroup_id())
    };
    detach_those(|pins| pins.netns_inode() == netns_inode && cgroup.is_none_or(|cgroup| same(pins, cgroup)))
}

/// Detaches the workload of that name, whatever has become of its namespace.
pub fn detach_named(name: &str) -> Result<Vec<WorkloadPins>> {
    detach_those(|pins| pins.name() == name)
}

fn detach_those(meant: impl Fn(&WorkloadPins) -> bool) -> Result<Vec<WorkloadPins>> {
    let Some(lock) = node::Lock::take(&bpffs::root())? else { return Ok(Vec::new()) };
    let mut found = WorkloadPins::all()?;
    found.retain(|pins| meant(pins));
    if found.is_empty() {
        return Ok(found);
    }
    for pins in &found {
        remove_workload(pins)?;
    }
    node::remove_if_unused()?;
    // The last one takes the directory with it; it is not empty as long as there are others.
    let _ = fs::remove_dir(bpffs::root());
    drop(lock);
    Ok(found)
}

/// Detaches every workload of this node.
pub fn detach_all() -> Result<Vec<WorkloadPins>> {
    let _lock = node::Lock::take(&bpffs::root())?;
    let found = WorkloadPins::all()?;
    for pins in &found {
        remove_workload(pins)?;
    }
    node::remove_if_unused()?;
    // Also what an attach left that was killed halfway.
    pins::remove(&bpffs::root())?;
    Ok(found)
}

pub(super) fn remove_workload(pins: &WorkloadPins) -> Result<()> {
    node::switch_off(pins)?;
    let meta = Meta::read(&pins.map(map::META)).ok();
    if let Some(meta) = &meta {
        observation::forget(meta.slot)?;
    }
    guests::remove(pins.dir())?;
    // What redirects goes first, what answers questions last: the reverse of attaching.
    for hook in HOOKS.iter().rev() {
        let path = pins.link(hook.program);
        if path.exists() {
            remove_link(&path)?;
        }
    }
    pins::remove(pins.dir())?;
    pins::remove(&pins.staging())?;
    if let Some(meta) = meta.filter(|meta| meta.added_passthrough6) {
        passthrough6::remove(&meta)?;
    }
    Ok(())
}

pub(super) fn remove_link(path: &Path) -> Result<()> {
    let link = bpf_pin::open(path).with_context(|| format!("open {}", path.display()))?;
    match bpf_link::detach(link.as_fd()) {
        // Its cgroup or namespace is gone, and it with them.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        // The kernel has auto-detached the link of a dying cgroup.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT | libc::ENODEV)) => {}
        other => other.with_context(|| format!("detach {}", path.display()))?,
    }
    fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
}
