//! All loads, and what they come to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::pair::Load;
use super::setting::Setting;
use super::way::{Way, Work};
use crate::options::MeshOptions;
use crate::spread::Spread;

#[derive(Debug, Serialize)]
pub(crate) struct Results {
    schema: u32,
    pub(crate) setting: Setting,
    pub(crate) turns: u32,
    pub(crate) seconds: f64,
    pub(crate) connections: u32,
    pub(crate) lines: Vec<Line>,
    pub(crate) loads: Vec<Load>,
}

/// One kind of load, one way. None: no load without errors.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) work: Work,
    pub(crate) way: Way,
    /// Turns without errors.
    pub(crate) counted: usize,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) requests_per_second: Option<Spread>,
    pub(crate) p50_us: Option<Spread>,
    pub(crate) p99_us: Option<Spread>,
    pub(crate) cpu_us_per_request: Option<Spread>,
    pub(crate) cpu_share: Option<Spread>,
    pub(crate) redirected_per_request: Option<Spread>,
    /// How many times as many requests a second as iptables in the same turn.
    pub(crate) rate_ratio: Option<Spread>,
    /// How many times iptables' CPU per request is that of this way, in the same turn: more is better.
    pub(crate) cpu_ratio: Option<Spread>,
    /// The same upside down, for the chart: less is better.
    pub(crate) cpu_share_of_base: Option<Spread>,
}

impl Results {
    pub(crate) fn of(setting: Setting, options: &MeshOptions, loads: Vec<Load>) -> Self {
        let each = Work::ALL.into_iter().flat_map(|work| Way::ALL.map(|way| (work, way)));
        let lines = each.map(|(work, way)| Line::of(work, way, &loads)).collect();
        let MeshOptions { turns, seconds, connections, .. } = *options;
        Self { schema: 1, setting, turns, seconds, connections, lines, loads }
    }
}

impl Line {
    fn of(work: Work, way: Way, loads: &[Load]) -> Self {
        let of = |way| loads.iter().filter(move |load| load.work == work && load.way == way);
        let good = || of(way).filter(|load| load.errors == 0 && load.requests > 0);
        let base =
            |turn| of(Way::BASE).find(|load| load.turn == turn && load.errors == 0 && load.requests > 0);
        let over = |value: fn(&Load) -> f64| Spread::of_any(good().map(value).collect());
        let ratio = |value: fn(&Load, &Load) -> f64| {
            Spread::of_any(good().filter_map(|load| Some(value(load, base(load.turn)?))).collect())
        };
        let mut faults = BTreeMap::new();
        for (fault, count) in of(way).flat_map(|load| &load.faults) {
            *faults.entry(fault.clone()).or_default() += count;
        }
        Self {
            work,
            way,
            counted: good().count(),
            requests: of(way).map(|load| load.requests).sum(),
            errors: of(way).map(|load| load.errors).sum(),
            faults,
            requests_per_second: over(|load| load.requests_per_second),
            p50_us: over(|load| load.p50_us),
            p99_us: over(|load| load.p99_us),
            cpu_us_per_request: over(|load| load.cpu_us_per_request),
            cpu_share: over(|load| load.cpu_share),
            redirected_per_request: over(|load| load.redirected_per_request),
            rate_ratio: ratio(|load, base| load.requests_per_second / base.requests_per_second),
            cpu_ratio: ratio(|load, base| base.cpu_us_per_request / load.cpu_us_per_request),
            cpu_share_of_base: ratio(|load, base| load.cpu_us_per_request / base.cpu_us_per_request),
        }
    }
}
