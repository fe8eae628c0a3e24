//! Whether a directory has the entries that it had, without a look at each.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

/// Longer than any tick of a kernel's clock: two changes within one have the same time.
const SETTLED: Duration = Duration::from_millis(100);

/// Two that are the same: no entry came or went in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    inode: u64,
    modified: SystemTime,
    links: u64,
}

impl Stamp {
    /// None: something has just changed, or there is no such directory.
    pub fn of(directory: &Path) -> Option<Self> {
        let found = fs::metadata(directory).ok()?;
        let modified = found.modified().ok()?;
        (modified.elapsed().ok()? > SETTLED).then(|| Self {
            inode: found.ino(),
            modified,
            links: found.nlink(),
        })
    }
}
