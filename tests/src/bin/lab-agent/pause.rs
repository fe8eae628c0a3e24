//! What a pod's sandbox runs.

use anyhow::Result;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Pause {}

impl Pause {
    pub(crate) fn run(self) -> Result<()> {
        loop {
            nix::unistd::pause();
        }
    }
}
