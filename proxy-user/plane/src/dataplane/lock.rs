//! The node's lock: held while pins change, so that those who enrol and release take turns.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::{errno::Errno, fcntl::Flock};
use proxy_core::exit::{Class, Failure};

use super::bpffs;
use crate::flock;

/// Others hold it for milliseconds, but for who loads programs: where the machine is emulated and its kernel's verifier an
/// old one, each set of them takes ten seconds and more.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl Lock {
    /// Makes the root if there is none; the last release may remove it at any time, but not while the lock is held.
    pub(super) fn take_making_root() -> Result<(PathBuf, Self)> {
        loop {
            let root = bpffs::ensure_root()?;
            if let Some(lock) = Self::take(&root)? {
                return Ok((root, lock));
            }
        }
    }

    /// None if there is no root, or none any more.
    pub(super) fn take(root: &Path) -> Result<Option<Self>> {
        let dir = match File::open(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(bpffs::may_not_read(root, &error));
            }
            other => other.with_context(|| format!("open {}", root.display()))?,
        };
        let lock = flock::exclusive(dir, Instant::now() + PATIENCE).map_err(|error| match error {
            Errno::EWOULDBLOCK => busy(root),
            error => anyhow!(error).context(format!("lock {}", root.display())),
        })?;
        let held = lock.metadata().with_context(|| format!("stat {}", root.display()))?;
        let there = fs::metadata(root).is_ok_and(|now| now.ino() == held.ino());
        Ok(there.then_some(Self(lock)))
    }
}

fn busy(root: &Path) -> anyhow::Error {
    Failure::error(
        Class::Unavailable,
        format!(
            "another process has held the lock on {} for {} seconds: nothing was changed; find it with `lslocks` or \
             `fuser {}`, and try again",
            root.display(),
            PATIENCE.as_secs(),
            root.display()
        ),
    )
}
