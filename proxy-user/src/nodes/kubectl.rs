//! The agents' pods, and words that are run in them. kubectl knows the cluster, and who asks.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result};
use proxy_core::exit::{Class, Failure};
use serde::{Deserialize, de::IgnoredAny};

/// How kubectl is run.
#[derive(Clone, Debug)]
pub struct Kubectl {
    pub program: PathBuf,
    /// kubectl's own; None: the current one.
    pub context: Option<String>,
    pub namespace: String,
    pub selector: String,
}

/// One of the DaemonSet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentPod {
    pub name: String,
    pub node: String,
    /// Its container runs.
    pub runs: bool,
    pub ready: bool,
    /// Where its page is, of its own flags.
    pub listen: Option<String>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: String,
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    args: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
struct ContainerStatus {
    #[serde(default)]
    state: State,
}

#[derive(Default, Deserialize)]
struct State {
    running: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl From<Item> for AgentPod {
    fn from(item: Item) -> Self {
        let args = item.spec.containers.iter().flat_map(|container| &container.args);
        let listen = args.filter_map(|arg| arg.strip_prefix("--listen=")).next().map(str::to_owned);
        let ready = |condition: &Condition| condition.kind == "Ready" && condition.status == "True";
        Self {
            name: item.metadata.name,
            node: item.spec.node_name,
            // The phase is Running as well where its container ends again and again.
            runs: item.status.phase == "Running"
                && item.status.container_statuses.iter().all(|container| container.state.running.is_some()),
            ready: item.status.conditions.iter().any(ready),
            listen,
        }
    }
}

impl Kubectl {
    /// In the order of their nodes.
    ///
    /// # Errors
    /// Where kubectl does not answer, and where there are none.
    pub fn agents(&self) -> Result<Vec<AgentPod>> {
        let output = self.run(&["get", "pods", "-l", &self.selector, "-o", "json"])?;
        if !output.status.success() {
            return Err(self.failed("get pods", &output));
        }
        let list: List = serde_json::from_slice(&output.stdout).context("read what kubectl lists")?;
        let mut agents: Vec<AgentPod> = list.items.into_iter().map(AgentPod::from).collect();
        agents.sort_by(|one, other| one.node.cmp(&other.node));
        if agents.is_empty() {
            return Err(Failure::error(
                Class::Unavailable,
                format!(
                    "no pod in namespace {} has {}: install the chart (docs/install.md), or say --namespace and --selector",
                    self.namespace, self.selector
                ),
            ));
        }
        Ok(agents)
    }

    /// Runs sidestep in an agent's container, whatever becomes of it.
    ///
    /// # Errors
    /// When kubectl does not start.
    pub fn exec(&self, pod: &str, words: &[&str]) -> Result<Output> {
        self.run(&[&["exec", pod, "--container", "agent", "--", "sidestep"], words].concat())
    }

    fn run(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        command
            .args(["--namespace", &self.namespace, "--request-timeout=20s"])
            .args(words)
            .stdin(Stdio::null());
        command.output().map_err(|error| {
            Failure::error(
                Class::Unavailable,
                format!("run {}: {error}; install kubectl, or say --kubectl PATH", self.program.display()),
            )
        })
    }

    fn failed(&self, what: &str, output: &Output) -> anyhow::Error {
        let said = String::from_utf8_lossy(&output.stderr);
        Failure::error(Class::Unavailable, format!("{} {what}: {}", self.program.display(), said.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubectl_lists_is_read() {
        let text = r#"{"items": [{"metadata": {"name": "sidestep-1"}, "spec": {"nodeName": "n1", "containers":
            [{"args": ["--install-cni", "--listen=0.0.0.0:15095", "--listen-metrics=[::]:9"]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"state": {"running": {"startedAt": "2026-11-30T00:00:00Z"}}}]}},
            {"metadata": {"name": "sidestep-2"}, "spec": {"containers": [{}]}, "status": {"phase": "Pending"}},
            {"metadata": {"name": "sidestep-3"}, "spec": {"containers": [{}]}, "status": {"phase": "Running",
            "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}}]}"#;
        let list: List = serde_json::from_str(text).unwrap();
        let agents: Vec<AgentPod> = list.items.into_iter().map(AgentPod::from).collect();
        let first = AgentPod {
            name: "sidestep-1".to_owned(),
            node: "n1".to_owned(),
            runs: true,
            ready: true,
            listen: Some("0.0.0.0:15095".to_owned()),
        };
        assert_eq!(agents[0], first);
        assert_eq!((agents[1].runs, agents[1].ready, &agents[1].listen), (false, false, &None));
        assert!(!agents[2].runs);
    }
}
