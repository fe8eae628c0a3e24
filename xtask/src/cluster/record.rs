//! Where a cluster's files are, and `cluster.json`: what others need to know of a cluster that is up.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::cgroup;
use crate::workspace::Workspace;

/// The directory of one cluster. Everything it writes is in there, but for its cgroups.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    /// Path of its cgroups below the mount of each hierarchy.
    pub(crate) cgroup: String,
    lock: PathBuf,
}

/// A cluster that is up. Tests read it: fields are added, not renamed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) bin: PathBuf,
    pub(crate) cgroup: String,
    pub(crate) dual_stack: bool,
    pub(crate) outside: Outside,
    pub(crate) nodes: Vec<Node>,
    /// Where Helm has installed sidestep.
    #[serde(default)]
    pub(crate) helm: Option<Helm>,
}

/// What it takes to install it once more, or otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Helm {
    pub(crate) program: PathBuf,
    pub(crate) chart: PathBuf,
    pub(crate) values: PathBuf,
    pub(crate) namespace: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outside {
    pub(crate) pid: i32,
    pub(crate) address: String,
    /// In a dual-stack cluster.
    pub(crate) address6: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) pid: i32,
    pub(crate) address: String,
    pub(crate) dir: PathBuf,
    pub(crate) cgroup: String,
    /// In front of a command, it runs in the node's namespaces.
    pub(crate) enter: Vec<String>,
}

impl Home {
    pub(crate) fn new(workspace: &Workspace, name: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !name.is_empty() && name.len() <= 20 && name.chars().all(fits) && !name.starts_with('-'),
            "--name {name}: 1 to 20 of a-z, 0-9 and -"
        );
        ensure!(
            !super::binaries::RESERVED.contains(&name),
            "--name {name}: the build has a directory of that name"
        );
        let root = workspace.target_for("cluster");
        let dir = root.join(name);
        // Two clones have a cluster `lab` each, cgroups are the machine's, and `sidestep-lab` is how the tests' begin.
        let cgroup =
            format!("/sidestep-cluster-{name}-{:08x}", fnv(dir.as_os_str().as_encoded_bytes()) & 0xffff_ffff);
        Ok(Self { name: name.to_owned(), lock: root.join(format!(".{name}.lock")), dir, cgroup })
    }

    /// Held while the cluster is made or unmade. A killed process holds nothing.
    pub(crate) fn lock(&self) -> Result<File> {
        if let Some(parent) = self.lock.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        let file = File::create(&self.lock).with_context(|| format!("create {}", self.lock.display()))?;
        if file.try_lock().is_err() {
            bail!(
                "cluster {} is being started or ended by another process; end that one first (Ctrl-C)",
                self.name
            );
        }
        Ok(file)
    }

    fn file(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }

    /// The cluster, if it was finished and still runs.
    pub(crate) fn living(&self) -> Option<Cluster> {
        let text = fs::read(self.file()).ok()?;
        let cluster: Cluster = serde_json::from_slice(&text).ok()?;
        // The pids are the cluster's while they are in its cgroups.
        let members = cgroup::members(&self.cgroup);
        cluster.nodes.iter().all(|node| members.contains(&node.pid)).then_some(cluster)
    }

    /// # Errors
    /// When there is no such cluster, with the command that makes one.
    pub(crate) fn read(&self) -> Result<Cluster> {
        self.living().with_context(|| {
            let name = if self.name == "lab" { String::new() } else { format!("--name {} ", self.name) };
            format!("cluster {} is not up; `cargo xtask cluster {name}up` starts it", self.name)
        })
    }

    pub(crate) fn write(&self, cluster: &Cluster) -> Result<()> {
        let text = serde_json::to_string_pretty(cluster).context("write cluster.json")?;
        write(&self.file(), &format!("{text}\n"))
    }
}

impl Cluster {
    pub(crate) fn node(&self, number: usize) -> Result<&Node> {
        let last = self.nodes.len();
        let index = number.checked_sub(1).context("nodes are counted from 1")?;
        self.nodes.get(index).with_context(|| format!("--node {number}: the nodes are 1 to {last}"))
    }
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, text).with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("create {}", path.display()))
}

/// FNV-1a: stable between compilers, which std's hasher does not promise.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
