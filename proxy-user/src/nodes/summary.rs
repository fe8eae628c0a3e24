//! Each node of a cluster in one line, and what is not as it should be.

use std::{process::Output, thread};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    kubectl::{AgentPod, Kubectl},
    node::{Answer, State},
};

/// kubectl is a process of 100 MB: so many at a time.
const AT_ONCE: usize = 8;

/// A node, as its agent tells it.
#[derive(Debug, Serialize)]
pub struct Node {
    pub node: String,
    /// The agent's pod.
    pub pod: String,
    pub ready: bool,
    pub answer: Option<Answer>,
    /// Sentences; empty: all is well.
    pub faults: Vec<String>,
}

/// Those of a cluster that have an agent.
#[derive(Debug, Serialize)]
pub struct Nodes(pub Vec<Node>);

impl Nodes {
    /// Asks each agent.
    ///
    /// # Errors
    /// When there are none. One that does not answer is a fault of its node.
    pub fn ask(kubectl: &Kubectl) -> Result<Self> {
        let agents = kubectl.agents()?;
        let mut nodes = Vec::new();
        for some in agents.chunks(AT_ONCE) {
            let asked = thread::scope(|scope| {
                let asking: Vec<_> =
                    some.iter().map(|agent| scope.spawn(move || Node::ask(kubectl, agent))).collect();
                asking.into_iter().map(|asking| asking.join()).collect::<Vec<_>>()
            });
            nodes.extend(asked.into_iter().flatten());
        }
        let mut nodes = Self(nodes);
        nodes.compare_versions();
        Ok(nodes)
    }

    pub fn is_well(&self) -> bool {
        self.0.iter().all(|node| node.faults.is_empty())
    }

    /// An update that has stopped halfway shows itself here.
    fn compare_versions(&mut self) {
        let versions: Vec<String> =
            self.0.iter().filter_map(|node| Some(node.answer.as_ref()?.version.clone())).collect();
        let Some(first) = versions.first().cloned() else { return };
        for node in &mut self.0 {
            let other = node.answer.as_ref().is_some_and(|answer| answer.version != first);
            if other {
                node.faults.push(format!("another version than {first}"));
            }
        }
    }
}

impl Node {
    fn ask(kubectl: &Kubectl, agent: &AgentPod) -> Self {
        let (answer, mut faults) = match question(kubectl, agent) {
            Ok(answer) => {
                let faults = answer.faults();
                (Some(answer), faults)
            }
            Err(error) => (None, vec![format!("{error:#}")]),
        };
        if answer.is_some() && !agent.ready {
            faults.push("the agent is not ready: `kubectl logs` of its pod says why".to_owned());
        }
        Self { node: agent.node.clone(), pod: agent.name.clone(), ready: agent.ready, answer, faults }
    }

    pub fn count(&self, is: impl Fn(&State) -> bool) -> Option<usize> {
        self.answer.as_ref().map(|answer| answer.count(is))
    }
}

fn question(kubectl: &Kubectl, agent: &AgentPod) -> Result<Answer> {
    anyhow::ensure!(agent.runs, "the agent does not run: `kubectl describe pod {}` says why", agent.name);
    let at = agent.listen.as_deref().map(|listen| ["--agent", listen]);
    let at: &[&str] = at.as_ref().map_or(&[], |words| words);
    let output = kubectl.exec(&agent.name, &[&["pods", "--output", "json"], at].concat())?;
    anyhow::ensure!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).context("read what the agent says")
}

/// The last line: kubectl puts its own behind it.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut lines = text.lines().filter(|line| !line.starts_with("command terminated with exit code"));
    lines.next().unwrap_or("the agent's pod says nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(version: &str) -> Node {
        let text = format!(
            r#"{{"node": "n", "version": "{version}", "agent": {{"pods": []}}, "workloads": [],
            "percent": null, "unreadable": []}}"#
        );
        let answer = Some(serde_json::from_str(&text).unwrap());
        Node { node: "n".to_owned(), pod: "p".to_owned(), ready: true, answer, faults: Vec::new() }
    }

    #[test]
    fn another_version_is_a_fault_of_its_node() {
        let mut nodes = Nodes(vec![node("1"), node("2"), node("1")]);
        nodes.compare_versions();
        let faults: Vec<usize> = nodes.0.iter().map(|node| node.faults.len()).collect();
        assert_eq!((faults, nodes.is_well()), (vec![0, 1, 0], false));
    }
}
