//! The tests on the cluster: `cluster test`, and a part of them in `cargo xtask test`.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Result, ensure};

use super::{Unavailable, binaries, down, istio, record::Home, up};
use crate::{build, step, tally::Tally, test, workspace::Workspace};

#[derive(clap::Args)]
#[group(skip)]
#[command(
    // What users install is what is tried.
    mut_arg("plugin", |plugin| plugin.default_value("daemonset")),
    after_help = "Examples:\n  cargo xtask cluster test\n  cargo xtask cluster test --keep -- services:: --nocapture"
)]
pub(crate) struct Args {
    #[command(flatten)]
    capture: up::Capture,
    /// Leave the cluster up; the next run uses it
    #[arg(long)]
    keep: bool,
    /// For the test binary, e.g. `-- services::`
    #[arg(last = true)]
    filter: Vec<String>,
}

/// What `cargo xtask test` runs of it: the cases that take no pods of their own.
const PART: [&str; 5] = ["services::", "start::", "families::", "nodes::", "docs::"];
/// What takes an agent that is a process of the node: a test ends it, or gives it other flags.
const BY_PROCESS: [&str; 2] = ["absence::agent", "figures::starts_without_validation"];
/// A second injection template, for the pods that name it (docs/agent.md): without istio-validation.
const TEMPLATE: &str = r#"sidecarInjectorWebhook.templates.captured="spec:\n  initContainers:\n  - name: istio-validation\n    $patch: delete\n""#;
/// tests/src/scale.rs
const SOAK_PODS: &str = "SIDESTEP_SOAK_PODS";
/// Each case waits for a cluster most of its time.
const THREADS: &str = "--test-threads=3";

pub(crate) fn run(workspace: &Workspace, home: &Home, args: &Args) -> Result<()> {
    let begun = Instant::now();
    build::binaries(workspace)?;
    let filter: Vec<&str> = args.filter.iter().map(String::as_str).collect();
    let both = filter.is_empty() && args.capture.plugin == up::Plugin::Daemonset && !args.keep;
    let (mut success, mut tally) =
        on_cluster(workspace, home, &up::Args::of_tests(args.capture.clone()), args.keep, &filter)?;
    if both {
        let capture = up::Capture { plugin: up::Plugin::Sidestep, ..args.capture.clone() };
        let (also, more) = on_cluster(workspace, home, &up::Args::of_tests(capture), false, &BY_PROCESS)?;
        success &= also;
        tally.add(&more);
    }
    step::say("Finished", format!("{tally} in {:.1} s", begun.elapsed().as_secs_f64()));
    ensure!(success, "the tests on the cluster failed ({tally})");
    ensure!(tally.ran() > 0, "no test ran: nothing was checked");
    Ok(())
}

/// `cargo xtask soak`.
#[derive(clap::Args)]
pub(crate) struct Soak {
    /// How many pods come and go, of each kind (a thousand take three quarters of an hour on two processors)
    #[arg(long, default_value_t = 1000)]
    pods: u32,
}

/// Pods that come and go: of a container runtime alone, whose first instruction connects, then those of a mesh, on a cluster
/// of their own.
pub(crate) fn soak(workspace: &Workspace, args: &Soak) -> Result<()> {
    const OF_RUNTIME: [&str; 5] =
        ["--", "first::it_is_captured_in_every_pod", "churn::", "--nocapture", "--test-threads=1"];
    let begun = Instant::now();
    build::binaries(workspace)?;
    let home = Home::new(workspace, "soak")?;
    let pods = args.pods.to_string();
    step::say("Testing", format!("{pods} pods of a container runtime, twice"));
    let mut containerd = test::containerd(workspace);
    containerd.args(OF_RUNTIME).env(SOAK_PODS, &pods);
    let (first, mut tally) = test::stream(&mut containerd)?;
    let (then, more) = on_cluster_with(
        workspace,
        &home,
        &up::Args::of_tests(up::Capture::of_tests()),
        false,
        &["soak::", "--nocapture"],
        Some((SOAK_PODS, &pods)),
    )?;
    tally.add(&more);
    step::say("Finished", format!("{pods} pods: {tally} in {:.1} s", begun.elapsed().as_secs_f64()));
    ensure!(first && then && tally.ran() > 0, "the soak failed ({tally})");
    Ok(())
}

/// Builds what the tests need; the directory it is in. None: not here, as without Go; the tests say so themselves.
pub(crate) fn prepare(workspace: &Workspace) -> Result<Option<PathBuf>> {
    match binaries::ensure(workspace) {
        Err(error) if error.is::<Unavailable>() => Ok(None),
        built => built.map(Some),
    }
}

/// The part `cargo xtask test` runs. Where the cluster cannot be built the tests say so and are counted as skipped.
pub(crate) fn part(workspace: &Workspace) -> Result<(bool, Tally)> {
    match binaries::ensure(workspace) {
        Ok(_) => {
            let up = up::Args::of_tests(up::Capture::of_tests());
            on_cluster(workspace, &Home::new(workspace, "test")?, &up, false, &PART)
        }
        Err(error) if error.is::<Unavailable>() => {
            step::say("Skipping", format!("the tests on the cluster: {error:#}"));
            tests(workspace, None, &format!("{error:#}"), &[], None)
        }
        Err(error) => Err(error),
    }
}

fn on_cluster(
    workspace: &Workspace,
    home: &Home,
    up: &up::Args,
    keep: bool,
    filter: &[&str],
) -> Result<(bool, Tally)> {
    on_cluster_with(workspace, home, up, keep, filter, None)
}

/// Up, Istio, the tests, down: also when they fail.
fn on_cluster_with(
    workspace: &Workspace,
    home: &Home,
    up: &up::Args,
    keep: bool,
    filter: &[&str],
    setting: Option<(&str, &str)>,
) -> Result<(bool, Tally)> {
    if home.living().is_none() {
        up::run(workspace, home, up)?;
    }
    let outcome = home.read().and_then(|cluster| {
        istio::run(&cluster, &istio::Args { iptables: false, set: vec![TEMPLATE.to_owned()] })?;
        tests(workspace, Some(&home.dir.join("cluster.json")), "", filter, setting)
    });
    if !keep {
        down::run(home)?;
    }
    outcome
}

fn tests(
    workspace: &Workspace,
    cluster: Option<&Path>,
    why: &str,
    filter: &[&str],
    setting: Option<(&str, &str)>,
) -> Result<(bool, Tally)> {
    let mut cargo = workspace.cargo("test");
    cargo.args(["--release", "-p", "tests", "--test", "cluster", "--", THREADS]).args(filter);
    test::environment(workspace, &mut cargo);
    cargo.envs(setting);
    match cluster {
        Some(record) => cargo.env("SIDESTEP_CLUSTER", record),
        None => cargo.env("SIDESTEP_NO_CLUSTER", why).env_remove("SIDESTEP_CLUSTER"),
    };
    step::say("Testing", format!("on the cluster {}", filter.join(" ")));
    test::stream(&mut cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What users are told to write is what the tests have tried.
    #[test]
    fn the_template_is_the_documented_one() {
        let page = include_str!("../../../docs/agent.md");
        let (_, template) = TEMPLATE.split_once('=').unwrap();
        let template: String = serde_json::from_str(template).unwrap();
        let written: String = template.lines().map(|line| format!("      {line}\n")).collect();
        assert!(page.contains(&format!("    captured: |\n{written}")), "{written}");
    }
}
