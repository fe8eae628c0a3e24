//! What the agent knows and has done, for who asks.

use proxy_core::config::PodName;
use serde::Serialize;

use crate::{plugin::Plugin, pod::Complete};

/// Of the node.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub pods: Vec<PodReport>,
    #[serde(skip)]
    pub complete: Complete,
    #[serde(skip)]
    pub has_runtime: bool,
    pub counts: Counts,
    #[serde(skip)]
    pub plugin: Option<Plugin>,
}

/// Of one pod.
#[derive(Clone, Debug, Serialize)]
pub struct PodReport {
    pub pod: PodName,
    /// As Istio's metrics name it; None: its labels do not say it, or are not known yet.
    pub canonical_service: Option<String>,
    pub sandbox: String,
    pub workload: Option<String>,
    /// Of an enrolled one: why it would not be enrolled again, in words.
    pub kept: Option<String>,
    #[serde(flatten)]
    pub state: State,
}

/// What has become of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    Enrolled,
    LeftAlone {
        word: &'static str,
        reason: String,
    },
    /// Its namespace or its cgroup is not there.
    Waiting,
    Failed {
        why: String,
    },
}

impl State {
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::LeftAlone { .. } => "left_alone",
            Self::Waiting => "waiting",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Since the agent started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Before their first instruction.
    pub enrolled_at_add: u64,
    /// While they ran.
    pub enrolled_live: u64,
    pub updated: u64,
    pub released: u64,
    pub failed: u64,
    /// Sandboxes whose annotations the runtime did not tell the plugin.
    pub untold: u64,
}

impl Report {
    /// Not one pod of the node is undecided.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn ready(&self) -> Result<(), String> {
        if self.has_runtime && !self.complete.runtime {
            return Err("the container runtime has not told which pods there are".to_owned());
        }
        if let Some(missing) = self.plugin.as_ref().and_then(|plugin| plugin.missing.as_ref()) {
            return Err(format!("CNI plugin: {missing}"));
        }
        let waiting: Vec<String> = self
            .pods
            .iter()
            .filter(|pod| pod.state == State::Waiting)
            .map(|pod| pod.pod.to_string())
            .collect();
        if waiting.is_empty() { Ok(()) } else { Err(format!("not enrolled yet: {}", waiting.join(", "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its pods are listed before it has installed its plugin: one that starts in between would not be captured.
    #[test]
    fn it_is_not_ready_before_the_plugin_was_looked_at() {
        let with = |plugin| Report {
            pods: Vec::new(),
            complete: Complete { files: true, runtime: true },
            has_runtime: true,
            counts: Counts::default(),
            plugin,
        };
        assert!(with(Some(Plugin::unknown())).ready().unwrap_err().contains("nobody has looked yet"));
        assert_eq!(with(Some(Plugin { missing: None, ..Plugin::unknown() })).ready(), Ok(()));
        assert_eq!(with(None).ready(), Ok(()), "it is not the agent's");
    }
}
