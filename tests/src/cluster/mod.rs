//! The real cluster `cargo xtask cluster` starts, as its tests use it. It is known by its record alone, whose path is in
//! `SIDESTEP_CLUSTER`.

pub mod case;
pub mod component;
pub mod load;
pub mod outside;
pub mod pods;
pub mod revision;
pub mod turn;
pub mod way;
pub mod words;
pub mod world;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// A busy API server times out now and then.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(3);
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
    /// Where Helm has installed sidestep.
    #[serde(default)]
    pub helm: Option<Helm>,
}

/// How it was installed, and is again.
#[derive(Clone, Debug, Deserialize)]
pub struct Helm {
    pub program: PathBuf,
    pub chart: PathBuf,
    pub values: PathBuf,
    pub namespace: String,
}

/// The world around the cluster: a process in its network namespace, and its address.
#[derive(Clone, Debug, Deserialize)]
pub struct Outside {
    pub pid: i32,
    pub address: String,
    /// In a dual-stack cluster.
    #[serde(default)]
    pub address6: Option<String>,
}

/// One node.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    pub name: String,
    /// Its files: log/ has one for each component.
    pub dir: PathBuf,
    /// Below the mount of each hierarchy; its components are in `system`.
    pub cgroup: String,
    /// In front of a command, it runs in the node's namespaces.
    pub enter: Vec<String>,
}

impl Node {
    /// A program in its namespaces.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.enter[0]);
        command.args(&self.enter[1..]).args(words).stdin(Stdio::null());
        command
    }
}

/// Why there is no cluster to test on, if so.
pub fn missing() -> Option<String> {
    if std::env::var_os("SIDESTEP_CLUSTER").is_some() {
        return None;
    }
    let why = std::env::var("SIDESTEP_NO_CLUSTER").ok();
    Some(why.unwrap_or_else(|| "no cluster: `cargo xtask cluster test` starts one".to_owned()))
}

/// Why there is no DaemonSet to try, if so.
pub fn daemonset_missing() -> Option<String> {
    unless("an agent on each node captures: `cargo xtask cluster test --plugin daemonset`", |cluster| {
        cluster.helm.is_some()
    })
}

/// Why there is no agent that a test could end and start at will, if so: kubelet does that for a DaemonSet's.
pub fn agent_process_missing() -> Option<String> {
    unless("a DaemonSet captures: `cargo xtask cluster test --plugin sidestep`", |cluster| {
        cluster.helm.is_none()
    })
}

fn unless(why: &str, is_met: impl FnOnce(&Cluster) -> bool) -> Option<String> {
    missing()
        .or_else(|| (!Cluster::of_this_run().is_ok_and(|cluster| is_met(&cluster))).then(|| why.to_owned()))
}

/// The API server had no time: on two processors that compile as well it happens.
fn is_busy(said: &str) -> bool {
    [
        "Unable to connect to the server",
        "TLS handshake timeout",
        "client connection lost",
        "context deadline exceeded",
        "Client.Timeout exceeded",
        "etcdserver: request timed out",
    ]
    .iter()
    .any(|fault| said.contains(fault))
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
        self.nodes[0].command(words)
    }

    /// kubectl; what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_output(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// kubectl, however it ends; once more where the API server was too busy to take it.
    pub fn kubectl_output(&self, arguments: &[&str]) -> Result<Output> {
        let mut tries = 0;
        loop {
            let mut command = self.command(&[&["cluster", "kubectl"], arguments].concat());
            let output = command.output().context("run kubectl")?;
            tries += 1;
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() || tries == TRIES || !is_busy(&said) {
                return Ok(output);
            }
            thread::sleep(PAUSE);
        }
    }

    /// kubectl with `-o json`.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).context("read what kubectl printed")
    }

    /// kubectl apply.
    pub fn apply(&self, namespace: &str, manifests: &str) -> Result<()> {
        let mut said = None;
        for _ in 0..TRIES {
            said = self.feed(&["-n", namespace, "apply", "-f", "-"], manifests)?;
            if said.is_none() {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        bail!("kubectl apply in {namespace}: {}", said.unwrap_or_default());
    }

    /// kubectl create; what is there already stays as it is. A pod the injector has changed cannot be applied again.
    pub fn create(&self, namespace: &str, manifests: &str) -> Result<()> {
        for _ in 0..CREATE_TRIES {
            let said = self.feed(&["-n", namespace, "create", "-f", "-"], manifests)?.unwrap_or_default();
            let mut faults = said.lines().filter(|line| !line.contains("AlreadyExists"));
            match faults.next() {
                None => return Ok(()),
                // Where dozens of sidecars start, the injector is slower than the API server waits for it.
                Some(fault) if fault.contains("calling webhook") || is_busy(fault) => {}
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
        let mut stdin = child.stdin.take().context("stdin of kubectl")?;
        // Where it ends early it says why.
        let written = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().context("wait for kubectl")?;
        ensure!(written.is_ok() || !output.status.success(), "kubectl did not read its input");
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
