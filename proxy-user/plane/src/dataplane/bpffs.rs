//! The file system that holds the pins.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};
use proxy_core::exit::{Class, Failure};

const BPFFS: &str = "/sys/fs/bpf";
const PRIVATE: u32 = 0o700;
const BPFFS_MAGIC: i64 = 0xcafe_4a11;

/// Somebody else looks after the bpffs.
static NEVER_MOUNT: AtomicBool = AtomicBool::new(false);

/// From here on no bpffs is mounted where there is none: in a mount namespace of its own it would end with this process,
/// and the pins with it.
pub fn never_mount() {
    NEVER_MOUNT.store(true, Ordering::Relaxed);
}

/// The directory of all workloads. `SIDESTEP_BPFFS` names another bpffs (tests, containers).
pub fn root() -> PathBuf {
    std::env::var_os("SIDESTEP_BPFFS").map_or_else(|| PathBuf::from(BPFFS), PathBuf::from).join("sidestep")
}

/// Where the bpffs is looked for.
fn base(root: &Path) -> &Path {
    root.parent().unwrap_or(Path::new(BPFFS))
}

/// Makes sure that what is attached can be known: without a bpffs there is nothing to read it from.
///
/// # Errors
/// Says which path was looked at.
pub(super) fn require() -> Result<()> {
    let root = root();
    let base = base(&root).display();
    match nix::sys::statfs::statfs(self::base(&root)) {
        Ok(stat) if stat.filesystem_type().0 == BPFFS_MAGIC => Ok(()),
        Err(Errno::EACCES | Errno::EPERM) => Err(may_not_read(&root, &io::Error::from(Errno::EACCES))),
        found => {
            let what = match found {
                Ok(_) => "another file system is there".to_owned(),
                Err(error) => error.to_string(),
            };
            Err(Failure::error(
                Class::Unavailable,
                format!(
                    "no bpffs at {base} ({what}): what is attached is pinned on one, and cannot be seen from here; run \
                     `mount -t bpf bpf {base}` if the machine has none, else run sidestep where its bpffs is mounted \
                     (`ip netns exec` hides it, `nsenter --net=` does not), or name it with SIDESTEP_BPFFS"
                ),
            ))
        }
    }
}

/// Somebody else's pins: nothing is known of what is attached.
pub(super) fn may_not_read(root: &Path, error: &io::Error) -> anyhow::Error {
    Failure::error(
        Class::Permission,
        format!(
            "may not read the pins in {} ({error}): run sidestep as root, or grant it CAP_BPF and CAP_DAC_READ_SEARCH",
            root.display()
        ),
    )
}

/// Makes sure the directory exists on a bpffs, mounting one if there is none.
pub(super) fn ensure_root() -> Result<PathBuf> {
    let root = root();
    let base = base(&root).to_owned();
    if !is_bpffs(&base) {
        if NEVER_MOUNT.load(Ordering::Relaxed) {
            require()?;
        }
        fs::create_dir_all(&base).ok();
        mount(Some("bpf"), &base, Some("bpf"), MsFlags::empty(), Some("mode=0700")).map_err(|error| {
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
    match DirBuilder::new().mode(PRIVATE).create(&root) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.with_context(|| format!("create {}", root.display()))?,
    }
    check(&root)?;
    Ok(root)
}

/// A bpffs is open to everybody unless it was mounted otherwise (1777): somebody else may have been here first. Whoever
/// may write to the directory renames workloads, and whoever may open it holds its lock.
fn check(root: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(root).with_context(|| format!("stat {}", root.display()))?;
    let whose = meta.uid();
    let is_ours = whose == 0 || whose == nix::unistd::geteuid().as_raw();
    if !meta.is_dir() || !is_ours {
        let what = if meta.is_symlink() { "a link".to_owned() } else { format!("uid {whose}'s") };
        return Err(Failure::error(
            Class::Permission,
            format!(
                "{} is {what}, not a directory of root's: remove it, and find out who made it",
                root.display()
            ),
        ));
    }
    // Builds before this one made it 0755.
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(root, Permissions::from_mode(PRIVATE))
            .with_context(|| format!("make {} private", root.display()))?;
    }
    Ok(())
}

fn is_bpffs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|stat| stat.filesystem_type().0 == BPFFS_MAGIC)
}
