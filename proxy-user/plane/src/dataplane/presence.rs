//! Whether what was attached is still there: a pod goes without telling anybody.

use std::{io, os::fd::AsFd as _};

use anyhow::{Context as _, Result};
use proxy_common::names::program;
use serde::Serialize;

use super::{
    bpffs,
    kept::Kept,
    lock::Lock,
    meta::Meta,
    pins::WorkloadPins,
    release::{remove_if_unused, workload},
};
use crate::{
    netns::Netns,
    sys::{
        bpf_link::{self, AttachedTo},
        bpf_pin,
    },
};

/// What of a workload's place is gone for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gone {
    /// Its processes may live, in another namespace: nothing of it is captured any more.
    Netns,
    /// What leaves the namespace is not captured any more, what arrives is.
    Cgroup,
    Both,
}

impl Gone {
    /// `is_loose`: it hangs on no namespace.
    pub(super) fn of(pins: &WorkloadPins, meta: &Meta, is_loose: bool) -> Option<Self> {
        match (is_loose && !is_there(pins), meta.cgroup_exists()) {
            (false, true) => None,
            (false, false) => Some(Self::Cgroup),
            (true, true) => Some(Self::Netns),
            (true, false) => Some(Self::Both),
        }
    }

    pub const fn describe(self) -> &'static str {
        match self {
            Self::Netns => "its network namespace is gone",
            Self::Cgroup => "its cgroup is gone",
            Self::Both => "its network namespace and its cgroup are gone",
        }
    }

    /// Nothing comes to it any more, and nobody can look at it.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Netns | Self::Both)
    }
}

pub(super) fn namespace_is_gone(pins: &WorkloadPins) -> Result<bool> {
    Ok(hangs_on_nothing(pins)? && !is_there(pins))
}

/// Whether its namespace is where it was: a link that hangs on nothing may also have been detached by somebody.
fn is_there(pins: &WorkloadPins) -> bool {
    let is_same = |kept: Kept| Netns::open(&kept.netns_path).is_ok_and(|netns| netns.id() == kept.netns);
    Kept::read(pins).is_ok_and(is_same)
}

/// Whether the workload's inbound program hangs on no namespace. Another layout may have no link of this name.
pub(super) fn hangs_on_nothing(pins: &WorkloadPins) -> Result<bool> {
    let path = pins.link(program::INBOUND);
    let link = match bpf_pin::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.with_context(|| format!("open {}", path.display()))?,
    };
    let place = bpf_link::attached_to(link.as_fd()).with_context(|| format!("look at {}", path.display()))?;
    Ok(place == AttachedTo::Netns(0))
}

/// Removes the workloads whose network namespaces are gone, and what workloads shared if none is left. Returns which there
/// were.
pub fn prune() -> Result<Vec<WorkloadPins>> {
    bpffs::require()?;
    let Some(_lock) = Lock::take(&bpffs::root())? else { return Ok(Vec::new()) };
    let mut gone = Vec::new();
    for pins in WorkloadPins::all()? {
        if namespace_is_gone(&pins)? {
            workload(&pins, Some("its network namespace is gone"))?;
            gone.push(pins);
        }
    }
    // Also what an agent leaves that was killed and that nobody starts again.
    remove_if_unused()?;
    Ok(gone)
}
