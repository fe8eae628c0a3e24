//! Which workload a caller means.

use std::fmt;

use anyhow::Result;

use super::pins::WorkloadPins;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadSelector {
    /// The workload that `sidestep status` names so.
    Named(String),
    /// The workload of a network namespace, or of a namespace and a cgroup.
    At { netns: u64, cgroup: Option<u64> },
}

impl WorkloadSelector {
    /// The attached workloads that are meant. There is more than one only if no cgroup is named.
    pub fn find(&self) -> Result<Vec<WorkloadPins>> {
        let mut found = WorkloadPins::all()?;
        found.retain(|pins| match self {
            Self::Named(name) => pins.name() == *name,
            Self::At { netns, cgroup } => {
                pins.netns_inode() == *netns && cgroup.is_none_or(|cgroup| cgroup == pins.cgroup_id())
            }
        });
        Ok(found)
    }
}

impl fmt::Display for WorkloadSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "workload {name}"),
            Self::At { netns, cgroup: None } => write!(f, "network namespace {netns}"),
            Self::At { netns, cgroup: Some(cgroup) } => {
                write!(f, "network namespace {netns} with cgroup {cgroup}")
            }
        }
    }
}
