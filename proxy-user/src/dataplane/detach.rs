//! Detach: no program, link, map or pin stays. Established connections live on: their sockets are connected to the
//! sidecar, whatever becomes of the programs.

use std::{fs, os::fd::AsFd, path::Path};

use anyhow::{Context, Result};
use proxy_common::names::map;

use super::{
    hooks::HOOKS,
    meta::Meta,
    passthrough6,
    pins::{self, WorkloadPins},
};
use crate::sys::{bpf_link, bpf_pin};

/// Detaches the workloads of a namespace, or with a cgroup given only that one. Returns which there were.
pub fn detach(netns_inode: u64, cgroup_id: Option<u64>) -> Result<Vec<WorkloadPins>> {
    let mut found = WorkloadPins::all()?;
    found.retain(|pins| {
        pins.netns_inode() == netns_inode && cgroup_id.is_none_or(|cgroup| pins.cgroup_id() == cgroup)
    });
    for pins in &found {
        remove_workload(pins)?;
    }
    Ok(found)
}

/// Detaches every workload of this node.
pub fn detach_all() -> Result<Vec<WorkloadPins>> {
    let found = WorkloadPins::all()?;
    for pins in &found {
        remove_workload(pins)?;
    }
    // Also what an attach left that was killed halfway.
    pins::remove(&super::bpffs::root())?;
    Ok(found)
}

pub(super) fn remove_workload(pins: &WorkloadPins) -> Result<()> {
    let meta = Meta::read(&pins.map(map::META)).ok();
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
    // The last one takes the directory with it; it is not empty as long as there are others.
    let _ = fs::remove_dir(super::bpffs::root());
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
