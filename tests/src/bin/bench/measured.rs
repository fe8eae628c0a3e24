//! Everything measured, and ratios between modes.

use serde::Serialize;

use crate::hook::HookCost;
use crate::machine::Machine;
use crate::mode::Mode;
use crate::stage::Run;
use crate::summary::Summary;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    RequestsPerSecond,
    P50,
    P99,
    CpuPerRequest,
}

impl Metric {
    pub(crate) fn of(self, run: &Run) -> f64 {
        match self {
            Self::RequestsPerSecond => run.requests_per_second,
            Self::P50 => run.p50_us,
            Self::P99 => run.p99_us,
            Self::CpuPerRequest => run.cpu_us_per_request,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct MeasuredMode {
    pub(crate) mode: Mode,
    pub(crate) runs: Vec<Run>,
}

impl MeasuredMode {
    pub(crate) fn summary(&self, metric: Metric) -> Option<Summary> {
        Summary::of(self.runs.iter().map(|run| metric.of(run)))
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct MeasuredCase {
    pub(crate) name: &'static str,
    pub(crate) setup: String,
    pub(crate) modes: Vec<MeasuredMode>,
    /// Of sidestep to the baseline, each round to the same round.
    pub(crate) ratios: Vec<Ratio>,
    /// Under sidestep; not of new connections, which stay out of the map.
    pub(crate) hook: Option<HookCost>,
}

/// A mode relative to the baseline.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) mode: Mode,
    pub(crate) to: Mode,
    pub(crate) requests_per_second: Option<Summary>,
    pub(crate) p50: Option<Summary>,
    pub(crate) p99: Option<Summary>,
    pub(crate) cpu_per_request: Option<Summary>,
}

impl MeasuredCase {
    pub(crate) fn mode(&self, mode: Mode) -> Option<&MeasuredMode> {
        self.modes.iter().find(|measured| measured.mode == mode)
    }

    /// `mode` relative to `to`, each round by itself: what disturbs a round disturbs both.
    pub(crate) fn ratio(&self, metric: Metric, mode: Mode, to: Mode) -> Option<Summary> {
        let (mode, to) = (self.mode(mode)?, self.mode(to)?);
        Summary::of(mode.runs.iter().zip(&to.runs).map(|(run, base)| metric.of(run) / metric.of(base)))
    }

    /// What the requests per second of sidestep to `to` would be if the sk_msg programs cost nothing: more is not to be
    /// had from them.
    pub(crate) fn most(&self, to: Mode) -> Option<f64> {
        let ratio = self.ratio(Metric::RequestsPerSecond, Mode::Sidestep, to)?;
        Some(ratio.median / (1.0 - self.hook?.cpu_share))
    }

    /// Every mode's ratios to `to`.
    pub(crate) fn ratios_to(&self, to: Mode) -> Vec<Ratio> {
        let of = |mode, metric| self.ratio(metric, mode, to);
        let modes = self.modes.iter().map(|measured| measured.mode).filter(|mode| *mode != to);
        modes
            .map(|mode| Ratio {
                mode,
                to,
                requests_per_second: of(mode, Metric::RequestsPerSecond),
                p50: of(mode, Metric::P50),
                p99: of(mode, Metric::P99),
                cpu_per_request: of(mode, Metric::CpuPerRequest),
            })
            .collect()
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) schema: u32,
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) seconds: u32,
    pub(crate) accelerate: String,
    pub(crate) baseline: Option<Mode>,
    pub(crate) cases: Vec<MeasuredCase>,
}

impl Measured {
    pub(crate) fn case(&self, name: &str) -> Option<&MeasuredCase> {
        self.cases.iter().find(|case| case.name == name)
    }
}
