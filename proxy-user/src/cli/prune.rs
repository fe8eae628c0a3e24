//! `sidestep prune`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use proxy_plane::dataplane::{self, WorkloadPins};

use super::Output;
use crate::out;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sidestep prune\n\nEach attach does the same.")]
pub(crate) struct PruneArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &PruneArgs) -> Result<ExitCode> {
    let gone = dataplane::prune()?;
    if args.output != Output::Table {
        let names: Vec<String> = gone.iter().map(WorkloadPins::name).collect();
        args.output.document(&serde_json::json!({ "schema": 1, "removed": names }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if gone.is_empty() {
        out::line("nothing is gone")?;
    }
    say_removed(&gone)?;
    Ok(ExitCode::SUCCESS)
}

/// Says which workloads were removed.
pub(super) fn say_removed(gone: &[WorkloadPins]) -> Result<()> {
    gone.iter().try_for_each(|pins| {
        out::line(format!("removed workload {}: its network namespace is gone", pins.name()))
    })
}
