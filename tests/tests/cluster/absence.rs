//! What runs on a node ends and comes back, while the pods of both ways ask their server: the agent, kubelet, the
//! container runtime, the API server.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal::{SIGKILL, SIGTERM};
use serde_json::Value;
use tests::cluster::component::{self, agent_ready};
use tests::cluster::load::Load;
use tests::cluster::pods::{Own, all_pins, idle_on, nothing_left, pins, refused};
use tests::cluster::way::Way;
use tests::cluster::{Cluster, Node, turn};
use tests::requirement::{Requirement, met};
use tests::sidestep;

const BACK_WITHIN: Duration = Duration::from_secs(180);
const READY_WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The agent looks at the runtime's list every two seconds.
const SOME_LOOKS: Duration = Duration::from_secs(9);

#[test]
fn agent_killed() {
    if !met(&[Requirement::AgentProcess]) {
        return;
    }
    under_load(Duration::from_secs(30), |cluster, node| {
        let before = pins(node)?;
        let agent = component::stop(node, "sidestep", SIGKILL)?;
        ensure!(pins(node)? == before, "the end of the agent changed what is pinned");
        let pods = [idle_on(node, "held"), idle_on(node, "held-too")];
        let held = Own::create(cluster, Way::Sidestep.namespace(), &pods)?;
        for name in &held.names {
            refused(cluster, held.namespace, name)?;
        }
        agent.start()?;
        agent_ready(node)?;
        held.work(READY_WITHIN)?;
        held.delete()
    });
}

#[test]
fn agent_upgraded_and_back() {
    if !met(&[Requirement::AgentProcess]) {
        return;
    }
    under_load(Duration::from_secs(40), |cluster, node| {
        let before = pins(node)?;
        let mut agent = component::stop(node, "sidestep", SIGTERM)?;
        agent.start_instead(&other_binary(node, &agent.program())?, &["--accelerate", "off"])?;
        agent_ready(node)?;
        ensure!(pins(node)? == before, "another workload than before");
        let pods = [idle_on(node, "upgraded")];
        let pods = Own::create(cluster, Way::Sidestep.namespace(), &pods)?;
        pods.work(READY_WITHIN)?;
        pods.delete()?;
        agent.start()?;
        agent_ready(node)
    });
}

#[test]
fn kubelet_restarted() {
    under_load(Duration::from_secs(30), |cluster, node| {
        let before = pins(node)?;
        let kubelet = component::stop(node, "kubelet", SIGKILL)?;
        thread::sleep(SOME_LOOKS);
        ensure!(pins(node)? == before, "kubelet's absence changed what is pinned");
        kubelet.start()?;
        new_pods(cluster, node, "kubelet")
    });
}

#[test]
fn container_runtime_restarted() {
    for signal in [SIGTERM, SIGKILL] {
        under_load(Duration::from_secs(40), |cluster, node| {
            let before = pins(node)?;
            let runtime = component::stop(node, "containerd", signal)?;
            thread::sleep(SOME_LOOKS);
            ensure!(pins(node)? == before, "the runtime's absence changed what is pinned");
            runtime.start()?;
            until("containerd answers", || Ok(quiet(node, &["ctr", "version"])))?;
            // What it lists first need not be all.
            thread::sleep(SOME_LOOKS);
            ensure!(pins(node)? == before, "the runtime's return changed what is pinned");
            new_pods(cluster, node, "runtime")
        });
    }
}

#[test]
fn api_server_away() {
    under_load(Duration::from_secs(60), |cluster, node| {
        let before = all_pins(cluster)?;
        let server = component::stop(node, "apiserver", SIGKILL)?;
        thread::sleep(Duration::from_secs(40));
        ensure!(all_pins(cluster)? == before, "the API server's absence changed what is pinned");
        server.start()?;
        // On a busy machine it takes minutes until it calls itself ready; it works before.
        let asked = ["cluster", "kubectl", "get", "nodes"];
        until("the API server answers", || Ok(quiet(node, &asked)))?;
        new_pods(cluster, node, "api")
    });
}

/// Both clients ask their server, on the node whose programs `disturb` ends. No request fails, no pod leaves the count of
/// its answers, and in the end no more is pinned than before.
fn under_load(lasts: Duration, disturb: impl FnOnce(&Cluster, &Node) -> Result<()>) {
    let Some(world) = turn::alone(Requirement::Cluster) else { return };
    disturbed(&world.cluster, lasts, disturb).unwrap_or_else(|error| panic!("{error:#}"));
}

fn disturbed(
    cluster: &Cluster,
    lasts: Duration,
    disturb: impl FnOnce(&Cluster, &Node) -> Result<()>,
) -> Result<()> {
    let node = &cluster.nodes[0];
    let (pinned, counted) = (all_pins(cluster)?, answered(node)?);
    let start =
        |way: Way| Load::start(cluster, &format!("{}/client", way.namespace()), "http://server/", lasts);
    let [iptables, sidestep] = Way::ALL.map(start);
    let (iptables, sidestep, begun) = (iptables?, sidestep?, Instant::now());
    disturb(cluster, node)?;
    println!("disturbed for {:.1} s", begun.elapsed().as_secs_f64());
    let (iptables, sidestep) = (iptables.outcome()?, sidestep.outcome()?);
    println!("under iptables: {}\nunder sidestep: {}", iptables.said, sidestep.said);
    ensure!(sidestep.failed == 0, "requests failed under sidestep ({} under iptables)", iptables.failed);
    let after = answered(node)?;
    for (pod, before) in &counted {
        let now = after.get(pod).with_context(|| format!("{pod} is not enrolled any more"))?;
        let wanted = if pod == "client" { before + sidestep.answered } else { *before };
        ensure!(*now >= wanted, "{pod}: {now} connections counted, {before} before, {wanted} wanted");
    }
    nothing_left(cluster, &pinned)
}

/// How often sidestep has told a sidecar where a connection was going, by pod.
fn answered(node: &Node) -> Result<BTreeMap<String, u64>> {
    let binary = sidestep::binary()?.display().to_string();
    let output = node.command(&[&binary, "status", "--output", "json"]).output().context("run sidestep")?;
    let status: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("sidestep status: {}", String::from_utf8_lossy(&output.stderr).trim()))?;
    let workloads = status["workloads"].as_array().context("no workloads")?;
    let ours =
        workloads.iter().filter(|workload| workload["meta"]["pod"]["namespace"] == Way::Sidestep.namespace());
    let counts = ours.map(|workload| {
        let name = workload["meta"]["pod"]["name"].as_str().unwrap_or_default().to_owned();
        (name, workload["counters"]["events"]["original_dst"].as_u64().unwrap_or_default())
    });
    Ok(counts.collect())
}

/// A copy of the agent and its plugin, as a new version brings them.
fn other_binary(node: &Node, binary: &Path) -> Result<PathBuf> {
    let dir = node.dir.join("next");
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    for from in [binary, &binary.with_file_name("sidestep-cni")] {
        let to = dir.join(from.file_name().context("a program without a name")?);
        fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
    }
    Ok(dir.join("sidestep"))
}

/// New pods of both ways work on this node, and go without a trace.
fn new_pods(cluster: &Cluster, node: &Node, name: &str) -> Result<()> {
    let names = [format!("after-{name}"), format!("after-{name}-too")];
    let pods = names.map(|name| idle_on(node, &name));
    let mut all = Vec::new();
    for way in Way::ALL {
        all.push(Own::create(cluster, way.namespace(), &pods)?);
    }
    for pods in &all {
        pods.work(READY_WITHIN)?;
    }
    all.into_iter().try_for_each(Own::delete)
}

fn quiet(node: &Node, words: &[&str]) -> bool {
    node.command(words).output().is_ok_and(|output| output.status.success())
}

fn until(what: &str, mut met: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !met()? {
        ensure!(begun.elapsed() < BACK_WITHIN, "{what}: not within {BACK_WITHIN:?}");
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
