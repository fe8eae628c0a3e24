//! What `attach` and `istio-iptables` have in common: the flags that say what to do besides what to capture.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use proxy_common::names::map;
use proxy_core::{
    config::{Capture, Config, PodName, RunOptions, Settings, ThisHost},
    exit::{Class, Failure},
};
use proxy_plane::{
    cgroup::Cgroup,
    dataplane::{self, AttachOptions, Attached, Meta, WorkloadPins},
    netns::{self, Netns},
};

use super::{
    Output,
    acceleration::AccelerationArgs,
    observation::ObservationArgs,
    prune, rules,
    settings::{self, SettingsArgs},
};
use crate::{
    out,
    verify::{self, Validation},
};

/// What the command line names; the rest is the caller's.
pub(crate) struct Workload<'a> {
    pub(crate) netns: Option<&'a Path>,
    pub(crate) cgroup: Option<&'a Path>,
    pub(crate) pod: Option<&'a PodName>,
    /// Nobody has to name a namespace: the machine's own may be meant.
    pub(crate) may_be_the_machine: bool,
    /// What is attached may lose all of its capture.
    pub(crate) may_capture_nothing: bool,
    pub(crate) output: Output,
}

pub(crate) fn run(
    settings: &SettingsArgs,
    workload: &Workload<'_>,
    acceleration: &AccelerationArgs,
    observation: &ObservationArgs,
    default_cgroup: impl FnOnce() -> Result<Cgroup>,
) -> Result<ExitCode> {
    let settings = settings.resolve(&ThisHost)?;
    let run = &settings.run;
    if !run.cleanup_only && !run.dry_run && !run.skip_rule_apply && matches!(settings.capture, Capture::Of(_))
    {
        // Before the paths: without privileges they look as if they were not there.
        dataplane::check_privileges()?;
    }
    let netns = named_netns(workload, run)?;
    if run.cleanup_only {
        return clean_up(run, netns.as_ref(), workload);
    }
    let config = match &settings.capture {
        Capture::Of(config) => config,
        Capture::Nothing(reason) => {
            settings::say_nothing(workload.output, "attached", reason)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    // Nothing is shown of what would not be applied; nor does Istio.
    if run.dry_run && !run.skip_rule_apply {
        return dry_run(config, netns.as_ref(), run.dry_run_file.as_deref(), workload.output);
    }
    if !run.skip_rule_apply {
        let cgroup = workload.cgroup.map_or_else(default_cgroup, Cgroup::open)?;
        if netns.is_none() && !workload.may_be_the_machine {
            refuse_the_machine()?;
        }
        let netns = netns.as_ref().map_or_else(Netns::own, |netns| Netns::open(netns.path()))?;
        let options = AttachOptions {
            config: Config::clone(config),
            acceleration: acceleration.resolve(settings.opted_out_of_acceleration),
            observe: observation.observe,
            pod: workload.pod.cloned(),
            sandbox: None,
        };
        attach(&netns, &cgroup, &options, workload)?;
    }
    if run.run_validation {
        let cgroup = workload.cgroup.map(Cgroup::open).transpose()?;
        let validation = Validation { config, run, netns: netns.as_ref(), cgroup: cgroup.as_ref() };
        let report = verify::validate(&validation)?;
        out::text(&report)?;
        report.result()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// --netns and --network-namespace are the same thing.
fn named_netns(workload: &Workload<'_>, run: &RunOptions) -> Result<Option<Netns>> {
    match (workload.netns, run.network_namespace.as_deref()) {
        (Some(netns), Some(other)) if netns != other => Err(Failure::error(
            Class::Usage,
            format!(
                "--netns {} and --network-namespace (env NETWORK_NAMESPACE) {} differ; give one of them",
                netns.display(),
                other.display()
            ),
        )),
        (Some(path), _) | (None, Some(path)) => Netns::open(path).map(Some),
        (None, None) => Ok(None),
    }
}

fn attach(netns: &Netns, cgroup: &Cgroup, options: &AttachOptions, workload: &Workload<'_>) -> Result<()> {
    let there = WorkloadPins::new(netns, cgroup);
    let old = Meta::read(&there.map(map::META))
        .ok()
        .filter(|old| old.netns_cookie == netns.cookie().ok().flatten());
    if options.config.captures_nothing() {
        match &old {
            Some(old) if !workload.may_capture_nothing && !old.config.captures_nothing() => {
                return Err(would_capture_nothing(&there));
            }
            Some(_) => {}
            None => tracing::warn!("{NOTHING_IS_CAPTURED}"),
        }
    }
    let Attached { enrolled: attached, pruned } = dataplane::attach(netns, cgroup, options)?;
    for warning in &attached.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(chains) = istio_chains(netns) {
        tracing::warn!(
            "Istio's iptables chains are in this network namespace too ({chains}): both capture; start the pod without \
             istio-init and istio-cni, or remove the chains (`istio-clean-iptables`, or the real `istio-iptables \
             --cleanup-only`)"
        );
    }
    let done = if attached.updated { "updated" } else { "attached" };
    let changes =
        old.filter(|_| attached.updated).map(|old| difference_to(&old, options)).unwrap_or_default();
    let (name, pins) = (attached.pins.name(), attached.pins.dir());
    if workload.output != Output::Table {
        let removed: Vec<String> = pruned.iter().map(WorkloadPins::name).collect();
        let document = serde_json::json!({
            "schema": 1, "workload": name, "done": done, "pins": pins, "changes": changes, "removed": removed,
        });
        return workload.output.document(&document).map(drop);
    }
    out::line(format!("{done} workload {name}: {}", pins.display()))?;
    changes.iter().try_for_each(|line| out::line(format!("  {line}")))?;
    prune::say_removed(&pruned)
}

/// What is not said again is as it was: only the pod's name.
fn difference_to(old: &Meta, new: &AttachOptions) -> Vec<String> {
    let new = Settings {
        pod: new.pod.as_ref().or(old.pod.as_ref()),
        config: &new.config,
        acceleration: &new.acceleration,
        observe: new.observe,
    };
    old.settings().changes(&new).iter().map(ToString::to_string).collect()
}

/// Nobody forgets to name a pod and redirects the machine's own traffic.
fn refuse_the_machine() -> Result<()> {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    if !netns::is_first_here() && (of("1").is_none() || of("1") != of("self")) {
        return Ok(());
    }
    Err(Failure::error(
        Class::Usage,
        "attach without --netns would redirect this machine's own traffic: name a pod's network namespace (--netns \
         /proc/<pid>/ns/net or a name of `ip netns`) and its cgroup (--cgroup), or say --host if the machine is meant, \
         as on a VM",
    ))
}

pub(crate) const NOTHING_IS_CAPTURED: &str = "nothing is captured: no -i, no -b";

fn would_capture_nothing(pins: &WorkloadPins) -> anyhow::Error {
    Failure::error(
        Class::Usage,
        format!(
            "this would end the capture of workload {}, which has some: no -i, no -b. An attach says all settings \
             again, not only those that change; `sidestep status --output json` has the present ones. Say \
             --capture-nothing if that is meant, or run `sidestep detach`",
            pins.name()
        ),
    )
}

/// Where they cannot be looked at, nothing is said: `sidestep doctor` says that.
fn istio_chains(netns: &Netns) -> Option<String> {
    let found = netns.within(|| Ok(crate::doctor::istio_chains())).ok()?;
    found.0.first().map(|_| found.0.join("; "))
}

/// A namespace has one workload; its cgroup may be gone already.
fn clean_up(run: &RunOptions, netns: Option<&Netns>, workload: &Workload<'_>) -> Result<ExitCode> {
    if run.dry_run || run.skip_rule_apply {
        out::line("nothing is detached: --dry-run or --skip-rule-apply was given")?;
        return Ok(ExitCode::SUCCESS);
    }
    let id = match netns {
        Some(netns) => netns.id(),
        None => Netns::own()?.id(),
    };
    match WorkloadPins::all() {
        // A VM's start script cleans up before anything was ever attached.
        Err(error) if Class::of(&error) == Class::Unavailable => {
            out::line(format!("nothing is detached: {error:#}"))?;
        }
        known => {
            known?;
            say_detached(workload.output, &dataplane::detach(id.ino, workload.cgroup)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn no_address() -> anyhow::Error {
    Failure::error(
        Class::Other,
        "no valid local IP address found: run it where the workload's interface is configured, or use `sidestep rules`",
    )
}

/// Says which workloads are gone.
pub(crate) fn say_detached(output: Output, gone: &[WorkloadPins]) -> Result<()> {
    if output != Output::Table {
        let names: Vec<String> = gone.iter().map(WorkloadPins::name).collect();
        return output.document(&serde_json::json!({ "schema": 1, "detached": names })).map(drop);
    }
    if gone.is_empty() {
        out::line("nothing was attached")?;
    }
    gone.iter().try_for_each(|pins| out::line(format!("detached workload {}", pins.name())))
}

/// IPv6 rules too if the namespace would get some; where it cannot be looked at, if dual stack asks for them. A namespace
/// without an address is refused, as attaching to it would be.
fn dry_run(config: &Config, netns: Option<&Netns>, file: Option<&Path>, output: Output) -> Result<ExitCode> {
    let interfaces = match netns {
        Some(netns) => netns::interfaces(netns),
        None => netns::interfaces_here(),
    };
    let ipv6 = match interfaces {
        Ok(interfaces) => interfaces.enable_ipv6(config.dual_stack).ok_or_else(no_address)?,
        Err(_) => config.dual_stack,
    };
    let texts = rules::texts(config, ipv6);
    let text: String = texts.iter().map(|(_, text)| text.as_str()).collect();
    if output == Output::Table {
        out::text(&text)?;
    } else {
        output.document(&rules::document(&texts))?;
    }
    if let Some(file) = file {
        fs::write(file, &text).with_context(|| {
            format!("env DRY_RUN_FILE_PATH: write {}; name a file in a directory that exists", file.display())
        })?;
    }
    Ok(ExitCode::SUCCESS)
}
