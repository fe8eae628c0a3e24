//! `sidestep attach`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;

use super::place::PlaceArgs;
use crate::{
    config::{Environment, IstioFlags, ThisHost},
    dataplane::{self, Accelerate, Acceleration, DEFAULT_LIMIT},
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
    #[command(flatten)]
    acceleration: AccelerationArgs,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Acceleration")]
struct AccelerationArgs {
    /// Which local connections skip the TCP/IP stack
    #[arg(long, value_enum, default_value_t, env = "SIDESTEP_ACCELERATE")]
    accelerate: Accelerate,

    /// Bytes that may wait unread at a receiver before its connection goes back to the stack
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_LIMIT, env = "SIDESTEP_INFLIGHT_LIMIT")]
    inflight_limit: u32,

    /// A program that never reads sockets with splice(2), beside those found safe by looking; repeatable
    #[arg(
        long = "trust-program",
        value_name = "PATH",
        env = "SIDESTEP_TRUST_PROGRAMS",
        value_delimiter = ':'
    )]
    trust_programs: Vec<PathBuf>,
}

pub(crate) fn run(args: &AttachArgs) -> Result<ExitCode> {
    let resolved = args
        .flags
        .resolve(&Environment::of_process(), &ThisHost)
        .map_err(|faults| Failure::error(Class::Usage, faults.to_string()))?;
    let acceleration = Acceleration {
        mode: args.acceleration.accelerate,
        inflight_limit: args.acceleration.inflight_limit,
        trusted: args.acceleration.trust_programs.clone(),
    };
    // Before the paths: without privileges they look as if they were not there.
    dataplane::check_privileges()?;
    let attached =
        dataplane::attach(&args.place.netns()?, &args.place.cgroup()?, &resolved.config, &acceleration)?;
    for warning in &attached.warnings {
        tracing::warn!("{warning}");
    }
    let done = if attached.updated { "updated" } else { "attached" };
    println!("{done} workload {}: {}", attached.pins.name(), attached.pins.dir().display());
    Ok(ExitCode::SUCCESS)
}
