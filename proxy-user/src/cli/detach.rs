//! `sidestep detach`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use proxy_plane::dataplane;

use super::place::PlaceArgs;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sidestep detach --netns /proc/4711/ns/net\n  sidestep detach --workload 4026532247-27670\n  sidestep detach --all"
)]
pub(crate) struct DetachArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Every workload of this node, also those whose namespace is gone
    #[arg(long, conflicts_with_all = ["netns", "cgroup", "workload"])]
    all: bool,
    /// The workload `sidestep status` names so, also if its namespace is gone
    #[arg(long, value_name = "NAME", conflicts_with_all = ["netns", "cgroup"])]
    workload: Option<String>,
}

pub(crate) fn run(args: &DetachArgs) -> Result<ExitCode> {
    let gone = if args.all {
        dataplane::detach_all()?
    } else if let Some(name) = &args.workload {
        dataplane::detach_named(name)?
    } else {
        dataplane::detach(args.place.netns()?.id().ino, args.place.cgroup.as_deref())?
    };
    super::install::say_detached(&gone);
    Ok(ExitCode::SUCCESS)
}
