//! Which workload a caller means.

use std::fmt;

use anyhow::Result;
use proxy_common::names::map;
use proxy_core::{
    exit::{Class, Failure},
    harmless::harmless,
};

use super::{meta::Meta, pins::WorkloadPins, presence::namespace_is_gone};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadSelector {
    /// The workload that `sidestep status` names so, or the pod.
    Named(String),
    /// The workload of a network namespace, or of a namespace and a cgroup.
    At { netns: u64, cgroup: Option<u64> },
}

impl WorkloadSelector {
    /// The attached workloads that are meant. There may be more than one if no cgroup is named, and of a pod whose
    /// sandbox was made again.
    pub fn find(&self) -> Result<Vec<WorkloadPins>> {
        let mut found = WorkloadPins::all()?;
        match self {
            Self::Named(name) => return Ok(called(&found, name)),
            Self::At { netns, cgroup } => found.retain(|pins| {
                pins.netns_inode() == *netns && cgroup.is_none_or(|cgroup| cgroup == pins.cgroup_id())
            }),
        }
        Ok(found)
    }
}

/// The attached workloads of this name: `status` prints a name for each, and the pod it is, as NAMESPACE/NAME.
///
/// # Errors
/// There is none; says which there are.
pub fn attached_as(name: &str) -> Result<Vec<WorkloadPins>> {
    let all = WorkloadPins::all()?;
    let found = called(&all, name);
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> = all.iter().map(with_pod).collect();
    let there =
        if names.is_empty() { "none is".to_owned() } else { format!("attached: {}", names.join(", ")) };
    Err(Failure::error(Class::Usage, format!("no workload '{}' is attached; {there}", harmless(name))))
}

/// Of a pod those that are not gone, if there are any.
fn called(all: &[WorkloadPins], name: &str) -> Vec<WorkloadPins> {
    if let Some(found) = all.iter().find(|pins| pins.name() == name) {
        return vec![found.clone()];
    }
    if !name.contains('/') {
        return Vec::new();
    }
    let is_pod = |pins: &&WorkloadPins| pod(pins).is_some_and(|pod| pod == name);
    let found: Vec<WorkloadPins> = all.iter().filter(is_pod).cloned().collect();
    let (living, gone): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|pins| !namespace_is_gone(pins).unwrap_or(false));
    if living.is_empty() { gone } else { living }
}

fn pod(pins: &WorkloadPins) -> Option<String> {
    Meta::read(&pins.map(map::META)).ok()?.pod.map(|pod| pod.to_string())
}

fn with_pod(pins: &WorkloadPins) -> String {
    pod(pins).map_or_else(|| pins.name(), |pod| format!("{} ({pod})", pins.name()))
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
