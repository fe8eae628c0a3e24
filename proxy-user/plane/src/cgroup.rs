//! The workload's cgroup. Only cgroup2 carries BPF programs.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use proxy_core::{
    exit::{Class, Failure},
    harmless::harmless_path,
};

mod charge;
mod installer;
mod mounts;
mod temporary;

use mounts::{Mount, mounts};

pub(crate) use charge::OutsideLimits;
pub use installer::default_cgroup;
pub use temporary::TemporaryCgroup;

const CGROUP2_MAGIC: i64 = 0x6367_7270;

#[derive(Debug)]
pub struct Cgroup {
    dir: File,
    path: PathBuf,
    id: u64,
}

impl Cgroup {
    pub fn open(path: &Path) -> Result<Self> {
        let dir = File::open(path).map_err(|error| {
            Failure::error(
                Class::of_argument(&error),
                format!(
                    "cgroup {}: cannot be opened ({error}); give --cgroup a directory below the cgroup2 mount",
                    harmless_path(path)
                ),
            )
        })?;
        let stat = nix::sys::statfs::fstatfs(&dir).context("fstatfs")?;
        let meta = dir.metadata().context("stat of the cgroup")?;
        if stat.filesystem_type().0 != CGROUP2_MAGIC || !meta.is_dir() {
            let hint = match mount_point() {
                Ok(mount) => format!("give --cgroup a directory below {}", mount.display()),
                Err(error) => error.to_string(),
            };
            return Err(Failure::error(
                Class::Unavailable,
                format!(
                    "cgroup {}: not a cgroup2 directory (cgroup v1 cannot carry these programs); {hint}",
                    harmless_path(path)
                ),
            ));
        }
        Ok(Self { dir, path: path.to_owned(), id: meta.ino() })
    }

    /// The cgroup this process is in.
    pub fn own() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        let relative = text.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(|| {
            Failure::error(Class::Unavailable, "this process is in no cgroup2 hierarchy; give --cgroup PATH")
        })?;
        Self::open(&mount_point()?.join(relative.trim_start_matches('/')))
    }

    /// The id by which the kernel knows it: the inode of its directory.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Where cgroup2 is mounted; beside cgroup v1 that is not /sys/fs/cgroup.
pub fn mount_point() -> Result<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    // A mount that lies under another one is listed, and cannot be reached.
    let is_reached = |point: &PathBuf| {
        nix::sys::statfs::statfs(point).is_ok_and(|stat| stat.filesystem_type().0 == CGROUP2_MAGIC)
    };
    mounts(&mountinfo).filter(Mount::is_cgroup2).map(|mount| mount.point()).find(is_reached).ok_or_else(|| {
        Failure::error(
            Class::Unavailable,
            "no cgroup2 is mounted: mount it with `mount -t cgroup2 none /sys/fs/cgroup/unified`, or boot with \
             systemd.unified_cgroup_hierarchy=1",
        )
    })
}
