//! Pods a test makes for itself.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::world::is_ready;
use super::{Cluster, Node};
use crate::wait::until_some;

const LOOK_EVERY: Duration = Duration::from_millis(700);
const GONE_WITHIN: Duration = Duration::from_secs(60);
const REFUSED_WITHIN: Duration = Duration::from_secs(180);
/// The container that looks whether the pod is captured.
const VALIDATION: &str = "istio-validation";

/// Pods of one namespace. What is left of them when the value goes is deleted.
#[derive(Debug)]
pub struct Own<'a> {
    cluster: &'a Cluster,
    pub namespace: &'static str,
    pub names: Vec<String>,
}

/// A pod whose one container sleeps and lets itself be ended.
pub fn idle(name: &str) -> Value {
    let app = json!({"name": "app", "image": "lab/app:1", "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/app", "pause"]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [app]}})
}

/// The same on one node.
pub fn idle_on(node: &Node, name: &str) -> Value {
    let mut pod = idle(name);
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node.name});
    pod
}

/// Whether the sidecar's container that looks for a capture passed, and at which try it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validated {
    NotYet,
    AtTry(u64),
}

pub fn validated(pod: &Value) -> Validated {
    let all = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
    let mut found = all.filter(|container| container["name"] == VALIDATION);
    match found.next() {
        Some(container) if container["state"]["terminated"]["exitCode"] == 0 => {
            Validated::AtTry(container["restartCount"].as_u64().unwrap_or_default() + 1)
        }
        _ => Validated::NotYet,
    }
}

/// How often that container was started, so far.
pub fn tries_of_validation(pod: &Value) -> u64 {
    let all = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
    let found = all.filter(|container| container["name"] == VALIDATION);
    found.map(|container| container["restartCount"].as_u64().unwrap_or_default() + 1).sum()
}

/// Waits until kubelet says that a pod could not be set up, because nobody answers the plugin. None of its containers
/// was made.
pub fn refused(cluster: &Cluster, namespace: &str, pod: &str) -> Result<()> {
    // One of the same name may have been there before.
    let found = cluster.json(&["-n", namespace, "get", "pod", pod])?;
    let uid = found["metadata"]["uid"].as_str().context("a pod without a uid")?;
    let selector = format!("involvedObject.uid={uid},reason=FailedCreatePodSandBox");
    until_some(LOOK_EVERY, "kubelet's event", REFUSED_WITHIN, || {
        let events = cluster.json(&["-n", namespace, "get", "events", "--field-selector", &selector])?;
        let message = events["items"][0]["message"].as_str().unwrap_or_default().to_owned();
        ensure!(
            message.is_empty() || message.contains("sidestep"),
            "{pod} is held by something else: {message}"
        );
        Ok((!message.is_empty()).then_some(()))
    })?;
    let found = cluster.json(&["-n", namespace, "get", "pod", pod])?;
    let containers = found["status"]["initContainerStatuses"].to_string();
    ensure!(!containers.contains("containerd://"), "{pod} has a container: {containers}");
    Ok(())
}

impl<'a> Own<'a> {
    pub fn create(cluster: &'a Cluster, namespace: &'static str, pods: &[Value]) -> Result<Self> {
        let names = pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        let own = Self { cluster, namespace, names: names.collect() };
        let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
        cluster.create(namespace, &list.to_string())?;
        Ok(own)
    }

    pub fn get(&self) -> Result<Vec<Value>> {
        let all = self.cluster.json(&["-n", self.namespace, "get", "pods"])?;
        let all = all["items"].as_array().context("no items")?;
        let ours = all.iter().filter(|pod| {
            self.names.iter().any(|name| pod["metadata"]["name"].as_str() == Some(name.as_str()))
        });
        Ok(ours.cloned().collect())
    }

    /// Waits for all of them; what they are then.
    pub fn ready(&self, within: Duration) -> Result<Vec<Value>> {
        let begun = Instant::now();
        loop {
            let pods = self.get()?;
            let waiting: Vec<&Value> = pods.iter().filter(|pod| !is_ready(pod)).collect();
            if waiting.is_empty() && pods.len() == self.names.len() {
                return Ok(pods);
            }
            if begun.elapsed() > within {
                let statuses: Vec<_> = waiting.iter().map(|pod| pod["status"].to_string()).collect();
                bail!(
                    "{} of {} pods in {} are not ready after {within:?}: {}",
                    waiting.len(),
                    self.names.len(),
                    self.namespace,
                    statuses.first().map_or("", String::as_str)
                );
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Ready, captured when istio-validation looked for the first time, and answered by the server.
    pub fn work(&self, within: Duration) -> Result<()> {
        for pod in self.ready(within)? {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let has = pod["status"]["initContainerStatuses"].to_string().contains(VALIDATION);
            ensure!(
                !has || validated(&pod) == Validated::AtTry(1),
                "{name}: istio-validation: {:?}",
                validated(&pod)
            );
            let place = format!("{}/{name}", self.namespace);
            let said = self.cluster.exec(&place, &["/bin/app", "-v", "http://server/who"])?;
            ensure!(said.starts_with("200 OK") && said.contains("mutual TLS"), "{name}: {said}");
        }
        Ok(())
    }

    /// Deletes them, and waits until they are gone.
    pub fn delete(mut self) -> Result<()> {
        let names = std::mem::take(&mut self.names);
        let words = delete_words(self.namespace, "--wait=true", &names);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.cluster.kubectl(&words).map(drop)
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        if !self.names.is_empty() {
            let words = delete_words(self.namespace, "--wait=false", &self.names);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if let Err(error) = self.cluster.kubectl(&words) {
                eprintln!("left over: {error:#}");
            }
        }
    }
}

fn delete_words(namespace: &str, how: &str, names: &[String]) -> Vec<String> {
    let fixed = ["-n", namespace, "delete", "--ignore-not-found", how, "pod"];
    fixed.iter().map(|word| (*word).to_owned()).chain(names.iter().cloned()).collect()
}

/// The workloads that sidestep has pinned on a node.
pub fn pins(node: &Node) -> Result<Vec<String>> {
    let output = node.command(&["ls", "/sys/fs/bpf/sidestep"]).output().context("list the pins")?;
    let names = String::from_utf8_lossy(&output.stdout);
    let workloads = names.lines().filter(|name| !name.starts_with("node"));
    Ok(workloads.map(|name| format!("{}: {name}", node.name)).collect())
}

/// Those of all nodes.
pub fn all_pins(cluster: &Cluster) -> Result<Vec<String>> {
    let each = cluster.nodes.iter().map(pins).collect::<Result<Vec<_>>>()?;
    Ok(each.concat())
}

/// Waits until nothing is pinned that was not before.
pub fn nothing_left(cluster: &Cluster, before: &[String]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let left: Vec<String> = all_pins(cluster)?.into_iter().filter(|pin| !before.contains(pin)).collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(begun.elapsed() < GONE_WITHIN, "left of pods that are gone: {left:?}");
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Validated, tries_of_validation, validated};

    #[test]
    fn tries_are_counted_from_one() {
        let state = |code: i32, restarts: u64| {
            json!({"status": {"initContainerStatuses": [{
                "name": "istio-validation", "restartCount": restarts,
                "state": {"terminated": {"exitCode": code}},
            }]}})
        };
        assert_eq!(validated(&state(0, 0)), Validated::AtTry(1));
        assert_eq!(validated(&state(0, 2)), Validated::AtTry(3));
        assert_eq!(validated(&state(1, 0)), Validated::NotYet);
        assert_eq!(validated(&json!({})), Validated::NotYet);
        assert_eq!(tries_of_validation(&state(1, 2)), 3);
        assert_eq!(tries_of_validation(&json!({})), 0);
    }
}
