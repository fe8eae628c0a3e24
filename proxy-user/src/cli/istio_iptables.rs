//! `sidestep istio-iptables`, also under the name istio-iptables alone: what istio-init and a VM's start script run.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser};
use proxy_core::config::{PodName, warn_of_words};
use proxy_plane::cgroup::{Cgroup, default_cgroup};

use super::{
    Output,
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
    /// The Kubernetes pod this is, for `status` and the labels of the metrics [default: what it was]
    #[arg(long, value_name = "NAMESPACE/NAME", env = "SIDESTEP_POD", hide_env_values = true)]
    pod: Option<PodName>,

    #[command(flatten)]
    settings: SettingsArgs,

    #[command(flatten)]
    acceleration: AccelerationArgs,
    #[command(flatten)]
    observation: ObservationArgs,
    /// Ignored, as istio-iptables does: `init` of scripts, `true` of `--redirect-dns true`.
    #[arg(hide = true, value_name = "WORD")]
    words: Vec<String>,
}

/// Redirect a pod's or this machine's traffic through its sidecar, with eBPF in place of iptables.
#[derive(Parser, Debug)]
#[command(name = "istio-iptables", version = super::version::version())]
pub(crate) struct IstioIptables {
    #[command(flatten)]
    pub(crate) args: IstioIptablesArgs,
}

pub(crate) fn run(args: &IstioIptablesArgs) -> Result<ExitCode> {
    warn_of_words(&args.words);
    let workload = Workload {
        netns: None,
        cgroup: args.cgroup.as_deref(),
        pod: args.pod.as_ref(),
        // Istio's scripts mean both.
        may_be_the_machine: true,
        may_capture_nothing: true,
        output: Output::Table,
    };
    install::run(&args.settings, &workload, &args.acceleration, &args.observation, || {
        Cgroup::open(&default_cgroup()?)
    })
}

#[cfg(test)]
mod tests {
    use proxy_core::config::{Given, setting::DUAL_STACK};

    use super::*;

    /// Whoever has only the words of a command line reads them as this does.
    #[test]
    fn words_that_are_no_flags_are_taken() {
        for line in [
            "init -p 15001 -u 1337",
            "-b 80 init -i *",
            "--redirect-dns true",
            "--dual-stack false -b 80",
            "-nb 80",
            "-nb80 clean",
            "-b 80 -- -b 81",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let parsed = IstioIptables::try_parse_from(["istio-iptables"].iter().chain(&words));
            let parsed = parsed.unwrap_or_else(|error| panic!("{line}: {error}")).args;
            assert_eq!(Given::from_words(&words), Ok(parsed.settings.istio.0), "{line}");
        }
        let parsed = IstioIptables::try_parse_from(["istio-iptables", "--dual-stack", "false"]).unwrap().args;
        let value = format!("{:?}", parsed.settings.istio.0.get(&DUAL_STACK));
        assert_eq!((parsed.words, value.as_str()), (vec!["false".to_owned()], "Some(Text(\"true\"))"));
    }
}
