//! The numbers of `bench connect`.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::subject::{Decider, Subject, Way};
use crate::files;
use crate::machine::Machine;
use crate::spread::Spread;
use crate::svg::{self, Curve};

/// The decision may add so much to a connect.
const MOST_NS: f64 = 1000.0;
/// From 1 to 10,000 CIDRs it may grow by so much, which is noise.
const FLAT_NS: f64 = 500.0;

#[derive(Debug, Serialize)]
struct Line {
    decider: Decider,
    way: Way,
    connect_ns: Spread,
    /// More than without any program in the same round.
    added_ns: Option<Spread>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    machine: Machine,
    turns: usize,
    connects_per_turn: usize,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) fn of(machine: Machine, turns: usize, connects_per_turn: usize, subjects: &[Subject]) -> Self {
        let lines = subjects.iter().map(|subject| {
            let bare = subjects.iter().find(|other| {
                other.decider == Decider::Nothing && is_sidecar(other.way) == is_sidecar(subject.way)
            });
            let added = bare.filter(|_| subject.decider != Decider::Nothing).map(|bare| {
                Spread::of(
                    subject
                        .turns
                        .iter()
                        .zip(&bare.turns)
                        .map(|(with, without)| *with as f64 - *without as f64)
                        .collect(),
                )
            });
            Line {
                decider: subject.decider,
                way: subject.way,
                connect_ns: Spread::of(subject.turns.iter().map(|time| *time as f64).collect()),
                added_ns: added,
            }
        });
        let lines = lines.collect();
        Self { schema: 1, machine, turns, connects_per_turn, lines }
    }

    pub(crate) fn write(&self, out: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        let (table, chart) = (self.markdown(), self.svg());
        files::write(out, [("connect.json", json), ("connect.md", table), ("connect.svg", chart)])
    }

    fn added(&self, decider: Decider, way: Way) -> Option<f64> {
        let line = self.lines.iter().find(|line| line.decider == decider && line.way == way)?;
        Some(line.added_ns?.median)
    }

    fn figures(&self) -> Vec<(String, Option<f64>, f64)> {
        let ends = [Way::Excluded(1), Way::Excluded(10_000)].map(|way| self.added(Decider::Sidestep, way));
        let growth = match ends {
            [Some(one), Some(many)] => Some(many - one),
            _ => None,
        };
        vec![
            (
                "added to a connect of the sidecar".into(),
                self.added(Decider::Sidestep, Way::Sidecar),
                MOST_NS,
            ),
            ("added with 1 exclude CIDR".into(), ends[0], MOST_NS),
            ("added with 10,000 exclude CIDRs".into(), ends[1], MOST_NS),
            ("growth from 1 to 10,000".into(), growth, FLAT_NS),
        ]
    }

    pub(crate) fn met(&self) -> bool {
        self.figures().iter().all(|(_, value, most)| value.is_none_or(|value| value <= *most))
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        let Machine { kernel, cpu, cpus, commit, load_before, load_after, .. } = &self.machine;
        writeln!(
            out,
            "- Linux {kernel}, {cpus} x {cpu}; load average {load_before} before, {load_after} after"
        )
        .ok();
        writeln!(out, "- sidestep {commit}; {} turns of {} connects\n", self.turns, self.connects_per_turn)
            .ok();
        writeln!(out, "| figure | at most | measured | |\n|---|---|---|---|").ok();
        for (name, value, most) in self.figures() {
            let (text, verdict) = match value {
                None => ("-".to_owned(), "not measured"),
                Some(value) => (format!("{value:.0} ns"), if value <= most { "pass" } else { "MISS" }),
            };
            writeln!(out, "| {name} | {most:.0} ns | {text} | {verdict} |").ok();
        }
        writeln!(
            out,
            "\n| connect | decided by | median us | added us: median (quartiles) |\n|---|---|---|---|"
        )
        .ok();
        for line in &self.lines {
            let way = match line.way {
                Way::Sidecar => "sidecar to 127.0.0.1".to_owned(),
                Way::Excluded(_) if line.decider == Decider::Nothing => "app to outside".to_owned(),
                Way::Excluded(count) => format!("app to outside, last of {count} CIDRs"),
            };
            let added = line.added_ns.map_or_else(String::new, |added| {
                let [median, lower, upper] = [added.median, added.lower, added.upper].map(|ns| ns / 1000.0);
                format!("{median:.2} ({lower:.2} to {upper:.2})")
            });
            let median = line.connect_ns.median / 1000.0;
            writeln!(out, "| {way} | {} | {median:.2} | {added} |", line.decider.name()).ok();
        }
        out
    }

    /// Times with what a connect takes in any case.
    fn svg(&self) -> String {
        let curve = |decider: Decider, colour| Curve {
            name: decider.name().to_owned(),
            colour,
            points: self.points(decider),
        };
        let mut curves: Vec<Curve> = [
            (Decider::Sidestep, "#1f6fb2"),
            (Decider::IptablesLegacy, "#e8a838"),
            (Decider::IptablesNft, "#d1495b"),
        ]
        .map(|(decider, colour)| curve(decider, colour))
        .into_iter()
        .filter(|curve| !curve.points.is_empty())
        .collect();
        let bare = self.lines.iter().find(|line| line.decider == Decider::Nothing && !is_sidecar(line.way));
        if let (Some(bare), Some(first)) = (bare, curves.first()) {
            let median = bare.connect_ns.median / 1000.0;
            let points = first.points.iter().map(|(x, _)| (*x, median)).collect();
            curves.push(Curve { name: "no program".into(), colour: "#999999", points });
        }
        svg::curves(
            "median time of a connect in microseconds",
            "exclude CIDRs; the last one matches",
            &curves,
        )
    }

    fn points(&self, decider: Decider) -> Vec<(f64, f64)> {
        let lines = self.lines.iter().filter(|line| line.decider == decider);
        lines
            .filter_map(|line| match line.way {
                Way::Excluded(count) => Some((count as f64, line.connect_ns.median / 1000.0)),
                Way::Sidecar => None,
            })
            .collect()
    }
}

fn is_sidecar(way: Way) -> bool {
    way == Way::Sidecar
}
