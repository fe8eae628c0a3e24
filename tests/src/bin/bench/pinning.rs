//! Which CPUs things run on. What this thread starts inherits its CPUs, so it is this thread that is pinned.

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::case::Cpus;

/// The CPUs of a bench.
#[derive(Clone, Debug)]
pub(crate) struct Pinning {
    one: usize,
    two: Option<[usize; 2]>,
}

impl Pinning {
    /// `wanted`, or the last CPU this process may use; and that with the one before it.
    pub(crate) fn new(wanted: Option<usize>) -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("read the CPUs of this process")?;
        let cpus: Vec<usize> =
            (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
        let one = match wanted {
            Some(cpu) => {
                ensure!(cpus.contains(&cpu), "--cpu {cpu}: this process may use {cpus:?}");
                cpu
            }
            None => *cpus.last().context("no CPU")?,
        };
        let other = cpus.iter().rev().find(|cpu| **cpu != one);
        Ok(Self { one, two: other.map(|other| [*other, one]) })
    }

    /// The CPU of what runs on one.
    pub(crate) fn one(&self) -> usize {
        self.one
    }

    /// Whether there are CPUs enough.
    pub(crate) fn has(&self, cpus: Cpus) -> bool {
        cpus == Cpus::One || self.two.is_some()
    }

    /// Pins this thread and what it starts from now on.
    pub(crate) fn apply(&self, cpus: Cpus) -> Result<()> {
        let mut set = CpuSet::new();
        match (cpus, self.two) {
            (Cpus::Two, Some(two)) => two.iter().try_for_each(|cpu| set.set(*cpu))?,
            _ => set.set(self.one)?,
        }
        sched_setaffinity(Pid::from_raw(0), &set).context("pin to a CPU")
    }
}
