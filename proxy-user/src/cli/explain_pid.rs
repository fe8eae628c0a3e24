//! A process as `explain --pid` sees it: whose calls they are, and whether a workload's programs see them.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use proxy_core::exit::{Class, Failure};
use proxy_plane::{cgroup, dataplane::WorkloadPins, netns::Netns};

pub(super) struct Process {
    pid: u32,
    /// uid and gid its new sockets have for `-m owner`.
    pub(super) owner: (u32, u32),
    netns: u64,
    cgroup: PathBuf,
}

/// Whose programs see what a process sends.
pub(super) enum SeenBy {
    Workload(WorkloadPins),
    /// Nobody's, and why; the workload of its namespace if there is one.
    Nobody {
        why: String,
        neighbour: Option<WorkloadPins>,
    },
}

impl Process {
    /// # Errors
    /// There is no such process, or it may not be looked at.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let read = |name: &str| {
            let path = proc.join(name);
            fs::read_to_string(&path).map_err(|error| {
                Failure::error(
                    Class::of_argument(&error),
                    format!("--pid {pid}: read {}: {error}", path.display()),
                )
            })
        };
        let (status, cgroups) = (read("status")?, read("cgroup")?);
        let id = |key: &str| {
            // Real, effective, saved, file system.
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().nth(3)?.parse().ok()
        };
        let owner =
            id("Uid:").zip(id("Gid:")).with_context(|| format!("--pid {pid}: its status tells no ids"))?;
        let relative = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
        let relative = relative.with_context(|| format!("--pid {pid} is in no cgroup2 hierarchy"))?;
        let cgroup = cgroup::mount_point()?.join(relative.trim_start_matches('/'));
        Ok(Self { pid, owner, netns: Netns::open(&proc.join("ns/net"))?.id().ino, cgroup })
    }

    pub(super) fn seen_by(&self) -> Result<SeenBy> {
        let all = WorkloadPins::all().context("list the attached workloads")?;
        let above = ids_above(&self.cgroup);
        let here = all.iter().find(|pins| pins.netns_inode() == self.netns);
        let inside = all.iter().find(|pins| above.contains(&pins.cgroup_id()));
        let Self { pid, netns, .. } = self;
        let cgroup = self.cgroup.display();
        Ok(match (here, inside) {
            (Some(here), Some(inside)) if here.name() == inside.name() => SeenBy::Workload(here.clone()),
            (Some(here), _) => SeenBy::Nobody {
                why: format!(
                    "process {pid} is in the namespace of workload {} and not in its cgroup, but in {cgroup}: what it \
                     connects is left alone (docs/limitations.md)",
                    here.name()
                ),
                neighbour: Some(here.clone()),
            },
            (None, Some(inside)) => SeenBy::Nobody {
                why: format!(
                    "process {pid} is in the cgroup of workload {} and in another network namespace ({netns}): it is \
                     left alone, and counted as other_netns",
                    inside.name()
                ),
                neighbour: None,
            },
            (None, None) => SeenBy::Nobody {
                why: format!(
                    "no workload is attached to the namespace ({netns}) or the cgroup ({cgroup}) of process {pid}"
                ),
                neighbour: None,
            },
        })
    }
}

/// Ids of a cgroup and of those it is in.
fn ids_above(cgroup: &Path) -> Vec<u64> {
    cgroup.ancestors().filter_map(|dir| fs::metadata(dir).ok()).map(|dir| dir.ino()).collect()
}
