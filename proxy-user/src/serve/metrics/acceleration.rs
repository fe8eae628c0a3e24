use std::fmt;

use prometheus_client::registry::Unit;
use proxy_common::accel::Reason;
use proxy_plane::dataplane::Traffic;

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
    help: "Bytes of enrolled sockets: redirected past the stack, or left to it and why",
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

/// What a reason is counted for.
enum Counts {
    Messages(&'static str),
    Sockets,
}

fn counts(reason: Reason) -> Counts {
    match reason {
        Reason::Redirected => Counts::Messages("redirected"),
        Reason::Off
        | Reason::NoPeer
        | Reason::PeerGone
        | Reason::NotOpen
        | Reason::Draining
        | Reason::Limit
        | Reason::Memory
        | Reason::SmallStream
        | Reason::BlockingReader
        | Reason::UntrustedReader
        | Reason::EdgeReader => Counts::Messages("stacked"),
        Reason::Enrolled
        | Reason::NotEnrolled
        | Reason::Mptcp
        | Reason::BlockingSocket
        | Reason::ShortLived
        | Reason::Ktls => Counts::Sockets,
    }
}

/// Whether the reason is one of messages, not of sockets.
pub fn is_message(reason: Reason) -> bool {
    matches!(counts(reason), Counts::Messages(_))
}

impl Source for Acceleration {
    fn families(&self) -> Vec<&'static Family> {
        vec![&MESSAGES, &BYTES, &SOCKETS]
    }

    fn values(&self) -> Vec<Values> {
        let of = |sockets: bool| {
            let wanted = |reason: &&Reason| is_message(**reason) != sockets;
            Reason::ALL.iter().filter(wanted).map(|reason| (reason.name(), reason.describe())).collect()
        };
        vec![
            Values { label: "reason", of: vec![&MESSAGES, &BYTES], values: of(false) },
            Values { label: "reason", of: vec![&SOCKETS], values: of(true) },
        ]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        type Value = fn(&Traffic) -> u64;
        let messages: Value = |traffic| traffic.messages;
        let bytes: Value = |traffic| traffic.bytes;
        for (family, value) in [(&MESSAGES, messages), (&BYTES, bytes)] {
            let mut samples = page.family(family)?;
            each(seen, |[name, namespace], reason, traffic| match counts(reason) {
                Counts::Messages(path) => {
                    samples.count(&[name, namespace, path, reason.name()], value(traffic))
                }
                Counts::Sockets => Ok(()),
            })?;
        }
        let mut sockets = page.family(&SOCKETS)?;
        each(seen, |[name, namespace], reason, traffic| match counts(reason) {
            Counts::Messages(_) => Ok(()),
            Counts::Sockets => sockets.count(&[name, namespace, reason.name()], traffic.messages),
        })
    }
}

fn each(seen: &Snapshot, mut write: impl FnMut([&str; 2], Reason, &Traffic) -> fmt::Result) -> fmt::Result {
    for workload in &seen.workloads {
        for reason in Reason::ALL {
            let traffic = workload.acceleration.get(reason.name()).copied().unwrap_or_default();
            write(names(workload), *reason, &traffic)?;
        }
    }
    Ok(())
}
