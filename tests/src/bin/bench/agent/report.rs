//! The numbers of `bench agent`.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::files;
use crate::machine::Machine;
use crate::spread::{Spread, Times};

#[derive(Debug, Serialize)]
pub(super) struct Idle {
    pub(super) seconds: f64,
    pub(super) cpu_percent: f64,
    pub(super) resident_bytes: u64,
    pub(super) scrape_ms: Times,
    /// Of many in a row.
    pub(super) scrape_again_ms: Times,
    pub(super) scrape_bytes: usize,
    /// What memory costs on this machine, after as long a pause and right behind that.
    pub(super) pages_ms: Times,
    pub(super) pages_again_ms: Times,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema: u32,
    pub(super) machine: Machine,
    pub(super) pods: u32,
    /// From exec until all are enrolled, with nothing pinned.
    pub(super) from_nothing_ms: Times,
    /// The same after a kill -9, with all pinned.
    pub(super) again_ms: Times,
    /// Around the plugin's process.
    pub(super) add_ms: Times,
    /// The same for a pod about which the plugin does not ask the agent.
    pub(super) passed_ms: Times,
    pub(super) idle: Idle,
}

impl Report {
    pub(super) fn met(&self) -> bool {
        self.figures().iter().all(|(_, _, met)| *met)
    }

    /// What was aimed at, what was measured, and whether that is enough.
    fn figures(&self) -> Vec<(String, String, bool)> {
        let mut found = Vec::new();
        let mut add = |what: &str, value: f64, most: f64, unit: &str| {
            found.push((format!("{what}, under {most} {unit}"), format!("{value:.2} {unit}"), value < most));
        };
        add("ADD, median", self.add_ms.spread.median, 20.0, "ms");
        add("ADD, p99", self.add_ms.p99, 100.0, "ms");
        add("all pods enrolled after a start, median", self.from_nothing_ms.spread.median, 3000.0, "ms");
        add("resident memory", self.idle.resident_bytes as f64 / 1e6, 60.0, "MB");
        add("of one CPU", self.idle.cpu_percent, 0.5, "%");
        add("a scrape, median", self.idle.scrape_ms.spread.median, 50.0, "ms");
        add("a scrape", self.idle.scrape_bytes as f64 / 1e6, 1.5, "MB");
        found
    }

    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        let Machine { kernel, cpu, cpus, commit, load_before, load_after, .. } = &self.machine;
        let pods = self.pods;
        writeln!(
            out,
            "{commit}, Linux {kernel}, {cpus} x {cpu}, load {load_before} before and {load_after} after, {pods} pods\n"
        )
        .ok();
        writeln!(out, "| what | ms: median (quartiles) | p99 |\n|---|---|---|").ok();
        for (what, times) in [
            ("the plugin's ADD of a pod with a sidecar", self.add_ms),
            ("the plugin's ADD of a pod without one", self.passed_ms),
            ("the agent's start until all running pods are enrolled", self.from_nothing_ms),
            ("its start after kill -9 until it knows that all are", self.again_ms),
            ("a scrape", self.idle.scrape_ms),
            ("a scrape, of 30 in a row", self.idle.scrape_again_ms),
            ("control: 1,000 pages of this bench's memory, touched after the same pause", self.idle.pages_ms),
            ("touched again right behind", self.idle.pages_again_ms),
        ] {
            let Spread { median, lower, upper } = times.spread;
            // A control of some microseconds is not nothing.
            let digits = if median < 0.1 { 3 } else { 1 };
            writeln!(
                out,
                "| {what} | {median:.digits$} ({lower:.digits$} to {upper:.digits$}) | {:.digits$} |",
                times.p99
            )
            .ok();
        }
        writeln!(out, "\nIdle for {:.0} s, with a scrape every 15 s.\n", self.idle.seconds).ok();
        writeln!(out, "| aim | measured | |\n|---|---|---|").ok();
        for (what, value, met) in self.figures() {
            writeln!(out, "| {what} | {value} | {} |", if met { "met" } else { "missed" }).ok();
        }
        out
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        files::write(dir, [("agent.json", json), ("agent.md", self.markdown())])
    }
}
