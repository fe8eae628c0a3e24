//! What `attach` and `istio-iptables` have in common: the flags that say what to do besides what to capture.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use proxy_core::{
    config::{Capture, Config, PodName, RunOptions, ThisHost},
    exit::{Class, Failure},
    rules::{self, Family},
};
use proxy_plane::{
    cgroup::Cgroup,
    dataplane::{self, AttachOptions, WorkloadPins},
    netns::{self, Netns},
};

use super::{acceleration::AccelerationArgs, observation::ObservationArgs, settings::SettingsArgs};
use crate::verify::{self, Validation};

/// What the command line names; the rest is the caller's.
pub(crate) struct Workload<'a> {
    pub(crate) netns: Option<&'a Path>,
    pub(crate) cgroup: Option<&'a Path>,
    pub(crate) pod: Option<&'a PodName>,
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
        return clean_up(run, netns.as_ref(), workload.cgroup);
    }
    let config = match &settings.capture {
        Capture::Of(config) => config,
        Capture::Nothing(reason) => {
            println!("nothing is attached: {reason}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    // Nothing is shown of what would not be applied; nor does Istio.
    if run.dry_run && !run.skip_rule_apply {
        return dry_run(config, netns.as_ref(), run.dry_run_file.as_deref());
    }
    if !run.skip_rule_apply {
        let cgroup = workload.cgroup.map_or_else(default_cgroup, Cgroup::open)?;
        let netns = netns.as_ref().map_or_else(Netns::own, |netns| Netns::open(netns.path()))?;
        let options = AttachOptions {
            config: Config::clone(config),
            acceleration: acceleration.resolve(settings.opted_out_of_acceleration),
            observe: observation.observe,
            pod: workload.pod.cloned(),
        };
        attach(&netns, &cgroup, &options)?;
    }
    if run.run_validation {
        let cgroup = workload.cgroup.map(Cgroup::open).transpose()?;
        let validation = Validation { config, run, netns: netns.as_ref(), cgroup: cgroup.as_ref() };
        let report = verify::validate(&validation)?;
        print!("{report}");
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

fn attach(netns: &Netns, cgroup: &Cgroup, options: &AttachOptions) -> Result<()> {
    let attached = dataplane::attach(netns, cgroup, options)?;
    for warning in &attached.warnings {
        tracing::warn!("{warning}");
    }
    let done = if attached.updated { "updated" } else { "attached" };
    println!("{done} workload {}: {}", attached.pins.name(), attached.pins.dir().display());
    Ok(())
}

/// A namespace has one workload; its cgroup may be gone already.
fn clean_up(run: &RunOptions, netns: Option<&Netns>, cgroup: Option<&Path>) -> Result<ExitCode> {
    if run.dry_run || run.skip_rule_apply {
        println!("nothing is detached: --dry-run or --skip-rule-apply was given");
        return Ok(ExitCode::SUCCESS);
    }
    let id = match netns {
        Some(netns) => netns.id(),
        None => Netns::own()?.id(),
    };
    say_detached(&dataplane::detach(id.ino, cgroup)?);
    Ok(ExitCode::SUCCESS)
}

fn no_address() -> anyhow::Error {
    Failure::error(
        Class::Other,
        "no valid local IP address found: run it where the workload's interface is configured, or use `sidestep rules`",
    )
}

/// Says which workloads are gone.
pub(crate) fn say_detached(gone: &[WorkloadPins]) {
    if gone.is_empty() {
        println!("nothing was attached");
    }
    for pins in gone {
        println!("detached workload {}", pins.name());
    }
}

/// IPv6 rules too if the namespace would get some; where it cannot be looked at, if dual stack asks for them. A namespace
/// without an address is refused, as attaching to it would be.
fn dry_run(config: &Config, netns: Option<&Netns>, file: Option<&Path>) -> Result<ExitCode> {
    let interfaces = match netns {
        Some(netns) => netns::interfaces(netns),
        None => netns::interfaces_here(),
    };
    let ipv6 = match interfaces {
        Ok(interfaces) => interfaces.enable_ipv6(config.dual_stack).ok_or_else(no_address)?,
        Err(_) => config.dual_stack,
    };
    let mut text = rules::render_family(config, Family::V4);
    if ipv6 {
        text.push_str(&rules::render_family(config, Family::V6));
    }
    print!("{text}");
    if let Some(file) = file {
        fs::write(file, &text).with_context(|| {
            format!("env DRY_RUN_FILE_PATH: write {}; name a file in a directory that exists", file.display())
        })?;
    }
    Ok(ExitCode::SUCCESS)
}
