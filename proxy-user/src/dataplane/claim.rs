//! Whose a namespace is: what is left of a dead workload is cleared away, a living one is not taken over.

use anyhow::Result;
use proxy_common::names::map;

use super::{detach, meta::Meta, pins::WorkloadPins};
use crate::exit::{Class, Failure};

/// Makes room for an attach, or says who is in the way.
pub(super) fn clear(pins: &WorkloadPins, cookie: Option<u64>) -> Result<()> {
    forget_stale(pins, cookie)?;
    refuse_second_owner(pins, cookie)
}

/// Namespace numbers are used again: pins of a namespace that is gone are not this workload's.
fn forget_stale(pins: &WorkloadPins, cookie: Option<u64>) -> Result<()> {
    if !pins.exists() {
        return Ok(());
    }
    let stale = match Meta::read(&pins.map(map::META)) {
        Ok(old) => old.netns_cookie != cookie || old.layout != Meta::LAYOUT,
        Err(error) => {
            tracing::warn!(
                workload = pins.name(),
                error = format!("{error:#}"),
                "unreadable pins are replaced"
            );
            true
        }
    };
    if stale { detach::remove_workload(pins) } else { Ok(()) }
}

/// Two sets of programs on one namespace would both decide. Pins of a namespace or cgroup that is gone are removed.
fn refuse_second_owner(pins: &WorkloadPins, cookie: Option<u64>) -> Result<()> {
    for other in WorkloadPins::all()? {
        if other.netns_inode() != pins.netns_inode() || other == *pins {
            continue;
        }
        let alive = Meta::read(&other.map(map::META))
            .is_ok_and(|old| old.netns_cookie == cookie && old.cgroup_exists());
        if !alive {
            detach::remove_workload(&other)?;
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
