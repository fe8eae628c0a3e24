//! What is told to the history of what was done to a workload. It fails nothing: that it could not be kept is a warning.

use std::{net::IpAddr, time::Duration};

use proxy_core::config::{Accelerate, Change, Observe};

use super::{kept::Kept, meta::Meta, pins::WorkloadPins, warning::Warning};
use crate::history::{self, Action, Entry, GivenUp, Predecessor};

/// An attach, first or again. `earlier`: what another layout's build had.
pub(super) fn enrolled(
    pins: &WorkloadPins,
    old: Option<&Meta>,
    earlier: Option<&Kept>,
    new: &Meta,
    warnings: &[Warning],
) -> Option<Warning> {
    let other_version = old.filter(|old| old.version != new.version);
    let from = match (earlier, other_version) {
        (Some(kept), _) => Some((kept.version.clone(), kept.layout)),
        (None, Some(old)) => Some((old.version.clone(), old.layout)),
        (None, None) => None,
    };
    let changes = old.map(|old| differences(old, new)).unwrap_or_default();
    let action = match (&from, old) {
        (Some(_), _) => Action::TakenOver,
        (None, None) => Action::Attached,
        (None, Some(_)) if changes.is_empty() => Action::Renewed,
        (None, Some(_)) => Action::Changed,
    };
    append(&Entry {
        config_hash: Some(new.settings().hash()),
        changes,
        given_up: warnings.iter().filter_map(given_up).collect(),
        from: from.map(|(version, layout)| Predecessor { version, layout }),
        ..Entry::now(pins.name(), new.pod.as_ref(), action)
    })
}

/// Its addresses, routes or interfaces were looked at again.
pub(super) fn refreshed(pins: &WorkloadPins, old: &Meta, new: &Meta) {
    let addresses = |meta: &Meta| listed(meta.addresses.iter().map(IpAddr::to_string).collect());
    let interfaces =
        |meta: &Meta| listed(meta.interfaces.iter().map(|(index, _)| index.to_string()).collect());
    let routes = |meta: &Meta| meta.routes.len().to_string();
    let mut changes: Vec<Change> = Vec::new();
    if old.addresses != new.addresses {
        changes.push(change("addresses", addresses(old), addresses(new)));
    }
    if old.routes != new.routes {
        changes.push(change("number of routes", routes(old), routes(new)));
    }
    if old.interfaces != new.interfaces {
        changes.push(change("interfaces", interfaces(old), interfaces(new)));
    }
    warn(append(&Entry {
        config_hash: Some(new.settings().hash()),
        changes,
        ..Entry::now(pins.name(), new.pod.as_ref(), Action::Refreshed)
    }));
}

/// Its end, and why where nobody asked for it.
pub(super) fn released(pins: &WorkloadPins, was: Option<&Meta>, why: Option<&str>) {
    warn(append(&Entry {
        config_hash: was.map(|meta| meta.settings().hash()),
        reason: why.map(str::to_owned),
        ..Entry::now(pins.name(), was.and_then(|meta| meta.pod.as_ref()), Action::Detached)
    }));
}

/// For how long nothing of it is redirected; zero: a pause ends.
pub(super) fn paused(pins: &WorkloadPins, meta: &Meta, span: Duration) {
    let (action, reason) = if span.is_zero() {
        (Action::Resumed, None)
    } else {
        (Action::Paused, Some(format!("for {} s", span.as_secs_f64())))
    };
    looked_into(pins, meta, action, reason);
}

/// Somebody captures its messages.
pub(super) fn captured(pins: &WorkloadPins, meta: &Meta, port: Option<u16>) {
    looked_into(pins, meta, Action::Captured, port.map(|port| format!("port {port}")));
}

fn looked_into(pins: &WorkloadPins, meta: &Meta, action: Action, reason: Option<String>) {
    warn(append(&Entry {
        config_hash: Some(meta.settings().hash()),
        reason,
        ..Entry::now(pins.name(), meta.pod.as_ref(), action)
    }));
}

fn append(entry: &Entry) -> Option<Warning> {
    history::append(entry).err().map(|error| Warning::NotRecorded { why: format!("{error:#}") })
}

fn warn(warning: Option<Warning>) {
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
}

/// Settings that differ, and what the workload has or does without for another reason than these.
fn differences(old: &Meta, new: &Meta) -> Vec<Change> {
    let mut changes = old.settings().changes(&new.settings());
    let state =
        |without: &Option<String>| without.as_ref().map_or("yes".to_owned(), |why| format!("no: {why}"));
    let both = |is_wanted: fn(&Meta) -> bool| is_wanted(old) && is_wanted(new);
    let parts = [
        ("accelerated", both(accelerates), &old.not_accelerated, &new.not_accelerated),
        ("observed", both(observes), &old.not_observed, &new.not_observed),
        ("turnarounds measured", both(observes), &old.not_timed, &new.not_timed),
    ];
    for (part, is_wanted, before, after) in parts {
        if is_wanted && before != after {
            changes.push(change(part, state(before), state(after)));
        }
    }
    changes
}

fn accelerates(meta: &Meta) -> bool {
    meta.acceleration.mode != Accelerate::Off
}

fn observes(meta: &Meta) -> bool {
    meta.observe != Observe::Off
}

fn given_up(warning: &Warning) -> Option<GivenUp> {
    match warning {
        Warning::NotAccelerated { why } | Warning::NotAcceleratedYet { why } => {
            Some(GivenUp::new("acceleration", why))
        }
        Warning::NotObserved { why } => Some(GivenUp::new("observation", why)),
        Warning::NotTimed { why } => Some(GivenUp::new("turnarounds", why)),
        _ => None,
    }
}

fn change(setting: &str, before: String, after: String) -> Change {
    Change { setting: setting.to_owned(), before, after }
}

/// At most a few of them.
fn listed(all: Vec<String>) -> String {
    const MOST: usize = 8;
    match all.len() {
        0 => "none".to_owned(),
        1..=MOST => all.join(","),
        more => format!("{},... ({more} in all)", all[..MOST].join(",")),
    }
}
