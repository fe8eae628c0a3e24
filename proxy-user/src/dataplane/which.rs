//! The workload a caller means.

use std::fmt;

use anyhow::Result;

use super::pins::WorkloadPins;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// As `sidestep status` names it.
    Named(String),
    /// That of a network namespace, or of it and a cgroup.
    At { netns: u64, cgroup: Option<u64> },
}

impl Which {
    /// Those that are attached; more than one only without a cgroup.
    pub fn find(&self) -> Result<Vec<WorkloadPins>> {
        let mut found = WorkloadPins::all()?;
        found.retain(|pins| match self {
            Which::Named(name) => pins.name() == *name,
            Which::At { netns, cgroup } => {
                pins.netns_inode() == *netns && cgroup.is_none_or(|cgroup| cgroup == pins.cgroup_id())
            }
        });
        Ok(found)
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Named(name) => write!(f, "workload {name}"),
            Which::At { netns, cgroup: None } => write!(f, "network namespace {netns}"),
            Which::At { netns, cgroup: Some(cgroup) } => {
                write!(f, "network namespace {netns} with cgroup {cgroup}")
            }
        }
    }
}
