//! Somebody who follows the flows while others work.

use std::process::{Child, Command, Stdio};

use ::tests::sidestep;
use anyhow::{Context, Result};

/// `sidestep flows --follow`; ends when dropped.
#[derive(Debug)]
pub(crate) struct Follower(Child);

impl Follower {
    /// On the CPUs the caller is pinned to, like everything else.
    pub(crate) fn start() -> Result<Self> {
        Command::new(sidestep::binary()?)
            .args(["flows", "--follow", "--output", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map(Self)
            .context("follow the flows")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Ours, and waited for: nobody else has its number.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
