//! Where a pod is: its network namespace and its cgroup, opened. Nothing that a runtime says of a path is believed before
//! it has been looked at.

use std::path::Path;

use anyhow::{Result, ensure};
use proxy_plane::{cgroup::Cgroup, dataplane::WorkloadPins, netns::Netns};

use crate::{
    cgroup_of::{Absent, PodCgroups},
    pod::{Network, Pod},
};

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) netns: Netns,
    pub(crate) cgroup: Cgroup,
}

impl Place {
    pub(crate) fn open(pod: &Pod, cgroups: &PodCgroups, absent: Absent) -> Result<Self> {
        let Network::Own(path) = &pod.network else { anyhow::bail!("it uses the node's network") };
        let netns = Netns::open(path)?;
        ensure!(
            !netns.is_the_machines()?,
            "network namespace {}: this is the node's own, which is nobody's to redirect",
            path.display()
        );
        let cgroup = match &pod.cgroup {
            // Root has written the file, and may name any.
            Some(path) if pod.sandbox.is_of_file() => Cgroup::open(Path::new(path))?,
            told => Cgroup::open(&cgroups.find(told.as_deref(), &pod.uid, absent)?)?,
        };
        Ok(Self { netns, cgroup })
    }

    pub(crate) fn workload(&self) -> WorkloadPins {
        WorkloadPins::new(&self.netns, &self.cgroup)
    }
}
