//! `sidestep bench`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::Output;
use crate::{bench, out};

#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  sidestep bench --rounds 9 --connections 1,8,32")]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    what: bench::Options,

    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    if let Some(report) = bench::run(&args.what)? {
        match args.output {
            Output::Table => out::line(report.table())?,
            Output::Json | Output::Yaml => drop(args.output.document(&serde_json::to_value(&report)?)?),
        }
    }
    Ok(ExitCode::SUCCESS)
}
