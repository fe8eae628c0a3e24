//! The metrics, by source. Each writes families that it also declares: `docs/metrics.md` is made from the declarations,
//! and a test compares them with what a scrape shows.

mod acceleration;
mod agent;
mod around;
mod build;
mod decisions;
mod dns;
mod exposition;
mod family;
mod flow_log;
mod flows;
mod maps;
mod page;
mod programs;
mod scrape;
mod stuck;
mod turnarounds;
mod workloads;

use std::{
    fmt::{self, Debug},
    sync::Arc,
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use self::page::Page;
pub use self::{
    decisions::is_refusal,
    exposition::{Format, render},
    family::{Family, Kind, PREFIX, Values},
};
use super::snapshot::Snapshot;

/// One module's metrics.
pub trait Source: Debug + Send + Sync + 'static {
    /// All that [`Source::write`] writes.
    fn families(&self) -> Vec<&'static Family>;
    /// Whether `serve` shows none of it, but `run` does.
    fn is_the_agents(&self) -> bool {
        false
    }
    /// Labels whose values are fixed.
    fn values(&self) -> Vec<Values> {
        Vec::new()
    }
    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result;
}

/// In the order of the page.
pub static SOURCES: &[&dyn Source] = &[
    &build::Build,
    &workloads::Workloads,
    &agent::Agent,
    &decisions::Decisions,
    &flows::Flows,
    &turnarounds::Turnarounds,
    &dns::Dns,
    &stuck::Stuck,
    &around::Around,
    &flow_log::FlowLog,
    &acceleration::Acceleration,
    &maps::Maps,
    &programs::Programs,
    &scrape::Scrape,
];

/// A registry of what was seen.
fn registry(seen: &Arc<Snapshot>) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    for source in SOURCES {
        registry.register_collector(Box::new(Seen { source: *source, snapshot: Arc::clone(seen) }));
    }
    registry
}

#[derive(Debug)]
struct Seen {
    source: &'static dyn Source,
    snapshot: Arc<Snapshot>,
}

impl Collector for Seen {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.source.write(&mut Page::new(encoder), &self.snapshot)
    }
}
