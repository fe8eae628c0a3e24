use std::fmt;

use prometheus_client::registry::Unit;
use proxy_common::accel::Reason;
use proxy_plane::{dataplane::Traffic, flows::Accounted};

use super::{Family, Kind, Page, Snapshot, Source, Values};
use crate::serve::snapshot::names;

static MESSAGES: Family = Family {
    name: "acceleration_messages",
    kind: Kind::Counter,
    unit: None,
    help: "Messages of enrolled sockets: redirected past the stack, or left to it and why",
    labels: &["workload", "namespace", "path", "reason"],
};

static BYTES: Family = Family {
    name: "acceleration",
    kind: Kind::Counter,
    unit: Some(Unit::Bytes),
    help: "Bytes that could be redirected (both ends in workloads of this node): redirected past the stack, or left to it \
           and why",
    labels: &["workload", "namespace", "path", "reason"],
};

static SOCKETS: Family = Family {
    name: "acceleration_sockets",
    kind: Kind::Counter,
    unit: None,
    help: "Sockets of local connections: enrolled, or left out and why",
    labels: &["workload", "namespace", "reason"],
};

#[derive(Debug)]
pub(super) struct Acceleration;

/// Whether messages and bytes are counted by the reason.
fn is_message(reason: Reason) -> bool {
    !matches!(reason, Reason::Enrolled | Reason::EnrolledToSend | Reason::Ktls | Reason::Elsewhere)
}

/// Whether sockets are: they entered the map, or stayed out.
fn is_socket(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Enrolled
            | Reason::EnrolledToSend
            | Reason::NotEnrolled
            | Reason::Mptcp
            | Reason::BlockingSocket
            | Reason::UntrustedReader
            | Reason::ShortLived
            | Reason::Ktls
    )
}

fn path(reason: Reason) -> &'static str {
    if reason == Reason::Redirected { "redirected" } else { "stacked" }
}

impl Source for Acceleration {
    fn families(&self) -> Vec<&'static Family> {
        vec![&MESSAGES, &BYTES, &SOCKETS]
    }

    fn values(&self) -> Vec<Values> {
        let of = |wanted: fn(Reason) -> bool| {
            let wanted = |reason: &&Reason| wanted(**reason);
            Reason::ALL.iter().filter(wanted).map(|reason| (reason.name(), reason.describe())).collect()
        };
        vec![
            Values { label: "reason", of: vec![&MESSAGES, &BYTES], values: of(is_message) },
            Values { label: "reason", of: vec![&SOCKETS], values: of(is_socket) },
        ]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let mut messages = page.family(&MESSAGES)?;
        each(seen, is_message, |[name, namespace], reason, traffic| {
            messages.count(&[name, namespace, path(reason), reason.name()], traffic.messages)
        })?;
        let mut bytes = page.family(&BYTES)?;
        for workload in &seen.workloads {
            let [name, namespace] = names(workload);
            let accounted = Accounted::of(name, &seen.totals, &workload.acceleration);
            for reason in Reason::ALL.iter().filter(|reason| is_message(**reason)) {
                let sum = match reason {
                    Reason::Redirected => accounted.share.redirected,
                    other => accounted.reasons.get(other.name()).copied().unwrap_or(0),
                };
                if sum > 0 || *reason == Reason::Redirected {
                    bytes.count(&[name, namespace, path(*reason), reason.name()], sum)?;
                }
            }
        }
        let mut sockets = page.family(&SOCKETS)?;
        each(seen, is_socket, |[name, namespace], reason, traffic| {
            sockets.count(&[name, namespace, reason.name()], traffic.sockets)
        })
    }
}

fn each(
    seen: &Snapshot,
    wanted: fn(Reason) -> bool,
    mut write: impl FnMut([&str; 2], Reason, &Traffic) -> fmt::Result,
) -> fmt::Result {
    for workload in &seen.workloads {
        for reason in Reason::ALL.iter().filter(|reason| wanted(**reason)) {
            match workload.acceleration.get(reason.name()) {
                Some(traffic) => write(names(workload), *reason, traffic)?,
                // Of the others what never happened has no series.
                None if matches!(reason, Reason::Redirected | Reason::Enrolled) => {
                    write(names(workload), *reason, &Traffic::default())?;
                }
                None => {}
            }
        }
    }
    Ok(())
}
