//! Deployments are rolled and nodes drained, while the pods of both ways ask them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::load::{Outcome, ask_during, assert_no_more_failed};
use tests::cluster::pods::{all_pins, nothing_left};
use tests::cluster::way::Way;
use tests::cluster::{Cluster, turn};
use tests::requirement::Requirement;
use tests::wait::until_some;

/// How often, where nobody says.
const ROLLS: u32 = 3;
const NAME: &str = "rolled";
const URL: &str = "http://rolled/";
const LOOK_EVERY: Duration = Duration::from_millis(700);
const WITHIN: Duration = Duration::from_secs(180);

#[test]
fn deployment_rolled_under_load() {
    let rolls = std::env::var("SIDESTEP_ROLLS").ok().map_or(ROLLS, |text| text.parse().unwrap());
    under_load(|cluster| (0..rolls).try_for_each(|_| roll(cluster)));
}

/// Its pods are on the second node while that takes pods, and come back.
#[test]
fn node_drained_and_back() {
    under_load(|cluster| {
        let node = cluster.nodes[1].name.as_str();
        let begin = nodes(cluster)?;
        ensure!(begin.iter().all(|name| name == node), "they do not begin on {node}: {begin:?}");
        // Of the pods there are on the node these alone: others' tests have the rest.
        let selector = format!("--pod-selector=app={NAME}");
        let drain = ["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", &selector];
        cluster.kubectl(&[&drain[..], &["--timeout=170s"]].concat())?;
        settled(cluster)?;
        let drained = nodes(cluster)?;
        ensure!(drained.iter().all(|name| name != node), "drained, and there are pods on {drained:?}");
        cluster.kubectl(&["uncordon", node])?;
        until("the node takes pods again", || {
            let found = cluster.json(&["get", "node", node])?;
            Ok((found["spec"]["unschedulable"] != true).then_some(()))
        })?;
        roll(cluster)?;
        let back = nodes(cluster)?;
        ensure!(back.iter().any(|name| name == node), "uncordoned, and there are pods on {back:?} alone");
        Ok(())
    });
}

/// Each way has its Deployment and its client, and `change` is for both.
fn under_load(change: impl FnOnce(&Cluster) -> Result<()>) {
    let Some(world) = turn::alone(Requirement::Cluster) else { return };
    let before = all_pins(&world.cluster).unwrap();
    let rolled = Rolled(&world.cluster);
    assert_no_more_failed(&rolled.ask_during(change).unwrap_or_else(|error| panic!("{error:#}")));
    drop(rolled);
    nothing_left(&world.cluster, &before).unwrap();
}

/// The Deployments of both ways, deleted in the end.
struct Rolled<'a>(&'a Cluster);

impl Rolled<'_> {
    fn ask_during(&self, change: impl FnOnce(&Cluster) -> Result<()>) -> Result<[Outcome; 2]> {
        for way in Way::ALL {
            self.0.create(way.namespace(), &manifest().to_string())?;
        }
        settled(self.0)?;
        for way in Way::ALL {
            // The client's sidecar learns of it a moment later.
            until("an answer", || {
                let said = self.0.exec(&client(way), &["/bin/app", "-v", URL])?;
                Ok(said.starts_with("200").then_some(()))
            })?;
        }
        ask_during(self.0, URL, change)
    }
}

fn client(way: Way) -> String {
    format!("{}/client", way.namespace())
}

impl Drop for Rolled<'_> {
    fn drop(&mut self) {
        let names = ["deployment", "service", "pdb"].map(|kind| format!("{kind}/{NAME}"));
        let mut all = Vec::new();
        for way in Way::ALL {
            let delete = ["-n", way.namespace(), "delete", "--ignore-not-found", "--cascade=foreground"];
            all.push(delete.into_iter().chain(names.iter().map(String::as_str)).collect());
        }
        all.push(vec!["uncordon", &self.0.nodes[1].name]);
        for words in all {
            if let Err(error) = self.0.kubectl(&words) {
                eprintln!("left over: {error:#}");
            }
        }
    }
}

/// New pods for all of them, one after the other.
fn roll(cluster: &Cluster) -> Result<()> {
    for way in Way::ALL {
        cluster.kubectl(&["-n", way.namespace(), "rollout", "restart", "deployment", NAME])?;
    }
    settled(cluster)
}

fn settled(cluster: &Cluster) -> Result<()> {
    for way in Way::ALL {
        let status = ["-n", way.namespace(), "rollout", "status", "deployment", NAME, "--timeout=240s"];
        cluster.kubectl(&status)?;
    }
    Ok(())
}

/// Where the pods are that are not about to end.
fn nodes(cluster: &Cluster) -> Result<Vec<String>> {
    let selector = format!("app={NAME}");
    let pods = cluster.json(&["get", "pods", "-A", "-l", &selector])?;
    let pods = pods["items"].as_array().context("no items")?;
    let living = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(living.map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Two pods that say goodbye: they answer for some seconds after they are told to end, as rolling needs it.
fn manifest() -> Value {
    let labels = json!({"app": NAME});
    let on_second = json!({"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node2"]}]});
    let app = json!({
        "name": "app", "image": "lab/app:1", "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/app", "observe", "http::8080"],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    });
    let template = json!({
        "metadata": {"labels": labels},
        "spec": {
            "serviceAccountName": "server", "terminationGracePeriodSeconds": 20, "containers": [app],
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": on_second}]}},
        },
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": labels}, "template": template,
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    });
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": NAME},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [deployment, service, budget]})
}

fn until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_some(LOOK_EVERY, what, WITHIN, look)
}
