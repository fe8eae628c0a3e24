//! `sidestep attach`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use proxy_core::config::PodName;
use proxy_plane::cgroup::{Cgroup, mount_point};

use super::{
    Output,
    acceleration::AccelerationArgs,
    install::{self, Workload},
    netns_cgroup::NetnsCgroupArgs,
    observation::ObservationArgs,
    settings::SettingsArgs,
};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    what istio-init does for a pod:\n    \
    sidestep attach --netns /run/netns/pod --cgroup /sys/fs/cgroup/kubepods/pod1 \\\n      \
    -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d 15090,15021,15020\n  \
    what the CNI plugin does, from the pod's annotations:\n    \
    sidestep attach --netns /run/netns/pod --cgroup /sys/fs/cgroup/kubepods/pod1 \\\n      \
    --annotations pod.json --defaults cni")]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    at: NetnsCgroupArgs,
    /// The Kubernetes pod this is, for `status` and the labels of the metrics [default: what it was]
    #[arg(long, value_name = "NAMESPACE/NAME", help_heading = "Workload")]
    pod: Option<PodName>,
    /// This machine, as on a VM: its own network namespace, and all processes unless --cgroup names some
    #[arg(long, conflicts_with = "netns", help_heading = "Workload")]
    host: bool,
    /// Let a workload that is attached be captured no more: neither -i nor -b nor anything else says what
    #[arg(long, help_heading = "Workload")]
    capture_nothing: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    acceleration: AccelerationArgs,
    #[command(flatten)]
    observation: ObservationArgs,
}

pub(crate) fn run(args: &AttachArgs) -> Result<ExitCode> {
    let workload = Workload {
        netns: args.at.netns.as_deref(),
        cgroup: args.at.cgroup.as_deref(),
        pod: args.pod.as_ref(),
        may_be_the_machine: args.host,
        may_capture_nothing: args.capture_nothing,
        output: args.output,
    };
    let default = || if args.host { Cgroup::open(&mount_point()?) } else { Cgroup::own() };
    install::run(&args.settings, &workload, &args.acceleration, &args.observation, default)
}
