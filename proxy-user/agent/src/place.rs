//! Where a pod is: its network namespace and its cgroup, opened. Nothing that a runtime says of a path is believed before
//! it has been looked at.

use anyhow::{Result, ensure};
use proxy_plane::{cgroup::Cgroup, dataplane::WorkloadPins, netns::Netns};

use crate::{
    cgroup_of::Cgroups,
    pod::{Network, Pod},
};

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) netns: Netns,
    pub(crate) cgroup: Cgroup,
}

impl Place {
    /// Opens both. `may_make`: the pod's cgroup may not be there yet, as where no kubelet makes it.
    pub(crate) fn open(pod: &Pod, cgroups: &Cgroups, may_make: bool) -> Result<Self> {
        let Network::Own(path) = &pod.network else { anyhow::bail!("it uses the node's network") };
        let netns = Netns::open(path)?;
        ensure!(
            !netns.is_the_machines()?,
            "network namespace {}: this is the node's own, which is nobody's to redirect",
            path.display()
        );
        let cgroup = Cgroup::open(&cgroups.of(pod, may_make)?)?;
        Ok(Self { netns, cgroup })
    }

    pub(crate) fn workload(&self) -> WorkloadPins {
        WorkloadPins::new(&self.netns, &self.cgroup)
    }
}
