//! A cgroup for the probes below the workload's: in Kubernetes the pod's own directory takes no processes
//! (Documentation/admin-guide/cgroup-v2.rst: no internal process constraint), and below it they are the workload's too.

use std::path::Path;

use anyhow::Result;
use proxy_plane::cgroup::TemporaryCgroup;

/// Drop the probes before it.
pub(super) fn below(cgroup: &Path) -> Result<TemporaryCgroup> {
    TemporaryCgroup::make(cgroup, "sidestep-verify-", "")
}
