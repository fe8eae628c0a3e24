//! Which workload a verb acts on.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use proxy_plane::{cgroup::Cgroup, dataplane::WorkloadSelector, netns::Netns};

#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Workload")]
pub(crate) struct PlaceArgs {
    /// Network namespace of the workload: /proc/<pid>/ns/net or /run/netns/<name> [default: the caller's]
    #[arg(long, value_name = "PATH")]
    pub(crate) netns: Option<PathBuf>,

    /// Its cgroup, below the cgroup2 mount [default: the caller's]
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<PathBuf>,
}

impl PlaceArgs {
    pub(crate) fn netns(&self) -> Result<Netns> {
        self.netns.as_deref().map_or_else(Netns::own, Netns::open)
    }

    pub(crate) fn cgroup(&self) -> Result<Cgroup> {
        self.cgroup.as_deref().map_or_else(Cgroup::own, Cgroup::open)
    }

    /// Whether the caller named anything.
    pub(crate) fn is_given(&self) -> bool {
        self.netns.is_some() || self.cgroup.is_some()
    }

    /// The attached workload that is meant: by its name if there is one. A namespace has one workload, so the
    /// caller's own cgroup is not looked at.
    pub(crate) fn selector(&self, name: Option<&str>) -> Result<WorkloadSelector> {
        if let Some(name) = name {
            return Ok(WorkloadSelector::Named(name.to_owned()));
        }
        let cgroup = self.cgroup.as_ref().map(|_| self.cgroup()).transpose()?;
        Ok(WorkloadSelector::At { netns: self.netns()?.id().ino, cgroup: cgroup.map(|cgroup| cgroup.id()) })
    }
}
