//! sidestep as users install it: by its chart. It is changed, taken back and removed while pods ask each other.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::cluster::load::{ask_during, assert_no_more_failed};
use tests::cluster::pods::{Own, all_pins, idle_on, nothing_left};
use tests::cluster::way::Way;
use tests::cluster::world::{PLAIN, Part, World};
use tests::cluster::{Cluster, Helm, turn};
use tests::requirement::{Requirement, met};
use tests::sidestep;

const RELEASE: &str = "sidestep";
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Where the nodes have their lists of plugins, and the plugins.
const OF_THE_NODE: [&str; 2] = ["cni", "cni-bin"];

/// By who has kubectl and sidestep, on no node: each node's agent and pods, and each pod's check.
#[test]
fn seen_through_kubectl() {
    if !met(&[Requirement::DaemonSet]) {
        return;
    }
    let _turn = turn::alone();
    let world = World::of(Part::Base).unwrap_or_else(|error| panic!("{error:#}"));
    let cluster = &world.cluster;
    let status = through_kubectl(cluster, "status").unwrap();
    assert_eq!(status["well"], true, "{status:#}");
    let nodes: Vec<&str> =
        status["nodes"].as_array().into_iter().flatten().filter_map(|node| node["node"].as_str()).collect();
    let expected: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(nodes, expected);
    let verified = through_kubectl(cluster, "verify").unwrap();
    let pods = verified["pods"].as_array().unwrap();
    let passed = |name: &str| pods.iter().any(|pod| pod["pod"] == name && pod["passed"] == true);
    let namespace = Way::Sidestep.namespace();
    assert!(passed(&format!("{namespace}/client")) && passed(&format!("{namespace}/far")), "{verified:#}");
    assert!(pods.iter().all(|pod| pod["passed"] == true), "{verified:#}");
}

/// `sidestep cluster` with a verb; it exits well.
fn through_kubectl(cluster: &Cluster, verb: &str) -> Result<Value> {
    let directory = tempfile::tempdir().context("make a directory")?;
    let kubectl = directory.path().join("kubectl");
    std::fs::write(&kubectl, "#!/bin/sh\nexec cluster kubectl \"$@\"\n").context("write kubectl")?;
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).context("write kubectl")?;
    let [sidestep, kubectl] = [sidestep::binary()?, kubectl].map(|path| path.display().to_string());
    let line = [&sidestep, "cluster", verb, "--output", "json", "--kubectl", &kubectl];
    let output = cluster.command(&line).output().context("run sidestep")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("read what it printed")
}

/// Each is one command, and no request fails that does not fail under iptables.
#[test]
fn upgraded_and_rolled_back_under_load() {
    under_load(|cluster, installed| {
        let first = agents(cluster)?;
        ensure!(first.len() == cluster.nodes.len(), "{first:?}");
        // With the rights that are named one by one.
        installed.helm(&["upgrade", "--reuse-values", "--set", "leastPrivilege=true"])?;
        installed.rolled_out()?;
        let upgraded = agents(cluster)?;
        ensure!(upgraded.is_disjoint(&first), "{upgraded:?} after {first:?}");
        captured_on_each_node(cluster, "upgraded")?;
        installed.helm(&["rollback"])?;
        installed.rolled_out()?;
        ensure!(agents(cluster)?.is_disjoint(&upgraded), "an agent was not rolled back");
        captured_on_each_node(cluster, "rolled-back")
    });
}

/// What runs stays captured, new pods start without, and nothing is left on the nodes.
#[test]
fn removed_under_load() {
    under_load(|cluster, installed| {
        let before = all_pins(cluster)?;
        ensure!(!of_sidestep(cluster)?.is_empty(), "nothing of sidestep is on the nodes");
        installed.helm(&["upgrade", "--reuse-values", "--set", "uninstall.enabled=true"])?;
        installed.rolled_out()?;
        installed.helm(&["uninstall", "--wait"])?;
        let left = of_sidestep(cluster)?;
        ensure!(left.is_empty(), "left on the nodes: {left:?}");
        for node in &cluster.nodes {
            let pod = Own::create(cluster, PLAIN, &[idle_on(node, &format!("after-{}", node.name))])?;
            pod.ready(READY_WITHIN)?;
            pod.delete()?;
        }
        ensure!(all_pins(cluster)? == before, "a pod that runs is not captured any more");
        Ok(())
    });
}

/// The installation is changed while the pods of both ways ask. Afterwards it is as it was, and captures.
fn under_load(change: impl FnOnce(&Cluster, &Installed<'_>) -> Result<()>) {
    if !met(&[Requirement::DaemonSet]) {
        return;
    }
    let _turn = turn::alone();
    let world = World::of(Part::Base).unwrap_or_else(|error| panic!("{error:#}"));
    let cluster = &world.cluster;
    let before = all_pins(cluster).unwrap();
    let installed = Installed::of(cluster).unwrap();
    let outcomes = ask_during(cluster, "http://server/", |cluster| change(cluster, &installed));
    assert_no_more_failed(&outcomes.unwrap_or_else(|error| panic!("{error:#}")));
    drop(installed);
    captured_on_each_node(cluster, "installed-again").unwrap();
    nothing_left(cluster, &before).unwrap();
}

/// A pod that starts now is captured before its first instruction, on each node.
fn captured_on_each_node(cluster: &Cluster, name: &str) -> Result<()> {
    let pods: Vec<_> =
        cluster.nodes.iter().map(|node| idle_on(node, &format!("{name}-{}", node.name))).collect();
    let own = Own::create(cluster, Way::Sidestep.namespace(), &pods)?;
    own.work(READY_WITHIN)?;
    own.delete()
}

/// The pods of the DaemonSet.
fn agents(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let helm = cluster.helm.as_ref().context("no DaemonSet")?;
    let pods = cluster.json(&["-n", &helm.namespace, "get", "pods"])?;
    let pods = pods["items"].as_array().context("no items")?;
    Ok(pods.iter().map(|pod| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Files of the nodes that are sidestep's, or name it.
fn of_sidestep(cluster: &Cluster) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for dir in cluster.nodes.iter().flat_map(|node| OF_THE_NODE.map(|name| node.dir.join(name))) {
        search(&dir, &mut found)?;
    }
    Ok(found)
}

fn search(dir: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            search(&path, found)?;
            continue;
        }
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let is_list =
            path.extension().is_some_and(|extension| extension == "conf" || extension == "conflist");
        let named = is_list && String::from_utf8_lossy(&text).contains("\"sidestep-cni\"");
        if named || path.ends_with("sidestep-cni") {
            found.push(path.display().to_string());
        }
    }
    Ok(())
}

/// The release. When the value goes it is installed as it was: other tests have pods that wait for it.
struct Installed<'a> {
    cluster: &'a Cluster,
    helm: &'a Helm,
}

impl<'a> Installed<'a> {
    fn of(cluster: &'a Cluster) -> Result<Self> {
        Ok(Self { cluster, helm: cluster.helm.as_ref().context("no DaemonSet")? })
    }

    /// A verb of Helm with its flags; an upgrade is to the chart of this tree.
    fn helm(&self, words: &[&str]) -> Result<()> {
        let program = self.helm.program.to_string_lossy();
        let chart = self.helm.chart.to_string_lossy();
        let (verb, flags) = words.split_first().context("no verb")?;
        let mut line = vec![&*program, verb, RELEASE];
        if *verb == "upgrade" {
            line.push(&chart);
        }
        line.extend(["--namespace", &self.helm.namespace]);
        line.extend(flags);
        let output = self.cluster.command(&line).output().context("run helm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "helm {}: {}", words.join(" "), said.trim());
        Ok(())
    }

    fn rolled_out(&self) -> Result<()> {
        let words = ["-n", &self.helm.namespace, "rollout", "status", "daemonset/sidestep", "--timeout=180s"];
        self.cluster.kubectl(&words).map(drop)
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        let values = self.helm.values.to_string_lossy();
        let again = self
            .helm(&["upgrade", "--install", "--create-namespace", "--reset-values", "-f", &values])
            .and_then(|()| self.rolled_out());
        if let Err(error) = again {
            eprintln!("not installed again: {error:#}");
        }
    }
}
