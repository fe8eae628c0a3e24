//! `sidestep verify`, and the child processes it starts.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use super::{Output, netns_cgroup::NetnsCgroupArgs};
use crate::{
    out,
    verify::{
        Sidecar,
        probe::{self, Orders, Said},
        verify,
    },
};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep verify --netns /run/netns/pod\n  \
    sidestep verify --workload 4026532618-103 --output json\n\n\
    Exits with 126 if a step fails.")]
pub(crate) struct VerifyArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// No sidecar is expected to listen yet: verify listens in its place while it runs
    #[arg(long)]
    no_sidecar: bool,

    /// Attached workload to check, as `sidestep status` names it, or its pod, as NAMESPACE/NAME
    #[arg(long, value_name = "NAME", conflicts_with = "cgroup", help_heading = "Workload")]
    workload: Option<String>,

    #[command(flatten)]
    at: NetnsCgroupArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ProbeArgs {
    orders: String,
}

pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let by_name = args.workload.is_some() && args.at.netns.is_none();
    let netns = if by_name { None } else { Some(args.at.netns()?) };
    let selector = args.at.selector(args.workload.as_deref())?;
    let report =
        verify(&selector, netns.as_ref(), if args.no_sidecar { Sidecar::NotYet } else { Sidecar::Expected })?;
    match args.output {
        Output::Table => out::text(&report)?,
        Output::Json | Output::Yaml => drop(args.output.document(&serde_json::json!({
            "schema": 1,
            "workload": report.workload,
            "passed": report.passed(),
            "steps": report.steps,
        }))?),
    }
    report.result().map(|()| ExitCode::SUCCESS)
}

/// Hidden: the child's errors go to its parent, which knows which step they belong to.
pub(crate) fn run_probe(args: &ProbeArgs) -> Result<ExitCode> {
    let orders: Orders = serde_json::from_str(&args.orders).context("read the probe's orders")?;
    if let Err(error) = probe::run(&orders) {
        probe::say(&Said::Failed(format!("{error:#}")));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
