//! `sidestep attach`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::place::PlaceArgs;
use crate::{
    config::{Environment, IstioFlags, ThisHost},
    dataplane,
    exit::{Class, Failure},
};

#[derive(Args, Debug)]
#[command(after_help = "Example: what istio-init does for a pod\n  \
    sidestep attach --netns /run/netns/pod --cgroup /sys/fs/cgroup/kubepods/pod1 \\\n    \
    -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d 15090,15021,15020")]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    flags: IstioFlags,
}

pub(crate) fn run(args: &AttachArgs) -> Result<ExitCode> {
    let resolved = args
        .flags
        .resolve(&Environment::of_process(), &ThisHost)
        .map_err(|faults| Failure::new(Class::Usage, faults.to_string()))?;
    let attached = dataplane::attach(&args.place.netns()?, &args.place.cgroup()?, &resolved.config)?;
    for warning in &attached.warnings {
        tracing::warn!("{warning}");
    }
    let done = if attached.updated { "updated" } else { "attached" };
    println!("{done} workload {}: {}", attached.pins.name(), attached.pins.dir().display());
    Ok(ExitCode::SUCCESS)
}
