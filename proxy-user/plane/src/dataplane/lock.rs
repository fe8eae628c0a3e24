//! The node's lock: held while pins change, so that those who enrol and release take turns.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use proxy_core::exit::{Class, Failure};

use super::bpffs;

/// Others hold it for milliseconds, but for who loads programs: where the machine is emulated and its kernel's verifier an
/// old one, each set of them takes ten seconds and more.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(1);

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
        let mut dir = match File::open(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(bpffs::may_not_read(root, &error));
            }
            other => other.with_context(|| format!("open {}", root.display()))?,
        };
        let deadline = Instant::now() + PATIENCE;
        let lock = loop {
            match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => break lock,
                Err((back, Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                    dir = back;
                    thread::sleep(PAUSE);
                }
                Err((_, Errno::EWOULDBLOCK)) => return Err(busy(root)),
                Err((_, error)) => return Err(error).with_context(|| format!("lock {}", root.display())),
            }
        };
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
