//! One walk of a kernel's iterator over all sockets with a record: one reading of its pin, to the end.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

/// One at a time: what the iterator finds, it puts into a map for the one who holds the pin's lock.
pub(super) struct Walk {
    pin: Flock<File>,
    path: PathBuf,
}

impl Walk {
    /// Waits for its turn.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let pin = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .with_context(|| format!("lock {}", path.display()))?;
        Ok(Self { pin, path: path.to_owned() })
    }

    /// Goes on until the iterator has something to say, or is at the end and says nothing.
    pub(super) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        loop {
            match self.pin.read(buffer) {
                Ok(read) => return Ok(&buffer[..read]),
                // The kernel looks at no more than a million sockets at once, then wants to be asked again.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error).with_context(|| format!("read {}", self.path.display())),
            }
        }
    }
}
