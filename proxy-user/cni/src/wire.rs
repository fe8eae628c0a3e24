//! One connection to the agent's socket is one question: the plugin writes a [`Request`] as JSON and closes its side,
//! the agent writes an [`Answer`] as JSON and closes the other. Neither is longer than [`LONGEST`].

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Where the agent listens when nobody says otherwise. Its owner, root, may connect, and nobody else.
pub const SOCKET: &str = "/run/sidestep/cni.sock";

/// Bytes of a request, and of an answer.
pub const LONGEST: usize = 1 << 20;

/// What the runtime has asked of the plugin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Command {
    Add,
    Del,
}

/// A pod as Kubernetes names it. Whoever reads it has to look at each text: a runtime passes them on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    /// Absent with runtimes that do not say it.
    pub uid: Option<String>,
}

/// What the plugin knows of a pod's sandbox, as the runtime has told it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    pub command: Command,
    /// `CNI_CONTAINERID`: the sandbox.
    pub container_id: String,
    /// `CNI_NETNS`: at DEL it may be gone.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`.
    pub interface: String,
    pub pod: Option<Pod>,
    /// `runtimeConfig["io.kubernetes.cri.pod-annotations"]`. None: the list's entry lacks the capability, or the runtime.
    pub annotations: Option<BTreeMap<String, String>>,
    /// `runtimeConfig.cgroupPath`, from the root of cgroup2: the pod's own cgroup.
    pub cgroup: Option<String>,
    /// `runtimeConfig.dns.Servers`: the pod's resolvers.
    pub dns_servers: Option<Vec<String>>,
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum Answer {
    /// Its traffic goes through its sidecar from the first instruction on.
    Enrolled,
    /// It has no sidecar that waits for that, or somebody has said so.
    LeftAlone { reason: String },
    /// Also when there was nothing to release.
    Released,
    /// The pod must not start like this.
    Failed { message: String },
}
