//! Where it was measured, with what.

use ::tests::agent;
use anyhow::{Context, Result};
use serde::Serialize;

use super::cluster::Cluster;
use crate::machine::Machine;

#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    /// UTC.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) cpu: usize,
    pub(crate) kubernetes: String,
    /// As go.mod names it: Istio's module has no releases.
    pub(crate) istio: String,
    pub(crate) containerd: String,
}

impl Setting {
    pub(crate) fn look(cluster: &Cluster, cpu: usize) -> Result<Self> {
        let nodes = "jsonpath={.items[0].status.nodeInfo.kubeletVersion}";
        let date = std::process::Command::new("date").args(["-u", "+%-d %B %Y"]).output();
        let date = date.context("ask for the date")?.stdout;
        Ok(Self {
            date: String::from_utf8_lossy(&date).trim().to_owned(),
            machine: Machine::look()?,
            cpu,
            kubernetes: cluster.kubectl(&["get", "nodes", "-o", nodes])?.trim().to_owned(),
            istio: required("istio.io/istio"),
            containerd: required("github.com/containerd/containerd/v2"),
        })
    }
}

/// The version of a module in the cluster's go.mod.
fn required(module: &str) -> String {
    let path = agent::repository().join("tests/cluster/go.mod");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines().map(|line| line.trim().trim_start_matches("require "));
    let version = lines.find_map(|line| line.strip_prefix(module)?.strip_prefix(' ')?.split(' ').next());
    version.unwrap_or("unknown").to_owned()
}
