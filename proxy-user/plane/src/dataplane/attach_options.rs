//! How the user wants a workload to be attached.

use proxy_common::accel::{Switch, switch_flag};
use proxy_core::config::{Acceleration, Config, Observe, PodName};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug)]
pub struct AttachOptions {
    pub config: Config,
    pub acceleration: Acceleration,
    pub observe: Observe,
    /// The pod that the workload is, where the caller knows it.
    pub pod: Option<PodName>,
    /// The pod's sandbox, where it is the agent that enrols it.
    pub sandbox: Option<Sandbox>,
}

/// The sandbox of a container runtime that the agent has enrolled, and releases when it is gone. What somebody else has
/// attached has none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sandbox {
    pub id: String,
    /// Of the pod in Kubernetes.
    pub pod_uid: String,
}

/// The switch of a workload with this number; `unknown_send`: programs that are not known may take part, to send.
pub(super) fn switch(wanted: &Acceleration, unknown_send: bool, number: u32) -> Switch {
    let flags = if unknown_send { switch_flag::SENDS } else { 0 };
    Switch { enabled: 1, limit: wanted.inflight_limit, flags, number, paused_until: 0 }
}
