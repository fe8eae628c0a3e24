//! Enrolment: idempotent, all or nothing.

mod create;
mod enrollment;
mod links;
mod survey;
mod update;
mod warm;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use proxy_common::{names::map, workload::SLOTS};

pub(super) use self::warm::warm;
use self::{
    enrollment::Enrollment,
    survey::{Survey, features},
};
use super::{
    accelerated,
    attach_options::{self, AttachOptions},
    claim,
    known::Known,
    lock::Lock,
    meta::Meta,
    observation,
    pins::WorkloadPins,
    readers::Trust,
    recorded, release,
    takeover::{self, Earlier},
    undo::Undo,
    warning::Warning,
    workloads::Workloads,
};
use crate::{cgroup::Cgroup, netns::Netns};

/// What an enrolment did.
#[derive(Debug)]
pub struct Enrolled {
    pub pins: WorkloadPins,
    /// The workload was there before and got new rules.
    pub updated: bool,
    /// What the user should know though it did not fail.
    pub warnings: Vec<Warning>,
}

pub(super) fn enroll(
    known: &Known,
    netns: &Netns,
    cgroup: &Cgroup,
    options: &AttachOptions,
) -> Result<Enrolled> {
    let pins = WorkloadPins::new(netns, cgroup);
    let mut found = Survey::of(known, &pins, netns, cgroup, options)?;

    let (root, lock) = Lock::take_making_root()?;
    let mut shared = Undo::default();
    shared.push("what workloads share", release::remove_if_unused);
    let (node_dir, earlier) = clear_the_way(known, &pins, found.cookie)?;
    if let Some(earlier) = &earlier {
        let earlier = earlier.clone();
        earlier.step_aside()?;
        shared.push("what another build has attached", move || earlier.step_back());
    }
    let old = Meta::read(&pins.map(map::META)).ok();
    let mut meta = found.describe(netns, cgroup, options);
    if let Some(old) = &old {
        meta.is_still(old);
    }
    let enrollment = Enrollment {
        root: &root,
        node_dir: &node_dir,
        known,
        pins: &pins,
        netns,
        cgroup,
        compiled: &found.compiled,
        guests: &found.guests,
    };
    loop {
        meta.not_accelerated.clone_from(&found.extras.plan.reason);
        meta.not_observed.clone_from(&found.extras.observed.reason);
        meta.not_timed.clone_from(&found.extras.not_timed);
        meta.not_guarded = found.extras.plan.not_guarded().map(str::to_owned);
        meta.hazardous = found.hazardous();
        meta.features = features(&found.compiled, &found.extras);
        let done = match &old {
            Some(old) => enrollment.update(&mut meta, old, &mut found.listeners),
            None => {
                let slot = earlier.as_ref().and_then(Earlier::slot);
                enrollment.create(&mut meta, slot, &mut found.listeners).map(|()| Vec::new())
            }
        };
        match done {
            Ok(warnings) => {
                found.warnings.extend(warnings);
                break;
            }
            Err(error) => found.extras.without_cause_of(error)?,
        }
    }
    // The workload is attached, whatever becomes of the other build's.
    shared.keep();
    found.passthrough6.keep();
    let record = |meta: &Meta, warnings: &[Warning]| {
        recorded::enrolled(&pins, old.as_ref(), earlier.as_ref().map(Earlier::kept), meta, warnings)
    };
    if let Some(earlier) = &earlier {
        earlier.finish(netns, &node_dir).inspect_err(|_| drop(record(&meta, &found.warnings))).context(
            "the workload is attached, and captured, but some of another version's attach is left; run attach again",
        )?;
    }
    drop(lock);

    let mut warnings = complete(found, netns, &node_dir, &meta, options);
    warnings.extend(record(&meta, &warnings));
    Ok(Enrolled { pins, updated: old.is_some() || earlier.is_some(), warnings })
}

/// Does what the workload can be captured without: its listeners say whose they are, and it is accelerated. What is
/// worth a warning is returned.
fn complete(
    mut found: Survey<'_>,
    netns: &Netns,
    node_dir: &Path,
    meta: &Meta,
    options: &AttachOptions,
) -> Vec<Warning> {
    let mut warnings = found.warnings;
    warnings.extend(found.extras.warnings());
    let (all, hidden) = found.listeners.counts();
    if hidden > 0 {
        warnings.push(Warning::HiddenListeners { all, hidden });
    }
    if found.extras.observed.is_on()
        && let Err(error) = observation::mark_listeners(netns, node_dir)
    {
        warnings.push(Warning::UnmarkedListeners { why: format!("{error:#}") });
    }
    let accelerated = (|| {
        if !found.extras.plan.is_on() {
            accelerated::switch_off(node_dir, meta.slot, &meta.addresses)?;
            return accelerated::publish(node_dir, meta.slot, &meta.addresses, false);
        }
        let programs = found.programs?;
        accelerated::trust(node_dir, &programs, &found.trusted)?;
        let guards = found.extras.plan.guards();
        let trust = Trust { programs: &programs, vouched: &found.trusted, guards };
        found.readers.mark_listeners(netns, &found.compiled.policy, node_dir, &trust, None)?;
        // Servers that stayed out may come in now.
        accelerated::forget_servers(node_dir, 0..SLOTS)?;
        accelerated::switch_on(
            node_dir,
            meta.slot,
            attach_options::switch(&options.acceleration, found.extras.plan.unknown_send(), meta.number),
            &meta.addresses,
        )
    })();
    // Redirection never depends on acceleration: the workload is attached, and its connections stay on the stack.
    if let Err(error) = accelerated {
        warnings.push(Warning::NotAcceleratedYet { why: format!("{error:#}") });
        let off = accelerated::switch_off(node_dir, meta.slot, &meta.addresses);
        warnings.extend(Warning::of_removing("what was accelerated before", off));
    }
    warnings
}

/// Removes what is in the workload's way. The node's directory is returned, and what a build of another layout has of
/// the workload.
fn clear_the_way(
    known: &Known,
    pins: &WorkloadPins,
    cookie: Option<u64>,
) -> Result<(PathBuf, Option<Earlier>)> {
    let node_dir = known.ensure_dir()?;
    let table = Workloads::if_there(&node_dir)?;
    if let Some(table) = &table {
        release::remains(table)?;
    }
    claim::clear(table.as_ref(), pins, cookie)?;
    takeover::clear_aside(pins)?;
    Ok((node_dir, Earlier::of(pins)))
}
