//! A pod's cgroups: what its CPU was used for, and which CPU that is.

use std::fs;
use std::path::{Path, PathBuf};

use ::tests::cgroup;
use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::cluster::Cluster;

/// Where v1's controllers are mounted.
const V1: &str = "/sys/fs/cgroup";

#[derive(Debug)]
pub(crate) struct Account {
    /// cpuacct.usage, or cpu.stat where there is no cpuacct.
    usage: PathBuf,
    cpuset: Option<PathBuf>,
    /// In the unified hierarchy.
    pub(crate) cgroup: PathBuf,
}

impl Account {
    /// Of the pod with this uid; kubelet names its directory `pod<uid>` in every hierarchy.
    pub(crate) fn of(cluster: &Cluster, uid: &str) -> Result<Self> {
        let unified = cgroup::mount()?;
        let name = format!("pod{uid}");
        let in_hierarchy = |mount: &Path| {
            cluster.cgroup_in(mount).and_then(|dir| below(&dir).find(|dir| dir.ends_with(&name)))
        };
        let cgroup = in_hierarchy(&unified).with_context(|| format!("there is no cgroup {name}"))?;
        let v1 = |controller| in_hierarchy(&Path::new(V1).join(controller));
        let usage = v1("cpuacct").map(|dir| dir.join("cpuacct.usage"));
        Ok(Self { usage: usage.unwrap_or_else(|| cgroup.join("cpu.stat")), cpuset: v1("cpuset"), cgroup })
    }

    /// Microseconds its processes have run, ended ones included.
    pub(crate) fn used_us(&self) -> Result<f64> {
        let text =
            fs::read_to_string(&self.usage).with_context(|| format!("read {}", self.usage.display()))?;
        let (value, unit) = match text.lines().find_map(|line| line.strip_prefix("usage_usec ")) {
            Some(value) => (value, 1.0),
            None => (text.trim(), 1e3),
        };
        let value: f64 = value.parse().with_context(|| format!("no number in {}", self.usage.display()))?;
        Ok(value / unit)
    }

    /// By cpuset, which holds for what starts later as well; by affinity where there is none.
    pub(crate) fn pin(&self, cpu: usize) -> Result<()> {
        let Some(cpuset) = &self.cpuset else {
            return self.processes().into_iter().try_for_each(|pid| pin_threads(pid, cpu));
        };
        // The deepest first: no cpuset may be smaller than those in it.
        for dir in below(cpuset) {
            fs::write(dir.join("cpuset.cpus"), cpu.to_string())
                .with_context(|| format!("pin {} to CPU {cpu}", dir.display()))?;
        }
        Ok(())
    }

    /// Of all its containers.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        below(&self.cgroup).flat_map(|dir| cgroup::processes(&dir).unwrap_or_default()).collect()
    }
}

fn pin_threads(pid: Pid, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).context("name a CPU")?;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        if let Some(thread) = thread.file_name().to_str().and_then(|name| name.parse().ok()) {
            sched_setaffinity(Pid::from_raw(thread), &set).with_context(|| format!("pin thread {thread}"))?;
        }
    }
    Ok(())
}

/// `dir` and all in it, the deepest first.
fn below(dir: &Path) -> Box<dyn Iterator<Item = PathBuf>> {
    let inner: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    Box::new(inner.into_iter().flat_map(|dir| below(&dir)).chain([dir.to_path_buf()]))
}
