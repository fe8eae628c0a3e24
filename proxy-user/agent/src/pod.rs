//! What is known of a pod of this node, whoever has told it.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use proxy_core::config::{PodName, setting::STATUS};

/// The sandbox that a pod lives in: a pod that is restarted as a whole has another one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SandboxId(pub String);

/// In front of the name of a pod that a file lists. No runtime's ids have a slash.
const OF_FILE: &str = "static/";

impl SandboxId {
    /// Of a pod that a file lists.
    pub fn of_file(pod: &PodName) -> Self {
        Self(format!("{OF_FILE}{pod}"))
    }

    pub fn is_of_file(&self) -> bool {
        self.0.starts_with(OF_FILE)
    }
}

/// Whose lists have all that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Complete {
    pub files: bool,
    pub runtime: bool,
}

impl Complete {
    /// Whether a sandbox that is in no list is gone.
    pub fn covers(self, sandbox: &SandboxId) -> bool {
        if sandbox.is_of_file() { self.files } else { self.runtime }
    }
}

/// A pod's sandbox, and what of it decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pod {
    pub sandbox: SandboxId,
    pub name: PodName,
    /// Of the pod in Kubernetes; empty where nobody has said it.
    pub uid: String,
    pub annotations: BTreeMap<String, String>,
    /// None where the source does not tell them, as the CNI does not.
    pub labels: Option<BTreeMap<String, String>>,
    pub network: Network,
    /// The pod's cgroup, from the root of cgroup2, as the runtime says it; None: to be found by the pod's uid.
    pub cgroup: Option<String>,
    /// The pod's resolvers, where somebody has told them.
    pub dns_servers: Option<Vec<IpAddr>>,
    /// The sidecar's container, as soon as the runtime has one.
    pub proxy: Option<Proxy>,
}

impl Pod {
    /// One that no runtime lists. Who lists it waits for it to be captured, unless its annotations say otherwise.
    pub(crate) fn of_machine(name: PodName, netns: PathBuf, cgroup: &Path, waits_for: &[String]) -> Self {
        let waits = serde_json::json!({ "initContainers": waits_for }).to_string();
        Self {
            sandbox: SandboxId::of_file(&name),
            name,
            uid: String::new(),
            annotations: [(STATUS.annotation.to_owned(), waits)].into(),
            labels: Some(BTreeMap::new()),
            network: Network::Own(netns),
            cgroup: Some(cgroup.display().to_string()),
            dns_servers: None,
            proxy: None,
        }
    }
}

/// Where its connections begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Network {
    /// The node's own: such a pod is never captured.
    Host,
    Own(PathBuf),
}

/// The sidecar's container.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Proxy {
    /// As the container sees them: a user namespace makes others of them.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub env: BTreeMap<String, String>,
    pub args: Vec<String>,
}
