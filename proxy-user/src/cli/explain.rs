//! `sidestep explain`.

use std::{net::IpAddr, process::ExitCode};

use anyhow::Result;
use clap::Args;
use proxy_core::{
    config::{Capture, NoHost},
    exit::{Class, Failure},
    explain::{Answer, Caller, Destination, Pod, Question, explain, explain_unseen},
};
use proxy_plane::dataplane::{self, WorkloadPins};

use super::{
    Output,
    explain_pid::{Process, SeenBy},
    install::NOTHING_IS_CAPTURED,
    netns_cgroup::NetnsCgroupArgs,
    settings::SettingsArgs,
};
use crate::out;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep explain --from 1000:1000 --to 10.96.0.10:80 -u 1337 -b '*' -i '*'\n  \
    sidestep explain --from 1337:1337 --to 10.244.0.2:8080 --pod-ip 10.244.0.2 -b '*' -i '*'\n  \
    sidestep explain --inbound --to 10.244.0.2:15021 --netns /run/netns/pod\n  \
    sidestep explain --pid 4711 --to 10.96.0.10:80\n\n\
    Without --netns, --cgroup, --workload and --pid nothing is asked of the kernel and no privilege is needed.")]
pub(crate) struct ExplainArgs {
    /// Who connects: user and group of the socket, and the address it is bound to if any; with --inbound only @SRC
    #[arg(long, value_name = "UID:GID[@SRC]", required_unless_present_any = ["inbound", "pid"])]
    from: Option<Caller>,

    /// A process as it is: its user, its workload, and whether that one's programs see what it connects
    #[arg(long, value_name = "PID", conflicts_with_all = ["from", "inbound", "netns", "cgroup", "workload", "pod_ip"])]
    pid: Option<u32>,

    /// Where to: TCP unless udp: is said; an IPv6 address in brackets, as in tcp:[::1]:53
    #[arg(long, value_name = "[tcp|udp:]ADDR:PORT")]
    to: Destination,

    /// The connection arrives from outside the pod
    #[arg(long)]
    inbound: bool,

    /// Interface it arrives by or, without a workload to look at, leaves by [default: eth0]
    #[arg(long, value_name = "NIC")]
    interface: Option<String>,

    /// SO_MARK of the socket: the sidecar's transparent ones have the TPROXY mark
    #[arg(long, value_name = "MARK", default_value_t = 0)]
    mark: u32,

    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    /// Address of the pod the flags describe; repeatable [default: none, only loopback is local]
    #[arg(long, value_name = "IP", conflicts_with_all = ["netns", "cgroup", "workload"])]
    pod_ip: Vec<IpAddr>,

    /// Attached workload to ask, as `sidestep status` names it, or its pod, as NAMESPACE/NAME
    #[arg(long, value_name = "NAME", conflicts_with_all = ["netns", "cgroup"], help_heading = "Workload")]
    workload: Option<String>,

    #[command(flatten)]
    at: NetnsCgroupArgs,

    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let process = args.pid.map(Process::of).transpose()?;
    let own = process.as_ref().map(|process| Caller { owner: Some(process.owner), src: None });
    let question = Question {
        caller: own.or(args.from).unwrap_or_default(),
        to: args.to,
        inbound: args.inbound,
        interface: args.interface.clone(),
        mark: args.mark,
    };
    args.settings.refuse_output()?;
    if let Some(process) = process {
        check_given(args)?;
        let (pins, answer) = match process.seen_by()? {
            SeenBy::Workload(pins) => {
                let answer = explain(&dataplane::asked_pod(&pins, None)?, &question)?;
                (Some(pins), answer)
            }
            SeenBy::Nobody { why, neighbour } => {
                let pod = neighbour.as_ref().map(|pins| dataplane::asked_pod(pins, None)).transpose()?;
                (neighbour, explain_unseen(pod.as_ref(), &question, &why)?)
            }
        };
        return print(args.output, &answer, pins.map(|pins| pins.name()));
    }
    let attached = args.workload.is_some() || args.at.is_given();
    let Some(pod) = (if attached { Some(of_workload(args)?) } else { of_flags(args)? }) else {
        return Ok(ExitCode::SUCCESS);
    };
    print(args.output, &explain(&pod, &question)?, pod.workload)
}

fn print(output: Output, answer: &Answer, workload: Option<String>) -> Result<ExitCode> {
    match output {
        Output::Table => out::text(answer)?,
        Output::Json | Output::Yaml => {
            let mut json = serde_json::to_value(answer)?;
            json["schema"] = 1.into();
            json["workload"] = workload.into();
            output.document(&json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// None: the annotations ask for no capture, which is said.
fn of_flags(args: &ExplainArgs) -> Result<Option<Pod>> {
    let way_out = args.interface.as_deref().filter(|_| !args.inbound);
    match args.settings.resolve(&NoHost)?.capture {
        Capture::Of(config) => {
            if config.captures_nothing() {
                say_nothing_is_captured(args)?;
            }
            Ok(Some(Pod::of_flags(*config, &args.pod_ip, way_out)))
        }
        Capture::Nothing(reason) => {
            super::settings::say_nothing(args.output, "explained", reason)?;
            Ok(None)
        }
    }
}

/// An answer about a pod without rules is right, and hardly what was meant.
///
/// # Errors
/// When nothing was said of rules at all.
fn say_nothing_is_captured(args: &ExplainArgs) -> Result<()> {
    if args.settings.are_given() {
        tracing::warn!("{NOTHING_IS_CAPTURED}: this pod has no rules that capture anything");
        return Ok(());
    }
    Err(Failure::error(
        Class::Usage,
        format!(
            "{NOTHING_IS_CAPTURED}: say which rules the pod has with the istio options (-b, -i, ...) or --annotations, \
             or name what is attached with --workload or --netns; `sidestep status` shows it"
        ),
    ))
}

/// What asks about a configuration has no place beside a workload.
fn check_given(args: &ExplainArgs) -> Result<()> {
    let usage = |message: String| Failure::error(Class::Usage, message);
    if args.settings.are_given() {
        return Err(usage(
            "an attached workload has its configuration already: leave the istio options and --annotations out, or \
             leave --netns, --cgroup, --workload and --pid out to ask about a configuration"
                .to_owned(),
        ));
    }
    if args.interface.is_some() && !args.inbound {
        return Err(usage(
            "--interface: by which interface a connection of this workload leaves is for its routes to say; leave it \
             out"
            .to_owned(),
        ));
    }
    Ok(())
}

fn of_workload(args: &ExplainArgs) -> Result<Pod> {
    check_given(args)?;
    let usage = |message: String| Failure::error(Class::Usage, message);
    let netns = args.at.netns.as_ref().map(|_| args.at.netns()).transpose()?;
    let selector = args.at.selector(args.workload.as_deref())?;
    match args.at.attached(args.workload.as_deref())?.as_slice() {
        [pins] => dataplane::asked_pod(pins, netns.as_ref()),
        [] => Err(Failure::error(
            Class::Usage,
            format!("{selector} is not attached; run `sidestep attach`, `sidestep status` shows what is"),
        )),
        several => {
            let names: Vec<String> = several.iter().map(WorkloadPins::name).collect();
            Err(usage(format!(
                "{selector} has several workloads: name one with --workload, {}",
                names.join(" or ")
            )))
        }
    }
}
