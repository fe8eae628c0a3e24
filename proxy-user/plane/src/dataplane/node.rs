//! The data plane of a node: programs and maps that are there once, and the workloads enrolled in it.

use anyhow::Result;

use super::{
    attach_options::AttachOptions,
    bpffs,
    enroll::{self, Enrolled},
    known::Known,
    lock::Lock,
    node_pins,
    pins::WorkloadPins,
    presence, privileges, refresh, release,
    shared_hold::SharedHold,
    warning::Warning,
};
use crate::{cgroup::Cgroup, netns::Netns};

/// What came of an attach.
#[derive(Debug)]
pub struct Attached {
    pub enrolled: Enrolled,
    /// Workloads whose namespaces are gone: they were removed.
    pub pruned: Vec<WorkloadPins>,
}

/// Enrols a workload in a process that does it once, and removes before what nobody will detach any more.
pub fn attach(netns: &Netns, cgroup: &Cgroup, options: &AttachOptions) -> Result<Attached> {
    let node = Node::open()?;
    // Where all others are gone, this one uses what they shared.
    let _held = node.hold()?;
    let pruned = presence::prune();
    let mut enrolled = node.enroll(netns, cgroup, options)?;
    let pruned = pruned.unwrap_or_else(|error| {
        enrolled.warnings.push(Warning::Left { what: "workloads that are gone", why: format!("{error:#}") });
        Vec::new()
    });
    Ok(Attached { enrolled, pruned })
}

/// What a process needs to enrol and release workloads; to be made once.
pub struct Node {
    known: Known,
}

impl Node {
    /// Asks the kernel what it has, unless somebody has left the answer with the pins.
    ///
    /// # Errors
    /// When the caller or the kernel lacks what a redirection needs.
    pub fn open() -> Result<Self> {
        privileges::check_caller()?;
        let known = match Known::pinned(&node_pins::dir()) {
            Some(known) => known,
            None => {
                privileges::check_kernel()?;
                Known::ask()?
            }
        };
        Ok(Self { known })
    }

    /// Enrols one workload, or gives it other rules if it is there. On error everything is as before, but for pins of this
    /// workload that nobody can read: those are removed first. An error that says "the workload is attached" is about what
    /// another version has left.
    pub fn enroll(&self, netns: &Netns, cgroup: &Cgroup, options: &AttachOptions) -> Result<Enrolled> {
        enroll::enroll(&self.known, netns, cgroup, options)
    }

    /// Loads the programs that workloads enrolled like this need, so that the first of them does not wait for it. They stay
    /// while the node is held.
    pub fn warm(&self, options: &AttachOptions, ipv6: bool) -> Result<()> {
        enroll::warm(&self.known, options, ipv6)
    }

    /// Keeps what workloads share, also while there are none, until the answer is dropped.
    pub fn hold(&self) -> Result<SharedHold> {
        let (_root, _lock) = Lock::take_making_root()?;
        SharedHold::on(&self.known.ensure_dir()?)
    }

    /// Looks at a workload's addresses, routes and interfaces again, and decides by them from now on. False: they are as
    /// they were.
    pub fn refresh(&self, workload: &WorkloadPins) -> Result<bool> {
        refresh::refresh(workload)
    }

    /// Takes one workload out. False: it was not there.
    pub fn release(&self, workload: &WorkloadPins) -> Result<bool> {
        let Some(_lock) = Lock::take(&bpffs::root())? else { return Ok(false) };
        let there = workload.exists();
        release::workload(workload, None)?;
        release::remove_if_unused()?;
        Ok(there)
    }
}
