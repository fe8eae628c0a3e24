//! The numbers of `bench enroll`.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::NODE;
use crate::files;
use crate::machine::Machine;
use crate::spread::{Spread, Times};
use crate::svg::{self, Curve};

const ENROLL_MS: f64 = 5.0;
const ENROLL_P99_MS: f64 = 20.0;
const RELEASE_MS: f64 = 5.0;
const ONE_SHOT_MS: f64 = 60.0;
const ONE_SHOT_RSS: u64 = 25_000_000;
const BYTES: u64 = 150_000;
const FROM_NOTHING_MS: f64 = 1000.0;

#[derive(Debug, Serialize)]
pub(super) struct Level {
    others: usize,
    enroll_ms: Times,
    release_ms: Times,
}

impl Level {
    pub(super) fn of(others: usize, enroll: Vec<f64>, release: Vec<f64>) -> Self {
        Self { others, enroll_ms: Times::of(enroll), release_ms: Times::of(release) }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct OneShot {
    attach_ms: Times,
    most_resident_bytes: u64,
}

impl OneShot {
    pub(super) fn of(attach: Vec<f64>, rss: u64) -> Self {
        Self { attach_ms: Times::of(attach), most_resident_bytes: rss }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema: u32,
    pub(super) machine: Machine,
    pub(super) turns: usize,
    /// `Node::open`, with nothing pinned.
    pub(super) open_ms: f64,
    /// 110 workloads on an empty node, programs included.
    pub(super) from_nothing_ms: f64,
    pub(super) levels: Vec<Level>,
    pub(super) one_shot: OneShot,
    pub(super) kernel_bytes_per_workload: u64,
}

impl Report {
    pub(super) fn met(&self) -> bool {
        self.figures().iter().all(|(_, _, met)| *met)
    }

    /// What was aimed at, what was measured, and whether that is enough.
    fn figures(&self) -> Vec<(String, String, bool)> {
        let mut found = Vec::new();
        let mut add = |what: String, value: f64, most: f64, unit: &str| {
            found.push((
                format!("{what}, under {most:.0} {unit}"),
                format!("{value:.2} {unit}"),
                value < most,
            ));
        };
        for level in self.levels.iter().filter(|level| level.others == NODE) {
            add(format!("enrol with {NODE} there, median"), level.enroll_ms.spread.median, ENROLL_MS, "ms");
            add(format!("enrol with {NODE} there, p99"), level.enroll_ms.p99, ENROLL_P99_MS, "ms");
            add(
                format!("release with {NODE} there, median"),
                level.release_ms.spread.median,
                RELEASE_MS,
                "ms",
            );
        }
        let median = self.one_shot.attach_ms.spread.median;
        add(format!("one-shot attach with {NODE} there, median"), median, ONE_SHOT_MS, "ms");
        let mb = |bytes: u64| bytes as f64 / 1e6;
        add("its memory".into(), mb(self.one_shot.most_resident_bytes), mb(ONE_SHOT_RSS), "MB");
        let kb = |bytes: u64| bytes as f64 / 1e3;
        add("kernel memory of a workload".into(), kb(self.kernel_bytes_per_workload), kb(BYTES), "KB");
        add(format!("{NODE} workloads from nothing"), self.from_nothing_ms, FROM_NOTHING_MS, "ms");
        found
    }

    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        let Machine { kernel, cpu, cpus, commit, load_before, load_after, .. } = &self.machine;
        writeln!(
            out,
            "{commit}, Linux {kernel}, {cpus} x {cpu}, load {load_before} before and {load_after} after\n"
        )
        .ok();
        writeln!(out, "| workloads there | enrol, ms: median (quartiles) | p99 | release, ms | p99 |").ok();
        writeln!(out, "|---|---|---|---|---|").ok();
        for level in &self.levels {
            let [enroll, release] = [level.enroll_ms, level.release_ms].map(|times| {
                let Spread { median, lower, upper } = times.spread;
                format!("{median:.2} ({lower:.2} to {upper:.2}) | {:.2}", times.p99)
            });
            writeln!(out, "| {} | {enroll} | {release} |", level.others).ok();
        }
        writeln!(
            out,
            "\n`Node::open` on an empty node: {:.0} ms. {} turns a line.\n",
            self.open_ms, self.turns
        )
        .ok();
        writeln!(out, "| aim | measured | |\n|---|---|---|").ok();
        for (what, value, met) in self.figures() {
            writeln!(out, "| {what} | {value} | {} |", if met { "met" } else { "missed" }).ok();
        }
        out
    }

    fn chart(&self) -> String {
        let curve = |name: &str, colour, pick: fn(&Level) -> f64| Curve {
            name: name.to_owned(),
            colour,
            // A logarithm has no 0.
            points: self.levels.iter().map(|level| (level.others.max(1) as f64, pick(level))).collect(),
        };
        let curves = [
            curve("enrol, median", "#1f6fb2", |level| level.enroll_ms.spread.median),
            curve("enrol, p99", "#8fb8de", |level| level.enroll_ms.p99),
            curve("release, median", "#e8a838", |level| level.release_ms.spread.median),
        ];
        svg::curves(
            "Milliseconds to enrol and release a workload",
            "workloads on the node (1: none)",
            &curves,
        )
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        let (table, chart) = (self.markdown(), self.chart());
        files::write(dir, [("enroll.json", json), ("enroll.md", table), ("enroll.svg", chart)])
    }
}
