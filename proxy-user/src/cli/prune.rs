//! `sidestep prune`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use proxy_plane::dataplane;

use crate::out;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sidestep prune\n\nEach attach does the same.")]
pub(crate) struct PruneArgs {}

pub(crate) fn run(_: &PruneArgs) -> Result<ExitCode> {
    let gone = dataplane::prune()?;
    if gone.is_empty() {
        out::line("nothing is gone")?;
    }
    for pins in gone {
        out::line(format!("removed workload {}: its network namespace is gone", pins.name()))?;
    }
    Ok(ExitCode::SUCCESS)
}
