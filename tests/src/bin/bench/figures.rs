//! The figures the project set itself, and whether they are met.

use serde::Serialize;

use crate::measured::{Measured, Metric};
use crate::mode::Mode;

#[derive(Clone, Copy)]
enum To {
    Baseline,
    Mode(Mode),
}

struct Figure {
    work: &'static str,
    mode: Mode,
    case: &'static str,
    metric: Metric,
    to: To,
    least: f64,
    aim: f64,
}

const fn rate(work: &'static str, case: &'static str, least: f64, aim: f64) -> Figure {
    Figure {
        work,
        mode: Mode::Sidestep,
        case,
        metric: Metric::RequestsPerSecond,
        to: To::Baseline,
        least,
        aim,
    }
}

/// What a pod gets by itself.
const fn installed(work: &'static str, case: &'static str, least: f64, aim: f64) -> Figure {
    Figure { mode: Mode::SidestepInstalled, ..rate(work, case, least, aim) }
}

/// Sidestep relative to iptables, requests per second unless the text says otherwise.
const FIGURES: &[Figure] = &[
    rate("keep-alive, 1 connection", "small-1", 1.40, 1.55),
    Figure { metric: Metric::P50, ..rate("keep-alive, 1 connection: p50", "small-1", 0.72, 0.62) },
    rate("keep-alive, 32 connections", "small-32", 1.80, 2.1),
    rate("1 MB bodies, 1 connection", "bulk-1", 2.0, 2.4),
    rate("1 MB bodies, 8 connections", "bulk-8", 1.9, 2.2),
    rate("new connection per request", "churn-8", 1.35, 1.5),
    rate("HTTP connection manager, 1 connection", "http-small-1", 1.30, 1.4),
    rate("HTTP connection manager, 32 connections", "http-small-32", 1.25, 1.4),
    rate("two Envoys on one node, 1 connection", "two-envoys-small-1", 1.45, 1.7),
    rate("two Envoys on one node, 32 connections", "two-envoys-small-32", 1.8, 2.2),
    Figure {
        to: To::Mode(Mode::None),
        ..rate("32 connections, to no sidecar at all", "small-32", 0.72, 0.85)
    },
    Figure { to: UNOBSERVED, ..rate("observed to not, 32 connections", "small-32", 0.97, 0.99) },
    Figure {
        mode: Mode::SidestepFollowed,
        to: UNOBSERVED,
        ..rate("flows followed to not observed, 32 connections", "small-32", 0.92, 0.97)
    },
    installed("by itself, meshed client, small: Node", "app-node-meshed-h2load", 1.30, 1.45),
    installed("by itself, meshed client, small: Go", "app-go-meshed-h2load", 1.30, 1.45),
    installed("by itself, meshed client, small: nginx", "app-nginx-meshed-h2load", 1.30, 1.45),
    installed("by itself, meshed client, small: asyncio", "app-asyncio-meshed-h2load", 1.30, 1.45),
    installed("by itself, client elsewhere, small: Node", "app-node-elsewhere-small", 1.08, 1.20),
    installed("by itself, client elsewhere, small: Go", "app-go-elsewhere-small", 1.08, 1.20),
    installed("by itself, client elsewhere, small: nginx", "app-nginx-elsewhere-small", 1.08, 1.20),
    installed("by itself, client elsewhere, 1 MB: Go", "app-go-elsewhere-bulk", 1.15, 1.35),
    installed("by itself, client elsewhere, 1 MB: nginx", "app-nginx-elsewhere-bulk", 1.15, 1.35),
    installed("by itself, client elsewhere, new: nginx", "app-nginx-elsewhere-churn", 1.02, 1.10),
];

const UNOBSERVED: To = To::Mode(Mode::SidestepUnobserved);

/// p99 may not be worse.
const P99_MOST: f64 = 1.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Aim,
    Pass,
    Miss,
    /// Not measured.
    Absent,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aim => "pass (aim)",
            Self::Pass => "pass",
            Self::Miss => "MISS",
            Self::Absent => "not measured",
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) work: String,
    pub(crate) least: f64,
    pub(crate) aim: f64,
    pub(crate) measured: Option<f64>,
    /// Requests per second of CPU: on a machine that is not quiet, the truer number.
    pub(crate) by_cpu: Option<f64>,
    pub(crate) verdict: Verdict,
}

/// Holds what was measured against every figure.
pub(crate) fn judge(measured: &Measured) -> Vec<Judged> {
    let mut all: Vec<Judged> = FIGURES.iter().map(|figure| figure.judge(measured)).collect();
    all.push(judge_p99(measured));
    all
}

impl Figure {
    fn judge(&self, measured: &Measured) -> Judged {
        let to = match self.to {
            To::Baseline => measured.baseline,
            To::Mode(mode) => Some(mode),
        };
        let ratio = to.and_then(|to| measured.case(self.case)?.ratio(self.metric, self.mode, to));
        let value = ratio.map(|summary| summary.median);
        // Times are better when smaller: the aim says which way.
        let reaches =
            |value: f64, bound: f64| if self.aim < self.least { value <= bound } else { value >= bound };
        let verdict = match value {
            None => Verdict::Absent,
            Some(value) if reaches(value, self.aim) => Verdict::Aim,
            Some(value) if reaches(value, self.least) => Verdict::Pass,
            Some(_) => Verdict::Miss,
        };
        let cpu = to.and_then(|to| measured.case(self.case)?.ratio(Metric::CpuPerRequest, self.mode, to));
        let rate = self.metric == Metric::RequestsPerSecond;
        Judged {
            work: self.work.to_owned(),
            least: self.least,
            aim: self.aim,
            measured: value,
            by_cpu: cpu.filter(|_| rate).map(|summary| 1.0 / summary.median),
            verdict,
        }
    }
}

/// The worst case counts.
fn judge_p99(measured: &Measured) -> Judged {
    let ratios = measured.cases.iter().filter_map(|case| {
        Some((case.name, case.ratio(Metric::P99, Mode::Sidestep, measured.baseline?)?.median))
    });
    let worst = ratios.max_by(|a, b| a.1.total_cmp(&b.1));
    let verdict = match worst {
        None => Verdict::Absent,
        Some((_, value)) if value <= P99_MOST => Verdict::Pass,
        Some(_) => Verdict::Miss,
    };
    let name = worst.map_or_else(String::new, |(name, _)| format!(" ({name})"));
    Judged {
        work: format!("p99, worst case{name}"),
        least: P99_MOST,
        aim: P99_MOST,
        measured: worst.map(|(_, value)| value),
        by_cpu: None,
        verdict,
    }
}
