//! Where a workload's pins are.

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aya::maps::MapData;
use proxy_common::{names::map, workload::Workload};

use super::{bpffs, stamp::Stamp};
use crate::{
    cgroup::Cgroup,
    netns::Netns,
    sys::{bpf_link, bpf_pin},
};

/// A workload's directory: `<netns inode>-<cgroup id>` below [`bpffs::root`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkloadPins {
    dir: PathBuf,
    netns: u64,
    cgroup: u64,
}

impl WorkloadPins {
    pub fn new(netns: &Netns, cgroup: &Cgroup) -> Self {
        Self::of(netns.id().ino, cgroup.id())
    }

    pub(super) fn of(netns: u64, cgroup: u64) -> Self {
        Self { dir: bpffs::root().join(format!("{netns}-{cgroup}")), netns, cgroup }
    }

    /// Of a workload in the table.
    pub(super) fn of_entry(entry: &Workload) -> Self {
        Self::of(entry.netns.into(), entry.cgroup)
    }

    /// All attached workloads.
    ///
    /// # Errors
    /// Where it cannot be known which there are: without a bpffs, and to who may not look.
    pub fn all() -> Result<Vec<Self>> {
        bpffs::require()?;
        let root = bpffs::root();
        let listed = entries(&root).map_err(|error| match denied(&error) {
            Some(denied) => bpffs::may_not_read(&root, denied),
            None => error,
        })?;
        let mut found: Vec<Self> = listed.iter().filter_map(|path| Self::parse(name_of(path)?)).collect();
        found.sort_by_key(|pins| (pins.netns, pins.cgroup));
        // The directory may be open to somebody to whom the kernel opens no map. It says the same of each.
        if let Some(Err(error)) = found.first().map(|pins| bpf_pin::open(&pins.map(map::META)))
            && matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
        {
            return Err(bpffs::may_not_read(&root, &error));
        }
        Ok(found)
    }

    /// What changes when a workload comes or goes, for who looks often.
    pub fn stamp() -> Option<Stamp> {
        Stamp::of(&bpffs::root())
    }

    /// The pins of the workload with this name; none if no workload can have it.
    pub fn parse(name: &str) -> Option<Self> {
        let (netns, cgroup) = name.split_once('-')?;
        Some(Self::of(netns.parse().ok()?, cgroup.parse().ok()?))
    }

    pub fn name(&self) -> String {
        format!("{}-{}", self.netns, self.cgroup)
    }

    pub fn netns_inode(&self) -> u64 {
        self.netns
    }

    pub fn cgroup_id(&self) -> u64 {
        self.cgroup
    }

    pub fn exists(&self) -> bool {
        self.dir.is_dir()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A directory beside it, in which an attach prepares what it then renames into place. No dot: a bpffs refuses
    /// names with one (`kernel/bpf/inode.c: bpf_lookup`).
    pub(super) fn staging(&self) -> PathBuf {
        bpffs::root().join(format!("{}-new", self.name()))
    }

    pub fn link(&self, program: &str) -> PathBuf {
        link_in(&self.dir, program)
    }

    pub fn map(&self, name: &str) -> PathBuf {
        map_in(&self.dir, name)
    }
}

fn denied(error: &anyhow::Error) -> Option<&io::Error> {
    let denied = |error: &&io::Error| matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
    error.chain().find_map(|cause| cause.downcast_ref().filter(denied))
}

/// What is in a directory of pins; nothing if it is not there.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("list {}", dir.display())),
    };
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

/// The last part of a pin's path; none of ours is anything else than text.
pub(super) fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

pub(super) fn link_in(dir: &Path, program: &str) -> PathBuf {
    dir.join(format!("link_{program}"))
}

/// The program of a link's pin; none: another pin.
pub(super) fn program_of(pin: &str) -> Option<&str> {
    pin.strip_prefix("link_")
}

/// Where the map is that says whose slot a cgroup has. Beside the node's directories: it is every build's.
pub(super) fn slots_dir(root: &Path) -> PathBuf {
    root.join("slots")
}

/// A program that is pinned by itself.
pub(super) fn program_in(dir: &Path, program: &str) -> PathBuf {
    dir.join(format!("prog_{program}"))
}

pub(super) fn map_in(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("map_{name}"))
}

/// Opens a pinned map for aya.
pub(super) fn pinned(dir: &Path, name: &str) -> Result<MapData> {
    let path = map_in(dir, name);
    MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))
}

/// Opens a pinned map.
pub(super) fn open_map(dir: &Path, name: &str) -> Result<OwnedFd> {
    let path = map_in(dir, name);
    bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))
}

/// Detaches a pinned link, and removes the pin.
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

/// Removes a directory of pins; what nothing else holds goes with it.
pub(super) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
