//! A metric family: what `/metrics` says of it, and `docs/metrics.md` after it.

use prometheus_client::{metrics::MetricType, registry::Unit};

/// In front of every name.
pub const PREFIX: &str = "sidestep";

/// One family. The exposition and the documentation are both made from this.
#[derive(Debug)]
pub struct Family {
    /// Without prefix, unit and suffix.
    pub name: &'static str,
    pub kind: Kind,
    /// Part of the exposed name.
    pub unit: Option<Unit>,
    pub help: &'static str,
    /// Bounded ones only: no process id, and no address but those of a workload's first resolvers.
    pub labels: &'static [&'static str],
}

/// The values a label can have, for the documentation.
#[derive(Debug)]
pub struct Values {
    pub label: &'static str,
    pub of: Vec<&'static Family>,
    /// Value and meaning.
    pub values: Vec<(&'static str, &'static str)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// A gauge that is always 1; its labels are the information.
    Info,
}

impl Family {
    /// The name Prometheus knows it by; a histogram's series append `_bucket`, `_sum` and `_count`.
    pub fn exposed_name(&self) -> String {
        let mut name = format!("{PREFIX}_{}", self.name);
        if let Some(unit) = &self.unit {
            name = format!("{name}_{}", unit.as_str());
        }
        match self.kind {
            Kind::Counter => name + "_total",
            Kind::Info => name + "_info",
            Kind::Gauge | Kind::Histogram => name,
        }
    }
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    pub(super) const fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }
}
