//! `sidestep detach`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use proxy_core::exit::{Class, Failure};
use proxy_plane::dataplane::{self, WorkloadPins};

use super::{Output, netns_cgroup::NetnsCgroupArgs};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sidestep detach --netns /proc/4711/ns/net\n  sidestep detach --workload shop/reviews-0\n  sidestep detach --all"
)]
pub(crate) struct DetachArgs {
    #[command(flatten)]
    at: NetnsCgroupArgs,
    /// Every workload of this node, also those whose namespace is gone
    #[arg(long, conflicts_with_all = ["netns", "cgroup", "workload"])]
    all: bool,
    /// The workload that `sidestep status` names so, or a pod, as NAMESPACE/NAME; also if its namespace is gone
    #[arg(long, value_name = "NAME", conflicts_with_all = ["netns", "cgroup"])]
    workload: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &DetachArgs) -> Result<ExitCode> {
    let gone = if args.all {
        dataplane::detach_all()?
    } else if let Some(name) = &args.workload {
        dataplane::detach_these(&one_of(name)?)?
    } else {
        dataplane::detach(args.at.netns()?.id().ino, args.at.cgroup.as_deref())?
    };
    super::install::say_detached(args.output, &gone)?;
    Ok(ExitCode::SUCCESS)
}

/// A name that nobody has is a slip, not something that is done already.
fn one_of(name: &str) -> Result<Vec<WorkloadPins>> {
    let found = dataplane::attached_as(name)?;
    if found.len() > 1 {
        let names: Vec<String> = found.iter().map(WorkloadPins::name).collect();
        return Err(Failure::error(
            Class::Usage,
            format!("pod {name} has several workloads: name one with --workload, {}", names.join(" or ")),
        ));
    }
    Ok(found)
}
