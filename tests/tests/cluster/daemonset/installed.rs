//! The installation, and what is seen of it: by Helm, by `sidestep cluster`, on the nodes' disks.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::cluster::load::{ask_during, assert_no_more_failed};
use tests::cluster::pods::{Own, all_pins, idle_on, nothing_left};
use tests::cluster::way::Way;
use tests::cluster::{Cluster, Helm, Node, turn};
use tests::requirement::Requirement;
use tests::sidestep;

use super::READY_WITHIN;

const RELEASE: &str = "sidestep";
/// Where the nodes have their lists of plugins, and the plugins.
const OF_THE_NODE: [&str; 2] = ["cni", "cni-bin"];
/// From the first node to the second: the agents of both see the load's connections.
const FAR: &str = "http://far/";

/// The release. When the value goes it is installed as it was: other tests have pods that wait for it.
pub(super) struct Installed<'a> {
    cluster: &'a Cluster,
    helm: &'a Helm,
}

impl<'a> Installed<'a> {
    fn of(cluster: &'a Cluster) -> Result<Self> {
        Ok(Self { cluster, helm: cluster.helm.as_ref().context("no DaemonSet")? })
    }

    /// A verb of Helm with its flags; an upgrade is to the chart of this tree.
    pub(super) fn helm(&self, words: &[&str]) -> Result<()> {
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

    /// The values it has, and one more.
    pub(super) fn set(&self, value: &str) -> Result<()> {
        self.helm(&["upgrade", "--reuse-values", "--set-json", value])
    }

    /// As it was in the beginning, and with one value more.
    pub(super) fn install(&self, more: &[&str]) -> Result<()> {
        let values = self.helm.values.to_string_lossy();
        let words = ["upgrade", "--install", "--create-namespace", "--reset-values", "-f", &values];
        self.helm(&[&words[..], more].concat())
    }

    /// Off every node.
    pub(super) fn remove(&self) -> Result<()> {
        self.set("uninstall.enabled=true")?;
        self.rolled_out()?;
        self.helm(&["uninstall", "--wait"])?;
        let left = of_sidestep(&self.cluster.nodes)?;
        ensure!(left.is_empty(), "left on the nodes: {left:?}");
        Ok(())
    }

    pub(super) fn rolled_out(&self) -> Result<()> {
        let words = ["-n", &self.helm.namespace, "rollout", "status", "daemonset/sidestep", "--timeout=180s"];
        self.cluster.kubectl(&words).map(drop)
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.install(&[]).and_then(|()| self.rolled_out()) {
            eprintln!("not installed again: {error:#}");
        }
    }
}

/// The installation is changed while the pods of both ways ask, from node to node. Afterwards it is as it was, and
/// captures.
pub(super) fn under_load(change: impl FnOnce(&Cluster, &Installed<'_>) -> Result<()>) {
    let Some(world) = turn::alone(Requirement::DaemonSet) else { return };
    let cluster = &world.cluster;
    let before = all_pins(cluster).unwrap();
    let installed = Installed::of(cluster).unwrap();
    let outcomes = ask_during(cluster, FAR, |cluster| change(cluster, &installed));
    assert_no_more_failed(&outcomes.unwrap_or_else(|error| panic!("{error:#}")));
    drop(installed);
    captured_on(cluster, &cluster.nodes, "installed-again").unwrap();
    nothing_left(cluster, &before).unwrap();
}

/// A pod that starts now is captured before its first instruction, on each of these nodes.
pub(super) fn captured_on(cluster: &Cluster, nodes: &[Node], name: &str) -> Result<()> {
    let pods: Vec<_> = nodes.iter().map(|node| idle_on(node, &format!("{name}-{}", node.name))).collect();
    let own = Own::create(cluster, Way::Sidestep.namespace(), &pods)?;
    own.work(READY_WITHIN)?;
    own.delete()
}

/// The pods of the DaemonSet.
pub(super) fn agents(cluster: &Cluster) -> Result<Vec<Value>> {
    let helm = cluster.helm.as_ref().context("no DaemonSet")?;
    let pods = cluster.json(&["-n", &helm.namespace, "get", "pods"])?;
    pods["items"].as_array().cloned().context("no items")
}

/// Which of them they are.
pub(super) fn uids(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    Ok(agents(cluster)?.iter().map(uid).collect())
}

/// What `sidestep cluster` says, and whether it exits well.
pub(super) struct Told {
    pub(super) well: bool,
    pub(super) document: Value,
    /// What it complains of.
    pub(super) said: String,
}

/// `sidestep cluster` with a verb.
pub(super) fn through_kubectl(cluster: &Cluster, verb: &str) -> Result<Told> {
    let directory = tempfile::tempdir().context("make a directory")?;
    let kubectl = directory.path().join("kubectl");
    std::fs::write(&kubectl, "#!/bin/sh\nexec cluster kubectl \"$@\"\n").context("write kubectl")?;
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).context("write kubectl")?;
    let [sidestep, kubectl] = [sidestep::binary()?, kubectl].map(|path| path.display().to_string());
    let line = [&sidestep, "cluster", verb, "--output", "json", "--kubectl", &kubectl];
    let output = cluster.command(&line).output().context("run sidestep")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let document = serde_json::from_slice(&output.stdout).with_context(|| format!("it says {said}"))?;
    Ok(Told { well: output.status.success(), document, said })
}

impl Told {
    /// What is wrong, by node; empty where all is well.
    pub(super) fn faults(&self) -> BTreeMap<String, String> {
        let nodes = self.document["nodes"].as_array().into_iter().flatten();
        let faults = nodes.map(|node| (name(&node["node"]), node["faults"].to_string()));
        faults.filter(|(_, faults)| faults != "[]").collect()
    }

    /// The nodes that have an agent.
    pub(super) fn nodes(&self) -> Vec<String> {
        self.document["nodes"].as_array().into_iter().flatten().map(|node| name(&node["node"])).collect()
    }

    /// NAMESPACE/POD of every enrolled pod that is not selected any more.
    pub(super) fn kept(&self) -> BTreeSet<String> {
        self.pods().filter(|pod| !pod["kept"].is_null()).map(full_name).collect()
    }

    /// NAMESPACE/POD of every pod that an agent knows, and what has become of it: `enrolled`, or the reason.
    pub(super) fn states(&self) -> BTreeMap<String, String> {
        let state = |pod: &Value| {
            pod["word"].as_str().or_else(|| pod["state"].as_str()).unwrap_or_default().to_owned()
        };
        self.pods().map(|pod| (full_name(pod), state(pod))).collect()
    }

    fn pods(&self) -> impl Iterator<Item = &Value> {
        let nodes = self.document["nodes"].as_array().into_iter().flatten();
        nodes.flat_map(|node| node["answer"]["agent"]["pods"].as_array().into_iter().flatten())
    }
}

fn full_name(pod: &Value) -> String {
    format!("{}/{}", name(&pod["pod"]["namespace"]), name(&pod["pod"]["name"]))
}

fn name(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Files of these nodes that are sidestep's, or name it.
pub(super) fn of_sidestep(nodes: &[Node]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for dir in nodes.iter().flat_map(|node| OF_THE_NODE.map(|name| node.dir.join(name))) {
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
