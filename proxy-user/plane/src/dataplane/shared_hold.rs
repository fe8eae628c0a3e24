//! What the workloads of a node share goes with the last of them, unless somebody holds it: who enrols pods all day does not
//! want to load the programs again for the first one after a quiet minute.

use std::{fs::File, path::Path};

use anyhow::Result;
use nix::fcntl::Flock;

use super::{bpffs, lock::Lock, node_pins, release};

/// Held while this lives, and no longer than the process.
pub struct SharedHold(Option<Flock<File>>);

impl SharedHold {
    /// `dir` is that of the node, whose lock the caller has.
    pub(super) fn on(dir: &Path) -> Result<Self> {
        node_pins::hold(dir).map(|lock| Self(Some(lock)))
    }
}

impl Drop for SharedHold {
    fn drop(&mut self) {
        self.0.take();
        let removed = (|| {
            let Some(_lock) = Lock::take(&bpffs::root())? else { return Ok(()) };
            release::remove_if_unused()
        })();
        if let Err(error) = removed {
            tracing::error!(
                "what no workload uses any more stays below {}: {error:#}",
                bpffs::root().display()
            );
        }
    }
}
