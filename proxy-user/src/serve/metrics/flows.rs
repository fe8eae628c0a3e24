use std::{collections::HashMap, fmt};

use prometheus_client::registry::Unit;
use proxy_common::flow::{Close, Histogram, Hop};
use proxy_plane::flows::{ClassTotals, Named, Share};

use super::{Family, Kind, Page, Snapshot, Source, Values};
use crate::serve::snapshot::names;

static CONNECTIONS: Family = Family {
    name: "connections",
    kind: Kind::Counter,
    unit: None,
    help: "TCP connections established, by hop (docs/flows.md)",
    labels: &["workload", "namespace", "direction", "hop", "forward"],
};

static CLOSED: Family = Family {
    name: "closed_connections",
    kind: Kind::Counter,
    unit: None,
    help: "TCP connections that ended, those never established too",
    labels: &["workload", "namespace", "direction", "hop", "forward", "reason"],
};

static ACTIVE: Family = Family {
    name: "active_flows",
    kind: Kind::Gauge,
    unit: None,
    help: "TCP connections that are open",
    labels: &["workload", "namespace", "direction", "hop", "forward"],
};

static BYTES: Family = Family {
    name: "flow",
    kind: Kind::Counter,
    unit: Some(Unit::Bytes),
    help: "Bytes of connections, open ones included, at the end that counts for the workload: what it sent and what \
           it received (redirected by another workload: only in that one's sent bytes)",
    labels: &["workload", "namespace", "direction", "hop", "forward", "way", "path"],
};

static CARRIED: Family = Family {
    name: "carried",
    kind: Kind::Counter,
    unit: Some(Unit::Bytes),
    help: "Bytes of connections, each counted once (between two workloads: at the one that sends), by what carried them: \
           the share that was redirected is redirected / (redirected + stacked)",
    labels: &["workload", "namespace", "direction", "hop", "forward", "path"],
};

static MESSAGES: Family = Family {
    name: "flow_messages",
    kind: Kind::Counter,
    unit: None,
    help: "Messages sent at the end that counts for the workload, while in the acceleration's map",
    labels: &["workload", "namespace", "direction", "hop", "forward", "path"],
};

static CONNECT: Family = Family {
    name: "connect_duration",
    kind: Kind::Histogram,
    unit: Some(Unit::Seconds),
    help: "From SYN to established; not of hop `direct`",
    labels: &["workload", "namespace", "direction", "hop", "forward"],
};

static HAND_OFF: Family = Family {
    name: "hand_off_duration",
    kind: Kind::Histogram,
    unit: Some(Unit::Seconds),
    help: "From established to taken by the server's process; not of hop `direct`",
    labels: &["workload", "namespace", "direction", "hop", "forward"],
};

static RECORDS: Family = Family {
    name: "flow_records",
    kind: Kind::Counter,
    unit: None,
    help: "Records of closed ends written to the node's journal, which readers follow",
    labels: &[],
};

static OVERWRITTEN: Family = Family {
    name: "flow_records_overwritten",
    kind: Kind::Counter,
    unit: None,
    help: "Of these the ones the journal holds no more: lost to readers that had not come by (no counter is)",
    labels: &[],
};

/// Of the kernel's buckets those whose upper ends are shown: 256 us, 8 and 262 ms. All of them would be most of the page.
const BOUNDS: [usize; 3] = [8, 13, 18];

#[derive(Debug)]
pub(super) struct Flows;

impl Source for Flows {
    fn families(&self) -> Vec<&'static Family> {
        vec![
            &CONNECTIONS,
            &CLOSED,
            &ACTIVE,
            &BYTES,
            &CARRIED,
            &MESSAGES,
            &CONNECT,
            &HAND_OFF,
            &RECORDS,
            &OVERWRITTEN,
        ]
    }

    fn values(&self) -> Vec<Values> {
        let of = |label, of, values| Values { label, of, values };
        let mut all =
            class_labels(&[&CONNECTIONS, &CLOSED, &ACTIVE, &BYTES, &CARRIED, &MESSAGES, &CONNECT, &HAND_OFF]);
        all.extend([
            of("reason", vec![&CLOSED], Close::ALL.iter().map(|v| (v.name(), v.describe())).collect()),
            of("way", vec![&BYTES], vec![("sent", "by this end"), ("received", "by this end")]),
            of(
                "path",
                vec![&BYTES, &MESSAGES],
                vec![("redirected", "past the stack"), ("stacked", "over the stack")],
            ),
            of(
                "path",
                vec![&CARRIED],
                vec![
                    ("redirected", "past the stack"),
                    ("stacked", "over the stack, though both ends are in workloads of this node"),
                    ("elsewhere", "over the stack, because one end is in no workload of this node"),
                ],
            ),
        ]);
        all
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let rows = rows(seen);
        let mut connections = page.family(&CONNECTIONS)?;
        each(&rows, |labels, of| connections.count(&labels, of.totals.opened))?;
        let mut closed = page.family(&CLOSED)?;
        each(&rows, |[a, b, c, d, e], of| {
            let mut reasons = Close::ALL.iter().zip(of.totals.closed).filter(|(_, count)| *count > 0);
            reasons.try_for_each(|(reason, count)| closed.count(&[a, b, c, d, e, reason.name()], count))
        })?;
        let mut active = page.family(&ACTIVE)?;
        each(&rows, |labels, of| active.gauge(&labels, of.active as f64))?;
        let mut bytes = page.family(&BYTES)?;
        each(&rows, |[a, b, c, d, e], of| {
            let carried = &of.totals.carried;
            for (way, path, count) in [
                ("sent", "redirected", carried.sent_redirected),
                ("sent", "stacked", carried.sent_stacked),
                ("received", "redirected", carried.received_redirected),
                ("received", "stacked", carried.received_stacked),
            ] {
                if count > 0 {
                    bytes.count(&[a, b, c, d, e, way, path], count)?;
                }
            }
            Ok(())
        })?;
        let mut carried = page.family(&CARRIED)?;
        each(&rows, |[a, b, c, d, e], of| {
            let share = Share::of_class(of.class, &of.totals.carried);
            let paths = [
                ("redirected", share.redirected),
                ("stacked", share.stacked),
                ("elsewhere", share.elsewhere),
            ];
            let mut paths = paths.into_iter().filter(|(_, count)| *count > 0);
            paths.try_for_each(|(path, count)| carried.count(&[a, b, c, d, e, path], count))
        })?;
        let mut messages = page.family(&MESSAGES)?;
        each(&rows, |[a, b, c, d, e], of| {
            let carried = &of.totals.carried;
            let paths = [("redirected", carried.messages_redirected), ("stacked", carried.messages_stacked)];
            let mut paths = paths.into_iter().filter(|(_, count)| *count > 0);
            paths.try_for_each(|(path, count)| messages.count(&[a, b, c, d, e, path], count))
        })?;
        let by_sidecar: Vec<Row<'_>> =
            rows.iter().filter(|(_, of)| of.class.hop() != Hop::Direct).copied().collect();
        let mut connect = page.family(&CONNECT)?;
        each(&by_sidecar, |labels, of| histogram(&mut connect, &labels, &of.totals.connect))?;
        let mut hand_off = page.family(&HAND_OFF)?;
        each(&by_sidecar, |labels, of| histogram(&mut hand_off, &labels, &of.totals.hand_off))?;
        page.family(&RECORDS)?.count(&[], seen.records.written)?;
        page.family(&OVERWRITTEN)?.count(&[], seen.records.overwritten)
    }
}

/// Values of the labels that tell classes apart, in these families.
pub(super) fn class_labels(of: &[&'static Family]) -> Vec<Values> {
    use proxy_common::flow::{Direction, Forward};
    let values = |label, values| Values { label, of: of.to_vec(), values };
    vec![
        values("direction", Direction::ALL.iter().map(|v| (v.name(), v.describe())).collect()),
        values("hop", Hop::ALL.iter().map(|v| (v.name(), v.describe())).collect()),
        values("forward", Forward::ALL.iter().map(|v| (v.name(), v.describe())).collect()),
    ]
}

/// Workload, namespace, direction, hop and forward, and what there was of it.
pub(super) type Row<'a> = ([&'a str; 5], &'a ClassTotals);

/// The classes that were in use: a node full of pods has many more that never are.
pub(super) fn rows<'a>(seen: &'a Snapshot) -> Vec<Row<'a>> {
    let workloads: HashMap<&str, [&str; 2]> =
        seen.workloads.iter().map(|workload| (workload.workload.as_str(), names(workload))).collect();
    let is_in_use = |of: &&ClassTotals| {
        of.active > 0 || of.totals.opened > 0 || of.totals.closed.iter().any(|count| *count > 0)
    };
    let in_use = seen.totals.iter().filter(is_in_use);
    let row = |of: &'a ClassTotals| {
        let ClassTotals { workload, class, .. } = of;
        let [name, namespace] = *workloads.get(workload.as_str())?;
        let forward = class.forward().map_or("", Named::label);
        Some(([name, namespace, class.direction().name(), class.hop().name(), forward], of))
    };
    in_use.filter_map(row).collect()
}

pub(super) fn each(
    rows: &[Row<'_>],
    mut write: impl FnMut([&str; 5], &ClassTotals) -> fmt::Result,
) -> fmt::Result {
    rows.iter().try_for_each(|(labels, of)| write(*labels, of))
}

fn histogram(samples: &mut super::page::Samples<'_>, labels: &[&str], of: &Histogram) -> fmt::Result {
    if of.buckets.iter().all(|count| *count == 0) {
        return Ok(());
    }
    let ends = BOUNDS.map(|bound| (seconds(bound), bound + 1));
    samples.coarser(labels, of.sum as f64 / 1e6, &of.buckets, ends)
}

/// The upper end of a bucket.
fn seconds(bucket: usize) -> f64 {
    (1u64 << bucket) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use proxy_common::flow::{BUCKETS, bucket};

    use super::*;

    /// Every duration is in the bucket whose bounds it lies between.
    #[test]
    fn the_bounds_are_those_of_the_kernels_buckets() {
        for (us, below) in
            [(0, 0.000_256), (255, 0.000_256), (256, 0.008_192), (8_191, 0.008_192), (8_192, 0.262_144)]
        {
            let shown = BOUNDS.into_iter().find(|bound| bucket(us) <= *bound).map(seconds);
            assert_eq!(shown, Some(below), "{us} us");
        }
        assert!(BOUNDS.iter().all(|bound| *bound < BUCKETS - 1));
        assert!(!BOUNDS.iter().any(|bound| bucket(1 << 18) <= *bound), "beyond all");
    }
}
