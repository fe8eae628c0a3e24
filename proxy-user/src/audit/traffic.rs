//! Connections that were seen, from the flow records: who reached a port, and how.

use std::collections::{BTreeMap, HashMap};

use proxy_common::flow::{Direction, Hop};
use proxy_plane::flows::{self, Filter, Flow};

/// Live and recent connections by port and way: `inbound` to the sidecar, `lo`, `eth0` and `tproxy` from it to the
/// application, `direct` without it.
#[derive(Debug, Default)]
pub(super) struct Traffic(BTreeMap<u16, BTreeMap<&'static str, u64>>);

impl Traffic {
    /// Of an attached workload; nothing where connections are not observed. It is evidence, no premise: an audit
    /// does without.
    pub(super) fn of(workload: &str) -> Self {
        let filter = Filter { workloads: vec![workload.to_owned()], ..Filter::default() };
        Self::count(&seen(&filter))
    }

    /// Of every attached workload, in one look.
    pub(super) fn of_each() -> HashMap<String, Self> {
        let mut of_each: HashMap<String, Vec<Flow>> = HashMap::new();
        for flow in seen(&Filter::default()) {
            of_each.entry(flow.workload.to_string()).or_default().push(flow);
        }
        of_each.into_iter().map(|(workload, flows)| (workload, Self::count(&flows))).collect()
    }

    pub(super) fn count(flows: &[Flow]) -> Self {
        let mut seen = Self::default();
        for flow in flows {
            let (port, way) = match (flow.hop, flow.forward) {
                (Hop::Inbound, _) => (flow.original_destination.port(), "inbound"),
                (Hop::Inner, Some(forward)) => (flow.server.port(), forward.name()),
                (Hop::Direct, _) if flow.direction == Direction::Inbound => (flow.server.port(), "direct"),
                _ => continue,
            };
            *seen.0.entry(port).or_default().entry(way).or_default() += 1;
        }
        seen
    }

    /// Those of these ways to a port.
    pub(super) fn to(&self, port: u16, ways: &[&str]) -> BTreeMap<&'static str, u64> {
        let all = self.0.get(&port).into_iter().flatten();
        all.filter(|(way, _)| ways.contains(way)).map(|(way, count)| (*way, *count)).collect()
    }
}

fn seen(filter: &Filter) -> Vec<Flow> {
    flows::recent(filter).unwrap_or_else(|error| {
        tracing::warn!("no connections as evidence: {error:#}");
        Vec::new()
    })
}
