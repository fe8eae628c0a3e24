//! The data plane of a node: programs and maps that are there once, and the workloads enrolled in it.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proxy_common::names::map;

use super::{
    attach_options::AttachOptions,
    bpffs,
    enroll::{self, Enrolled},
    known::Known,
    lock::Lock,
    meta::layout,
    pins::{self, WorkloadPins},
    privileges, refresh, release, takeover,
    workloads::Workloads,
};
use crate::{cgroup::Cgroup, netns::Netns, sys::bpf_map_elem};

/// What a process needs to enrol and release workloads; to be made once.
pub struct Node {
    pub(super) known: Known,
}

impl Node {
    /// Asks the kernel what it has, unless somebody has left the answer with the pins.
    ///
    /// # Errors
    /// When the caller or the kernel lacks what a redirection needs.
    pub fn open() -> Result<Self> {
        privileges::check_caller()?;
        let known = match Known::pinned(&dir()) {
            Some(known) => known,
            None => {
                privileges::check_kernel()?;
                Known::ask()?
            }
        };
        Ok(Self { known })
    }

    /// Enrols one workload, or gives it other rules if it is there. On error everything is as before.
    pub fn enroll(&self, netns: &Netns, cgroup: &Cgroup, options: &AttachOptions) -> Result<Enrolled> {
        enroll::enroll(self, netns, cgroup, options)
    }

    /// Looks at a workload's addresses, routes and interfaces again, and decides by them from now on. False: they are as
    /// they were.
    pub fn refresh(&self, workload: &WorkloadPins) -> Result<bool> {
        refresh::refresh(workload)
    }

    /// Takes one workload out. False: it was not there.
    pub fn release(&self, workload: &WorkloadPins) -> Result<bool> {
        let Some(_lock) = Lock::take(&bpffs::root())? else { return Ok(false) };
        let there = workload.exists();
        release::workload(workload)?;
        remove_if_unused()?;
        Ok(there)
    }
}

/// Where what all workloads share is pinned. Another layout is another directory: a build that does not know it must not
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

/// Without workloads nothing is shared.
pub(super) fn remove_if_unused() -> Result<()> {
    if !WorkloadPins::all()?.is_empty() {
        return Ok(());
    }
    if let Some(table) = Workloads::if_there(&dir())? {
        release::remains(&table)?;
    }
    takeover::remove_unused_layouts()?;
    remove_shared(&dir())?;
    let root = bpffs::root();
    pins::remove(&pins::slots_dir(&root))?;
    remove_if_empty(&root);
    Ok(())
}

/// Removes what the workloads of one layout shared.
pub(super) fn remove_shared(dir: &Path) -> Result<()> {
    if let Ok(table) = pins::open_map(dir, map::DISPATCH) {
        // Sockets keep the map's program, which then has nothing to pass on to.
        let _ = bpf_map_elem::clear(table.as_fd(), 0);
    }
    pins::remove(dir)
}

/// It is not, as long as there is anything else.
fn remove_if_empty(root: &Path) {
    let _ = fs::remove_dir(root);
}
