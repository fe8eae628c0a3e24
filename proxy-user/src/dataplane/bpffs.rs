//! The file system that holds the pins.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use crate::exit::{Class, Failure};

const BPFFS: &str = "/sys/fs/bpf";
const BPFFS_MAGIC: i64 = 0xcafe_4a11;

/// The directory of all workloads. `SIDESTEP_BPFFS` names another bpffs (tests, containers).
pub fn root() -> PathBuf {
    std::env::var_os("SIDESTEP_BPFFS").map_or_else(|| PathBuf::from(BPFFS), PathBuf::from).join("sidestep")
}

/// Makes sure the directory exists on a bpffs, mounting one if there is none.
pub(super) fn ensure_root() -> Result<PathBuf> {
    let root = root();
    let base = root.parent().unwrap_or(Path::new(BPFFS)).to_owned();
    if !is_bpffs(&base) {
        let none: Option<&str> = None;
        fs::create_dir_all(&base).ok();
        mount(Some("bpf"), &base, Some("bpf"), MsFlags::empty(), none).map_err(|error| {
            Failure::error(
                Class::Unavailable,
                format!(
                    "no bpffs at {0}, and mounting one failed ({error}): run `mount -t bpf bpf {0}`, or mount the \
                     host's into this container",
                    base.display()
                ),
            )
        })?;
    }
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    Ok(root)
}

fn is_bpffs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|stat| stat.filesystem_type().0 == BPFFS_MAGIC)
}
