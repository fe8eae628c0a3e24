//! The cluster that `cargo xtask cluster` made, by what its cluster.json says.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

const APPLY_TRIES: u32 = 4;

#[derive(Debug, Deserialize)]
pub(crate) struct Cluster {
    /// Below the mount of each hierarchy.
    pub(crate) cgroup: String,
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    /// In front of a command, it runs in the node's namespaces.
    enter: Vec<String>,
}

impl Cluster {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let cluster: Self =
            serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
        ensure!(
            cluster.nodes.len() == 1,
            "both pods of a pair have to be on one node: `cluster up --nodes 1`"
        );
        Ok(cluster)
    }

    /// The output of a program in the node's namespaces.
    pub(crate) fn run(&self, program: &[&str]) -> Result<String> {
        let what = program.iter().take(4).copied().collect::<Vec<_>>().join(" ");
        let output = self.command(program)?.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("run {what}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{what}: {}", said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run(&[&["cluster", "kubectl"], arguments].concat())
    }

    /// Again when it fails: on a busy machine Istio's webhooks do not always answer in time.
    pub(crate) fn apply(&self, manifest: &str) -> Result<()> {
        (1..APPLY_TRIES)
            .find_map(|_| self.try_to_apply(manifest).ok())
            .map_or_else(|| self.try_to_apply(manifest), Ok)
    }

    fn try_to_apply(&self, manifest: &str) -> Result<()> {
        let mut command = self.command(&["cluster", "kubectl", "apply", "-f", "-"])?;
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("run kubectl apply")?;
        let mut input = child.stdin.take().context("stdin of kubectl")?;
        input.write_all(manifest.as_bytes()).context("write to kubectl")?;
        drop(input);
        ensure!(child.wait().context("wait for kubectl")?.success(), "kubectl apply failed");
        Ok(())
    }

    fn command(&self, program: &[&str]) -> Result<Command> {
        let enter = &self.nodes.first().context("a cluster has a node")?.enter;
        let (first, others) = enter.split_first().context("cluster.json: no words in `enter`")?;
        let mut command = Command::new(first);
        command.args(others).args(program);
        Ok(command)
    }

    /// The cluster's cgroups of a hierarchy, if that is mounted.
    pub(crate) fn cgroup_in(&self, hierarchy: &Path) -> Option<PathBuf> {
        let dir = hierarchy.join(self.cgroup.trim_start_matches('/'));
        dir.is_dir().then_some(dir)
    }
}
