//! Whose a namespace is: what is left of a dead workload is cleared away, a living one is not taken over.

use std::{fs, path::Path};

use anyhow::Result;
use proxy_common::names::map;

use super::{meta::Meta, node, pins::WorkloadPins, readers, release, takeover::Kept, workloads::Workloads};
use crate::exit::{Class, Failure};

/// Makes room for an attach, or says who is in the way.
pub(super) fn clear(node_dir: &Path, pins: &WorkloadPins, cookie: Option<u64>) -> Result<()> {
    forget_stale(pins, cookie)?;
    refuse_second_owner(node_dir, pins, cookie)?;
    refuse_second_namespace(node_dir, pins)
}

/// Namespace numbers are used again: pins of a namespace that is gone are not this workload's.
fn forget_stale(pins: &WorkloadPins, cookie: Option<u64>) -> Result<()> {
    if !pins.exists() {
        return Ok(());
    }
    let stale = match Kept::read(pins) {
        Ok(old) => old.netns_cookie != cookie,
        Err(error) => {
            tracing::warn!(
                workload = pins.name(),
                error = format!("{error:#}"),
                "unreadable pins are replaced"
            );
            true
        }
    };
    if stale { release::workload(pins) } else { Ok(()) }
}

/// Two sets of rules for one namespace would both decide. What is left of a namespace or cgroup that is gone is removed.
fn refuse_second_owner(node_dir: &Path, pins: &WorkloadPins, cookie: Option<u64>) -> Result<()> {
    if !node::is_whole(node_dir) {
        return Ok(());
    }
    let others: Vec<WorkloadPins> = Workloads::open(node_dir)?
        .taken()
        .filter(|(_, other)| u64::from(other.netns) == pins.netns_inode() && other.cgroup != pins.cgroup_id())
        .map(|(_, other)| WorkloadPins::of(other.netns.into(), other.cgroup))
        .collect();
    for other in others {
        let alive = Meta::read(&other.map(map::META))
            .is_ok_and(|old| old.netns_cookie == cookie && old.cgroup_exists());
        if !alive {
            release::workload(&other)?;
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
fn refuse_second_namespace(node_dir: &Path, pins: &WorkloadPins) -> Result<()> {
    if !node::is_whole(node_dir) {
        return Ok(());
    }
    let others: Vec<WorkloadPins> = Workloads::open(node_dir)?
        .taken()
        .filter(|(_, other)| other.cgroup == pins.cgroup_id() && u64::from(other.netns) != pins.netns_inode())
        .map(|(_, other)| WorkloadPins::of(other.netns.into(), other.cgroup))
        .collect();
    for other in others {
        let Some(pid) = Meta::read(&other.map(map::META)).ok().and_then(|meta| process_in(&meta)) else {
            release::workload(&other)?;
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

/// A process of the workload's cgroup that is in its namespace.
fn process_in(meta: &Meta) -> Option<i32> {
    let home = format!("net:[{}]", meta.netns.ino);
    let found = readers::processes(&meta.cgroup_path).ok()?;
    found.into_iter().find(|pid| {
        fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|link| link.as_os_str() == home.as_str())
    })
}
