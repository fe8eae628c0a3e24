//! The right to read a ring of the node: a ring has one reader.

use std::{
    fs::{self, File},
    io,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::node_pins;

/// What came of asking for it.
#[derive(Debug)]
pub enum Claim<T> {
    Granted(T),
    /// Another process has it.
    Taken,
    /// Nothing is attached.
    Absent,
}

/// Held by the reader of the ring of this name. None: another process is.
pub(super) fn take(name: &str) -> Result<Option<Flock<File>>> {
    match Flock::lock(lock_file(name)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).with_context(|| format!("lock the ring {name}")),
    }
}

/// Not the node's directory: the lock of that one says that somebody holds what workloads share.
fn lock_file(name: &str) -> Result<File> {
    let dir = node_pins::dir().join(name);
    match fs::create_dir(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(&dir),
    }
    .with_context(|| format!("open {}", dir.display()))
}
