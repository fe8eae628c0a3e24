//! What an agent answers (`/api/v1/node`), as far as it is shown here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Of one node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Answer {
    pub node: String,
    pub version: String,
    /// None: `sidestep serve` answers, which knows of no pods.
    pub agent: Option<Pods>,
    pub workloads: Vec<Workload>,
    /// Of what could be redirected; None: nothing could.
    pub percent: Option<u64>,
    pub unreadable: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Pods {
    pub pods: Vec<Pod>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Workload {
    pub workload: String,
    pub complete: bool,
    pub not_accelerated: Option<String>,
    pub not_observed: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Pod {
    pub pod: PodName,
    pub workload: Option<String>,
    /// Why it would not be enrolled again; an earlier agent does not say it.
    #[serde(default)]
    pub kept: Option<String>,
    #[serde(flatten)]
    pub state: State,
}

impl Pod {
    /// Why it is as it is, where there is something to say.
    pub fn why(&self) -> &str {
        self.kept.as_deref().unwrap_or_else(|| self.state.why())
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What has become of a pod.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    Enrolled,
    LeftAlone { word: String, reason: String },
    Waiting,
    Failed { why: String },
}

impl State {
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::LeftAlone { .. } => "left alone",
            Self::Waiting => "waiting",
            Self::Failed { .. } => "failed",
        }
    }

    /// Why, where there is something to say.
    pub fn why(&self) -> &str {
        match self {
            Self::LeftAlone { reason, .. } => reason,
            Self::Failed { why } => why,
            Self::Waiting => "its network or its cgroup is not there yet",
            Self::Enrolled => "",
        }
    }
}

impl Answer {
    /// In the order of their names.
    pub fn pods(&self) -> Vec<&Pod> {
        let mut pods: Vec<&Pod> = self.agent.iter().flat_map(|agent| &agent.pods).collect();
        pods.sort_by(|one, other| one.pod.cmp(&other.pod));
        pods
    }

    pub fn count(&self, is: impl Fn(&State) -> bool) -> usize {
        self.agent.iter().flat_map(|agent| &agent.pods).filter(|pod| is(&pod.state)).count()
    }

    /// What is not as it should be, a sentence each.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.agent.is_none() {
            faults.push("no agent answers, but `sidestep serve`, which knows of no pods".to_owned());
        }
        let failed = self.pods().into_iter().filter(|pod| matches!(pod.state, State::Failed { .. }));
        faults.extend(failed.map(|pod| format!("{}: {}", pod.pod, pod.state.why())));
        let open = self.workloads.iter().filter(|workload| !workload.complete);
        faults.extend(open.map(|workload| format!("{}: programs are missing", workload.workload)));
        faults.extend(self.unreadable.iter().cloned());
        faults
    }
}
