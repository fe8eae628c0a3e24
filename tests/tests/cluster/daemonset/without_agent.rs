//! Who wants nothing on the nodes has istio-init capture with sidestep: deploy/istio/without-agent.yaml, as it is but for
//! the image's name. The cluster's agents leave such pods alone.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::pods::{Own, all_pins, idle_on, nothing_left};
use tests::cluster::{Cluster, revision, turn};
use tests::requirement::Requirement;
use tests::wait::until_some;

use super::READY_WITHIN;
use super::installed::{agents, through_kubectl};

const VALUES: &str = include_str!("../../../../deploy/istio/without-agent.yaml");
/// The image that the file names; there is none.
const IMAGE: &str = "registry.example.com/mesh/sidestep:0.1.0";
const REVISION: &str = "alone";
const NAMESPACE: &str = "without-agent";
const LOOK_EVERY: Duration = Duration::from_millis(700);
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// Istio's control plane and the namespace. They end with the value.
struct Istio<'a>(&'a Cluster);

impl Drop for Istio<'_> {
    fn drop(&mut self) {
        let gone = self.0.kubectl(&["delete", "--ignore-not-found", "--wait=false", "namespace", NAMESPACE]);
        if let Err(error) = gone.and_then(|_| revision::remove(self.0, REVISION)) {
            eprintln!("left over: {error:#}");
        }
    }
}

#[test]
fn by_istio_init() {
    let Some(world) = turn::alone(Requirement::DaemonSet) else { return };
    captured(&world.cluster).unwrap_or_else(|error| panic!("{error:#}"));
}

fn captured(cluster: &Cluster) -> Result<()> {
    let before = all_pins(cluster)?;
    let _istio = Istio(cluster);
    revision::install(cluster, REVISION, &values(cluster)?)?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"istio.io/rev": REVISION}}});
    cluster.apply("default", &namespace.to_string())?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    cluster.create(NAMESPACE, &service.to_string())?;

    let mut server = idle_on(&cluster.nodes[1], "server");
    server["spec"]["containers"][0]["command"] = json!(["/bin/app", "observe", "http::8080"]);
    // The injector makes no istio-init for it: nothing may be added to none.
    let mut uncaptured = idle_on(&cluster.nodes[0], "uncaptured");
    uncaptured["metadata"]["annotations"] = json!({"sidecar.istio.io/interceptionMode": "NONE"});
    // The injector makes a flag of it.
    let mut client = idle_on(&cluster.nodes[0], "client");
    client["metadata"]["annotations"] = json!({"traffic.sidecar.istio.io/excludeOutboundPorts": "8080"});
    let own = Own::create(cluster, NAMESPACE, &[server, client, uncaptured])?;
    let pods = own.ready(READY_WITHIN)?;
    for pod in &pods {
        let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
        let said = init(cluster, name, pod)?;
        let is_right = match &said {
            None => name == "uncaptured",
            Some(said) => name != "uncaptured" && said.contains("attached workload"),
        };
        ensure!(is_right, "{name}: istio-init says {said:?}");
    }
    let ask = |url: &str| cluster.exec(&format!("{NAMESPACE}/client"), &["/bin/app", "ask", url]);
    let (through, around) = (ask("http://server/")?, ask("http://server:8080/")?);
    ensure!(through.contains("200 (envoy) server") && through.contains("peer 127.0.0.6"), "{through}");
    ensure!(!around.contains("(envoy)"), "a port that is excluded: {around}");
    until_some(LOOK_EVERY, "the agents know them", KNOWN_WITHIN, || {
        let states = through_kubectl(cluster, "status")?.states();
        let is_left =
            |name| states.get(&format!("{NAMESPACE}/{name}")).is_some_and(|state| state == "istio_init");
        Ok((is_left("client") && is_left("server")).then_some(()))
    })?;
    let named = on_agents(cluster, &["sidestep", "status"])?;
    for name in ["client", "server"] {
        ensure!(named.contains(&format!("{NAMESPACE}/{name}")), "no {name} in {named}");
    }
    own.delete()?;
    // Without an agent the next attach does it.
    on_agents(cluster, &["sidestep", "prune"])?;
    nothing_left(cluster, &before)
}

/// As somebody writes it who has the image under another name, and on the nodes alone.
fn values(cluster: &Cluster) -> Result<String> {
    let installed = &cluster.helm.as_ref().context("no DaemonSet")?.values;
    let text = fs::read_to_string(installed).with_context(|| format!("read {}", installed.display()))?;
    let image = serde_json::from_str::<Value>(&text)?["image"].as_str().context("no image")?.to_owned();
    ensure!(VALUES.contains(IMAGE), "the file names another image than {IMAGE}");
    Ok(VALUES.replace(IMAGE, &format!("{image}\n          imagePullPolicy: Never")))
}

/// What istio-init has said, where the pod has one.
fn init(cluster: &Cluster, name: &str, pod: &Value) -> Result<Option<String>> {
    let containers = pod["spec"]["initContainers"].as_array().context("no init containers")?;
    if !containers.iter().any(|container| container["name"] == "istio-init") {
        return Ok(None);
    }
    cluster.kubectl(&["-n", NAMESPACE, "logs", name, "-c", "istio-init"]).map(Some)
}

/// What a command says on all nodes.
fn on_agents(cluster: &Cluster, words: &[&str]) -> Result<String> {
    let namespace = &cluster.helm.as_ref().context("no DaemonSet")?.namespace;
    let mut said = String::new();
    for agent in agents(cluster)? {
        let pod = agent["metadata"]["name"].as_str().context("an agent without a name")?;
        let line = [&["-n", namespace, "exec", pod, "-c", "agent", "--"][..], words].concat();
        said += &cluster.kubectl(&line)?;
    }
    Ok(said)
}
