//! `sidestep audit`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use proxy_core::{
    config::{Capture, ThisHost},
    exit::{Class, Failure},
};
use proxy_plane::netns::Netns;

use super::{Output, netns_cgroup::NetnsCgroupArgs, settings::SettingsArgs};
use crate::{
    audit::{AuditedPod, Forward, Options, audit, audit_all},
    out,
};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep audit --netns /run/netns/pod\n  \
    sidestep audit --workload 4026532618-103 --forward eth0 --declared-port 8080 --output json\n  \
    sidestep audit --all\n  \
    sidestep audit --netns /run/netns/pod -u 1337 -b '*' -i '*' -d 15090,15021,15020   # not attached\n\n\
    Exits with 0 if nothing is exposed, unreachable or in conflict, with 1 otherwise. Makes no connection.")]
pub(crate) struct AuditArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    /// How the sidecar goes on to the application, if that is known
    #[arg(long, value_enum, default_value_t)]
    forward: Forwards,

    /// Port the pod's Services declare: the sidecar's mode lo is for these, and so are clients; repeatable [default:
    /// every port a server has]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    declared_port: Vec<u16>,

    /// Every attached workload of this node, each by its own rules; shows those with findings
    #[arg(long, conflicts_with_all = ["workload", "netns", "cgroup"], help_heading = "Workload")]
    all: bool,

    /// Attached workload to look at, as `sidestep status` names it, or its pod, as NAMESPACE/NAME
    #[arg(long, value_name = "NAME", conflicts_with = "cgroup", help_heading = "Workload")]
    workload: Option<String>,

    #[command(flatten)]
    at: NetnsCgroupArgs,

    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Forwards {
    /// To loopback: Istio <= 1.9, LOCALHOST
    Lo,
    /// To the address the client called: Istio >= 1.10, PASSTHROUGH
    Eth0,
    /// Not known: the servers are held against both
    #[default]
    Both,
}

pub(crate) fn run(args: &AuditArgs) -> Result<ExitCode> {
    args.settings.refuse_output()?;
    let options = Options {
        forwards: match args.forward {
            Forwards::Lo => vec![Forward::Lo],
            Forwards::Eth0 => vec![Forward::Eth0],
            Forwards::Both => vec![Forward::Lo, Forward::Eth0],
        },
        declared: (!args.declared_port.is_empty()).then(|| args.declared_port.clone()),
    };
    if args.all {
        return all(args, &options);
    }
    let Some((pod, netns)) = pod(args)? else { return Ok(ExitCode::SUCCESS) };
    let report = audit(&pod, &netns, &options)?;
    match args.output {
        Output::Table => out::text(&report)?,
        Output::Json | Output::Yaml => {
            let mut json = serde_json::to_value(&report)?;
            json["schema"] = 1.into();
            json["clean"] = report.is_clean().into();
            args.output.document(&json)?;
        }
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every workload of the node.
fn all(args: &AuditArgs, options: &Options) -> Result<ExitCode> {
    if args.settings.are_given() {
        let text =
            "--all holds each workload against its own rules: leave the istio options and --annotations out";
        return Err(Failure::error(Class::Usage, text));
    }
    let report = audit_all(options)?;
    match args.output {
        Output::Table => {
            out::text(&report)?;
            for line in &report.unreadable {
                out::complain(format!(
                    "{line}; run `sidestep attach` again, or `sidestep prune` if the pod is gone"
                ));
            }
        }
        Output::Json | Output::Yaml => {
            let mut json = serde_json::to_value(&report)?;
            json["schema"] = 1.into();
            json["clean"] = report.is_clean().into();
            args.output.document(&json)?;
        }
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// None: the annotations ask for no capture, which is said.
fn pod(args: &AuditArgs) -> Result<Option<(AuditedPod, Netns)>> {
    let usage = |message: String| Failure::error(Class::Usage, message);
    let described = args.settings.are_given();
    let by_name = args.workload.is_some() && args.at.netns.is_none();
    let netns = if by_name { None } else { Some(args.at.netns()?) };
    let selector = args.at.selector(args.workload.as_deref())?;
    match (args.at.attached(args.workload.as_deref())?.as_slice(), netns) {
        ([_, ..], _) if described => Err(usage(format!(
            "{selector} is attached and has its configuration already: leave the istio options and --annotations out"
        ))),
        ([pins], netns) => AuditedPod::of_pins(pins, netns.as_ref()).map(Some),
        ([], Some(netns)) if described && args.workload.is_none() => {
            match args.settings.resolve(&ThisHost)?.capture {
                Capture::Of(config) => Ok(Some((AuditedPod::of_config(*config, &netns)?, netns))),
                Capture::Nothing(reason) => {
                    super::settings::say_nothing(args.output, "audited", reason)?;
                    Ok(None)
                }
            }
        }
        ([], _) => Err(usage(format!(
            "{selector} is not attached: name the rules to hold its servers against with the istio options (-b, -i, ...) \
             or --annotations, or run `sidestep attach`; `sidestep status` shows what is attached"
        ))),
        (several, _) => {
            let names: Vec<String> = several.iter().map(proxy_plane::dataplane::WorkloadPins::name).collect();
            Err(usage(format!(
                "{selector} has several workloads: name one with --workload, {}",
                names.join(" or ")
            )))
        }
    }
}
