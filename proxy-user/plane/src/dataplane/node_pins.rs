//! Where the pins are of what all workloads of a node share.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use proxy_common::names::{map, program};

use super::{bpffs, layout::layout, pins};
use crate::sys::{bpf_attach, bpf_map_elem, bpf_pin};

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

/// Holds what the workloads share: a lock on its directory, which the kernel takes back when the process ends.
pub(super) fn hold(dir: &Path) -> Result<Flock<File>> {
    let file = File::open(dir).with_context(|| format!("open {}", dir.display()))?;
    Flock::lock(file, FlockArg::LockSharedNonblock)
        .map_err(|(_, error)| anyhow!(error).context(format!("lock {}", dir.display())))
}

/// Whether anybody holds it.
pub(super) fn is_held(dir: &Path) -> Result<bool> {
    let file = match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.with_context(|| format!("open {}", dir.display()))?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", dir.display())),
    }
}

/// Removes what the workloads of one layout shared.
pub(super) fn remove_shared(dir: &Path) -> Result<()> {
    if let Ok(table) = pins::open_map(dir, map::DISPATCH) {
        // Sockets keep the map's program, which then has nothing to pass on to.
        let _ = bpf_map_elem::clear(table.as_fd(), 0);
    }
    if let (Ok(sockets), Ok(dispatch)) =
        (pins::open_map(dir, map::SOCKS), bpf_pin::open(&pins::program_in(dir, program::DISPATCH)))
    {
        // Program and map keep each other. Without sockets they go now, else with the last one.
        let _ = bpf_attach::no_sk_msg_verdict(dispatch.as_fd(), sockets.as_fd());
    }
    pins::remove(dir)
}
