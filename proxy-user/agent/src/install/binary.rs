//! The plugin's binary where the runtime looks for it.

use std::{
    fs::{self, File, Metadata},
    io::{self, BufRead as _, BufReader},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use proxy_cni::entry::TYPE;
use proxy_core::harmless::harmless_path;

use super::disk::{Disk, Like};

const LIKE: Like = Like { mode: 0o755, owner: None };

pub(super) struct Binary {
    source: PathBuf,
    target: PathBuf,
    /// The file that was found to be the same: it is read again only when it is another.
    known: Option<Identity>,
}

/// Whatever is done to a file, its change time moves.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Binary {
    pub(super) fn new(source: PathBuf, directory: &Path) -> Self {
        Self { source, target: directory.join(TYPE), known: None }
    }

    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Puts it there. True: it was not, or was another.
    ///
    /// # Errors
    /// When it cannot be.
    pub(super) fn ensure(&mut self, disk: &mut Disk) -> Result<bool> {
        if self.is_there()? {
            return Ok(false);
        }
        disk.copy(&self.source, &self.target, LIKE)?;
        Ok(true)
    }

    fn is_there(&mut self) -> Result<bool> {
        let reading = || format!("read {}", harmless_path(&self.target));
        // A link counts as another file, and a copy takes its place.
        let there = match fs::symlink_metadata(&self.target) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(reading),
        };
        if !there.is_file() || there.mode() & 0o7777 != LIKE.mode {
            return Ok(false);
        }
        let identity = Some(Identity::of(&there));
        if self.known == identity {
            return Ok(true);
        }
        let source = File::open(&self.source)
            .with_context(|| format!("open the plugin {}", harmless_path(&self.source)))?;
        let is_same =
            File::open(&self.target).and_then(|target| same(source, target)).with_context(reading)?;
        self.known = identity.filter(|_| is_same);
        Ok(is_same)
    }

    /// # Errors
    /// When it is there and cannot be removed.
    pub(super) fn remove(&mut self, disk: &mut Disk) -> Result<()> {
        self.known = None;
        disk.remove(&self.target)
    }
}

fn same(one: File, other: File) -> io::Result<bool> {
    let (mut one, mut other) =
        (BufReader::with_capacity(1 << 16, one), BufReader::with_capacity(1 << 16, other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok(left.len() == right.len());
        }
        if left[..length] != right[..length] {
            return Ok(false);
        }
        one.consume(length);
        other.consume(length);
    }
}
