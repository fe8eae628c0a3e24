//! `sidestep istio-iptables`, also under the name istio-iptables alone: what istio-init and a VM's start script run.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser};
use proxy_plane::cgroup::{Cgroup, default_cgroup};

use super::{
    acceleration::AccelerationArgs,
    install::{self, Workload},
    observation::ObservationArgs,
    settings::SettingsArgs,
};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    in an init container:\n    \
    istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d 15090,15021,15020\n  \
    on a VM, from the files istio-start.sh reads:\n    \
    istio-iptables --env-file /var/lib/istio/envoy/sidecar.env --env-file /var/lib/istio/envoy/cluster.env\n  \
    what would be in place, as iptables rules:\n    \
    istio-iptables --dry-run -b '*' -i '*'")]
pub(crate) struct IstioIptablesArgs {
    /// The workload's cgroup [default: the pod's this process runs in, else the root of the cgroup2 hierarchy]
    #[arg(long, value_name = "PATH", env = "SIDESTEP_CGROUP", hide_env_values = true)]
    cgroup: Option<PathBuf>,

    #[command(flatten)]
    settings: SettingsArgs,

    #[command(flatten)]
    acceleration: AccelerationArgs,
    #[command(flatten)]
    observation: ObservationArgs,
}

/// Redirect a pod's or this machine's traffic through its sidecar, with eBPF in place of iptables.
#[derive(Parser, Debug)]
#[command(name = "istio-iptables", version = super::version::version())]
pub(crate) struct IstioIptables {
    #[command(flatten)]
    pub(crate) args: IstioIptablesArgs,
}

pub(crate) fn run(args: &IstioIptablesArgs) -> Result<ExitCode> {
    let workload = Workload {
        netns: None,
        cgroup: args.cgroup.as_deref(),
        pod: None,
        // Istio's scripts mean both.
        may_be_the_machine: true,
        may_capture_nothing: true,
    };
    install::run(&args.settings, &workload, &args.acceleration, &args.observation, || {
        Cgroup::open(&default_cgroup()?)
    })
}
