//! `bench agent`: what the agent of a node costs with 110 idle pods, how fast it has them after a start, and how long a
//! container runtime waits for the CNI plugin.
//!
//! The pods are namespaces and cgroups without processes, listed by a file: what a container runtime's answers cost is not
//! in the figures.

mod pages;
mod process;
mod report;

use std::time::{Duration, Instant};

use ::tests::bare_pod::BarePod;
use ::tests::node_agent::{NodeAgent, SetUp, WAITS};
use ::tests::requirement::Requirement;
use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::machine::{self, Machine};
use crate::options::AgentOptions;
use crate::own_bpffs;
use crate::progress::Progress;
use crate::spread::Times;
use pages::Pages;
use report::Report;

/// Pods of a full node.
const PODS: u32 = 110;
const SCRAPE_EVERY: Duration = Duration::from_secs(15);
const SCRAPES_IN_A_ROW: usize = 30;
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// False when `--check` was said and a figure is missed.
pub(crate) fn run(options: &AgentOptions) -> Result<bool> {
    let curl = Requirement::Program("curl", "curl");
    for need in [Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep, Requirement::CniPlugin, curl]
    {
        if let Some(why) = need.missing() {
            bail!(why);
        }
    }
    own_bpffs::mount_over()?;
    let progress = Progress::start();
    let mut machine = Machine::look()?;
    progress.note("make the namespaces and cgroups");
    let pods = (0..=PODS).map(BarePod::make).collect::<Result<Vec<_>>>()?;
    let mut all: Vec<SetUp> = pods.iter().zip(0..).map(|(pod, number)| pod.set_up(number)).collect();
    let Some(subject) = all.pop() else { bail!("no pod") };
    let mut node = NodeAgent::absent()?;
    let list = node.directory().join("workloads.json");
    let entries: Vec<_> = all
        .iter()
        .map(|pod| json!({ "pod": format!("lab/{}", pod.name), "netns": pod.netns, "cgroup": pod.cgroup }))
        .collect();
    std::fs::write(&list, json!(entries).to_string())?;
    let list = list.display().to_string();
    let flags = ["--static", &list, "--every", "2"];

    let mut from_nothing = Vec::new();
    for turn in 1..=options.starts {
        progress.note(&format!("start {turn} of {} with {PODS} pods that run", options.starts));
        from_nothing.push(started(&mut node, &flags)?);
        if turn < options.starts {
            release_all(&mut node, &flags, &list, &entries)?;
        }
    }
    let mut again = Vec::new();
    for turn in 1..=options.starts {
        progress.note(&format!("killed and started again, {turn} of {}", options.starts));
        node.end(Signal::SIGKILL)?;
        again.push(started(&mut node, &flags)?);
    }
    progress.note(&format!("{} ADDs, and as many of a pod without a sidecar", options.turns));
    let (add, passed) = adds(&node, &subject, options.turns)?;
    progress.note(&format!("idle for {} s, scraped every {} s", options.seconds, SCRAPE_EVERY.as_secs()));
    let idle = idle(&node, Duration::from_secs(options.seconds))?;
    machine.load_after = machine::load();
    std::fs::write(&list, "[]")?;
    wait(&node, 0)?;
    node.end(Signal::SIGTERM)?;
    let report = Report {
        schema: 1,
        machine,
        pods: PODS,
        from_nothing_ms: Times::of(from_nothing),
        again_ms: Times::of(again),
        add_ms: Times::of(add),
        passed_ms: Times::of(passed),
        idle,
    };
    report.write(&options.out)?;
    println!("{}", report.markdown());
    progress.note(&format!("written to {}", options.out.display()));
    Ok(!options.check || report.met())
}

/// From the agent's exec until all pods are enrolled.
fn started(node: &mut NodeAgent, flags: &[&str]) -> Result<f64> {
    let begun = Instant::now();
    node.run(flags)?;
    wait(node, PODS)?;
    Ok(millis(begun.elapsed()))
}

/// As the node was before.
fn release_all(
    node: &mut NodeAgent,
    flags: &[&str],
    list: &str,
    entries: &[serde_json::Value],
) -> Result<()> {
    std::fs::write(list, "[]")?;
    wait(node, 0)?;
    node.end(Signal::SIGTERM)?;
    ensure!(node.root.pins().is_empty(), "{flags:?}: pins are left: {:?}", node.root.pins());
    std::fs::write(list, json!(entries).to_string())?;
    Ok(())
}

fn wait(node: &NodeAgent, pods: u32) -> Result<()> {
    let until = Instant::now() + READY_WITHIN;
    while node.metric("sidestep_agent_pods{state=\"enrolled\"}")? != f64::from(pods) {
        ensure!(Instant::now() < until, "not {pods} pods are enrolled: {}", node.said());
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// What the plugin takes for a pod with a sidecar, and for one without, in turns.
fn adds(node: &NodeAgent, pod: &SetUp, turns: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut add, mut passed) = (Vec::new(), Vec::new());
    for turn in 0..=turns {
        for (annotations, took) in
            [(&[("sidecar.istio.io/status", WAITS)][..], &mut add), (&[][..], &mut passed)]
        {
            let begun = Instant::now();
            let added = node.add(pod.clone(), annotations, &json!({}))?;
            let elapsed = begun.elapsed();
            ensure!(added.code == Some(0), "{added:?}");
            let deleted = node.del(pod.clone())?;
            ensure!(deleted.code == Some(0), "{deleted:?}");
            // The first may be colder than the others.
            if turn > 0 {
                took.push(millis(elapsed));
            }
        }
    }
    Ok((add, passed))
}

fn idle(node: &NodeAgent, lasting: Duration) -> Result<report::Idle> {
    let Some(pid) = node.pid() else { bail!("no agent runs") };
    let (begun, before) = (Instant::now(), process::cpu(pid)?);
    let (mut scrapes, mut scrapes_again, mut bytes) = (Vec::new(), Vec::new(), 0);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    let mut pages = Pages::new();
    while begun.elapsed() + SCRAPE_EVERY <= lasting {
        std::thread::sleep(SCRAPE_EVERY);
        for took in [&mut cold, &mut warm] {
            took.push(millis(pages.touch()));
        }
        let asked = Instant::now();
        bytes = bytes.max(node.get("/metrics")?.len());
        scrapes.push(millis(asked.elapsed()));
    }
    std::thread::sleep(lasting.saturating_sub(begun.elapsed()));
    let used = process::cpu(pid)?.saturating_sub(before);
    let cpu_percent = 100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64();
    // Beyond what is counted above.
    for _ in 0..SCRAPES_IN_A_ROW {
        let asked = Instant::now();
        node.get("/metrics")?;
        scrapes_again.push(millis(asked.elapsed()));
    }
    Ok(report::Idle {
        seconds: begun.elapsed().as_secs_f64(),
        cpu_percent,
        resident_bytes: process::resident(pid)?,
        scrape_ms: Times::of(scrapes),
        // The first of them was as cold as those before.
        scrape_again_ms: Times::of(scrapes_again.split_off(1)),
        scrape_bytes: bytes,
        pages_ms: Times::of(cold),
        pages_again_ms: Times::of(warm),
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
