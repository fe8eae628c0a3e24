//! Where a workload's pins are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::bpffs;
use crate::{cgroup::Cgroup, netns::Netns};

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

    fn of(netns: u64, cgroup: u64) -> Self {
        Self { dir: bpffs::root().join(format!("{netns}-{cgroup}")), netns, cgroup }
    }

    /// All attached workloads.
    pub fn all() -> Result<Vec<Self>> {
        let root = bpffs::root();
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("list {}", root.display())),
        };
        let mut found: Vec<Self> =
            entries.filter_map(|entry| Self::parse(entry.ok()?.file_name().to_str()?)).collect();
        found.sort_by_key(|pins| (pins.netns, pins.cgroup));
        Ok(found)
    }

    fn parse(name: &str) -> Option<Self> {
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

pub(super) fn link_in(dir: &Path, program: &str) -> PathBuf {
    dir.join(format!("link_{program}"))
}

/// A program that readers run; attached to nothing.
pub(super) fn program_in(dir: &Path, program: &str) -> PathBuf {
    dir.join(format!("prog_{program}"))
}

pub(super) fn map_in(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("map_{name}"))
}

/// Removes a directory of pins; what nothing else holds goes with it.
pub(super) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
