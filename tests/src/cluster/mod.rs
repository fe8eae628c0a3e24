//! The real cluster `cargo xtask cluster` starts, as its tests use it. It is known by its record alone, whose path is in
//! `SIDESTEP_CLUSTER`.

pub mod case;
pub mod outside;
pub mod revision;
pub mod way;
pub mod words;
pub mod world;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

const CREATE_TRIES: u32 = 12;

/// `cluster.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Cluster {
    pub bin: PathBuf,
    pub cgroup: String,
    #[serde(default)]
    pub dual_stack: bool,
    pub outside: Outside,
    pub nodes: Vec<Node>,
}

/// The world around the cluster: a process in its network namespace, and its address.
#[derive(Clone, Debug, Deserialize)]
pub struct Outside {
    pub pid: i32,
    pub address: String,
}

/// One node.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    pub name: String,
    /// In front of a command, it runs in the node's namespaces.
    pub enter: Vec<String>,
}

/// Why there is no cluster to test on, if so.
pub fn missing() -> Option<String> {
    if std::env::var_os("SIDESTEP_CLUSTER").is_some() {
        return None;
    }
    let why = std::env::var("SIDESTEP_NO_CLUSTER").ok();
    Some(why.unwrap_or_else(|| "no cluster: `cargo xtask cluster test` starts one".to_owned()))
}

impl Cluster {
    /// The one this run was given.
    pub fn of_this_run() -> Result<Self> {
        let path = std::env::var_os("SIDESTEP_CLUSTER").context("SIDESTEP_CLUSTER names no cluster.json")?;
        let path = PathBuf::from(path);
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
    }

    /// A program in the first node's namespaces.
    pub fn command(&self, words: &[&str]) -> Command {
        let enter = &self.nodes[0].enter;
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).args(words).stdin(Stdio::null());
        command
    }

    /// kubectl; what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_output(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// kubectl, however it ends.
    pub fn kubectl_output(&self, arguments: &[&str]) -> Result<Output> {
        self.command(&[&["cluster", "kubectl"], arguments].concat()).output().context("run kubectl")
    }

    /// kubectl with `-o json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).context("read what kubectl printed")
    }

    /// kubectl apply.
    pub fn apply(&self, namespace: &str, manifests: &str) -> Result<()> {
        match self.feed(&["-n", namespace, "apply", "-f", "-"], manifests)? {
            None => Ok(()),
            Some(said) => bail!("kubectl apply in {namespace}: {said}"),
        }
    }

    /// kubectl create; what is there already stays as it is. A pod the injector has changed cannot be applied again.
    pub fn create(&self, namespace: &str, manifests: &str) -> Result<()> {
        for _ in 0..CREATE_TRIES {
            let said = self.feed(&["-n", namespace, "create", "-f", "-"], manifests)?.unwrap_or_default();
            let mut faults = said.lines().filter(|line| !line.contains("AlreadyExists"));
            match faults.next() {
                None => return Ok(()),
                // Where dozens of sidecars start, the injector is slower than the API server waits for it.
                Some(fault) if fault.contains("calling webhook") => {}
                Some(_) => bail!("kubectl create in {namespace}: {said}"),
            }
        }
        bail!("kubectl create in {namespace}: the injector did not answer {CREATE_TRIES} times")
    }

    /// kubectl with an input; what it complained of if it failed.
    fn feed(&self, arguments: &[&str], input: &str) -> Result<Option<String>> {
        let mut command = self.command(&[&["cluster", "kubectl"], arguments].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("run kubectl")?;
        child.stdin.take().context("stdin of kubectl")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output().context("wait for kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok((!output.status.success()).then_some(said))
    }

    /// What a program in a pod's container prints, however it ends: `place` is NAMESPACE/POD or NAMESPACE/POD/CONTAINER.
    pub fn exec(&self, place: &str, words: &[&str]) -> Result<String> {
        let parts: Vec<&str> = place.split('/').collect();
        let container = parts.get(2).copied().unwrap_or("app");
        let fixed = ["-n", parts[0], "exec", parts[1], "-c", container, "--"];
        let output = self.kubectl_output(&[&fixed[..], words].concat())?;
        let text = String::from_utf8_lossy(&output.stdout);
        if text.trim().is_empty() && !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("exec in {place} of {}: {}", words.join(" "), said.trim());
        }
        Ok(text.into_owned())
    }
}
