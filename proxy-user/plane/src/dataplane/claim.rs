//! Whose a namespace is: what is left of a dead workload is cleared away, a living one is not taken over.

use anyhow::Result;
use proxy_common::names::map;
use proxy_core::exit::{Class, Failure};

use super::{
    kept::Kept, meta::Meta, pins::WorkloadPins, presence::hangs_on_nothing, readers, release,
    workloads::Workloads,
};
use crate::netns::netns_of;

/// Why what is left goes.
const STALE: &str = "its network namespace or its cgroup is gone, or its pins could not be read";

/// Makes room for an attach, or says who is in the way.
pub(super) fn clear(table: Option<&Workloads>, pins: &WorkloadPins, cookie: Option<u64>) -> Result<()> {
    forget_stale(pins, cookie)?;
    let Some(table) = table else { return Ok(()) };
    refuse_second_owner(table, pins, cookie)?;
    refuse_second_namespace(table, pins)
}

/// Namespace numbers are used again: pins of a namespace that is gone are not this workload's. A cookie tells, from Linux
/// 5.14 on; in any case the link to a namespace that is gone hangs on nothing.
fn forget_stale(pins: &WorkloadPins, cookie: Option<u64>) -> Result<()> {
    if !pins.exists() {
        return Ok(());
    }
    let stale = match Kept::read(pins) {
        Ok(old) => old.netns_cookie != cookie || hangs_on_nothing(pins)?,
        Err(error) => {
            tracing::warn!(
                workload = pins.name(),
                error = format!("{error:#}"),
                "unreadable pins are replaced"
            );
            true
        }
    };
    if stale { release::workload(pins, Some(STALE)) } else { Ok(()) }
}

/// Two sets of rules for one namespace would both decide. What is left of a namespace or cgroup that is gone is removed.
fn refuse_second_owner(table: &Workloads, pins: &WorkloadPins, cookie: Option<u64>) -> Result<()> {
    let meant = |other: &WorkloadPins| {
        other.netns_inode() == pins.netns_inode() && other.cgroup_id() != pins.cgroup_id()
    };
    for other in attached(table, meant) {
        let alive = Meta::read(&other.map(map::META))
            .is_ok_and(|old| old.netns_cookie == cookie && old.cgroup_exists());
        if !alive || hangs_on_nothing(&other)? {
            release::workload(&other, Some(STALE))?;
            continue;
        }
        return Err(Failure::error(
            Class::Usage,
            format!(
                "this network namespace is attached already with another cgroup (workload {}): run \
                 `sidestep detach --netns PATH` first",
                other.name()
            ),
        ));
    }
    Ok(())
}

/// A cgroup says one slot: of two namespaces in it, processes in the other one would be left alone. A sandbox that was made
/// again has the cgroup of the one before, in whose namespace nobody is any more.
fn refuse_second_namespace(table: &Workloads, pins: &WorkloadPins) -> Result<()> {
    let meant = |other: &WorkloadPins| {
        other.cgroup_id() == pins.cgroup_id() && other.netns_inode() != pins.netns_inode()
    };
    for other in attached(table, meant) {
        let Some(pid) = Meta::read(&other.map(map::META)).ok().and_then(|meta| process_in(&meta)) else {
            release::workload(&other, Some("its cgroup has another network namespace"))?;
            continue;
        };
        return Err(Failure::error(
            Class::Usage,
            format!(
                "this cgroup is attached already with another network namespace (workload {}), and process {pid} is \
                 in both: run `sidestep detach --workload {0}` first, or give each namespace a cgroup of its own",
                other.name()
            ),
        ));
    }
    Ok(())
}

/// Those of the node's workloads that are meant.
fn attached(table: &Workloads, meant: impl Fn(&WorkloadPins) -> bool) -> Vec<WorkloadPins> {
    let all = table.taken().map(|(_, other)| WorkloadPins::of_entry(&other));
    all.filter(meant).collect()
}

/// A process of the workload's cgroup that is in its namespace.
fn process_in(meta: &Meta) -> Option<i32> {
    let found = readers::processes(&meta.cgroup_path).ok()?;
    found.into_iter().find(|pid| netns_of(*pid).is_ok_and(|inode| inode == meta.netns.ino))
}
