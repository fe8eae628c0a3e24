use std::fmt;

use proxy_common::{counter::Event, verdict::Rule};

use super::{Family, Kind, Page, Snapshot, Source, Values};
use crate::serve::snapshot::names;

static DECISIONS: Family = Family {
    name: "decisions",
    kind: Kind::Counter,
    unit: None,
    help: "Connections and datagrams decided, by the row of the decision table (docs/decisions.md)",
    labels: &["workload", "namespace", "rule"],
};

static REFUSED: Family = Family {
    name: "refused_captures",
    kind: Kind::Counter,
    unit: None,
    help: "Captured connections that were refused instead of reaching the sidecar",
    labels: &["workload", "namespace", "reason"],
};

static EVENTS: Family = Family {
    name: "events",
    kind: Kind::Counter,
    unit: None,
    help: "What happened besides the decision and is no refusal",
    labels: &["workload", "namespace", "event"],
};

/// The events that are refusals.
const REFUSALS: [Event; 4] =
    [Event::NoListener, Event::OutboundRefused, Event::StorageFull, Event::GuestRefused];

/// Whether the event is a refused connection.
pub fn is_refusal(event: Event) -> bool {
    REFUSALS.contains(&event)
}

/// Something of a connection is lost.
fn is_loss(event: Event) -> bool {
    matches!(event, Event::PendingFull | Event::ListenerFull | Event::FlowNotKept)
}

fn events(refusals: bool) -> impl Iterator<Item = &'static Event> {
    Event::ALL.iter().filter(move |event| is_refusal(**event) == refusals)
}

#[derive(Debug)]
pub(super) struct Decisions;

impl Source for Decisions {
    fn families(&self) -> Vec<&'static Family> {
        vec![&DECISIONS, &REFUSED, &EVENTS]
    }

    fn values(&self) -> Vec<Values> {
        let of = |refusals| events(refusals).map(|event| (event.name(), event.describe())).collect();
        let rules = Rule::ALL.iter().map(|rule| (rule.name(), rule.describe())).collect();
        vec![
            Values { label: "rule", of: vec![&DECISIONS], values: rules },
            Values { label: "reason", of: vec![&REFUSED], values: of(true) },
            Values { label: "event", of: vec![&EVENTS], values: of(false) },
        ]
    }

    // What alerts ask for is there as 0: an increase from nothing to 1 would be no increase to Prometheus. Of the rest what
    // never happened has no series: a node full of pods has too many of them.
    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let mut decisions = page.family(&DECISIONS)?;
        for workload in &seen.workloads {
            let [name, namespace] = names(workload);
            for (rule, count) in &workload.counters.rules {
                decisions.count(&[name, namespace, rule], *count)?;
            }
        }
        for (family, refusals) in [(&REFUSED, true), (&EVENTS, false)] {
            let mut samples = page.family(family)?;
            for workload in &seen.workloads {
                let [name, namespace] = names(workload);
                for event in events(refusals) {
                    let count = workload.counters.events.get(event.name()).copied().unwrap_or(0);
                    if count > 0 || refusals || is_loss(*event) {
                        samples.count(&[name, namespace, event.name()], count)?;
                    }
                }
            }
        }
        Ok(())
    }
}
