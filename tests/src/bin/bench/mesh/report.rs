//! The results for people, at most 100 columns wide.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use super::chart;
use super::results::{Line, Results};
use super::setting::Setting;
use super::way::Way;
use crate::files;
use crate::machine::Machine;
use crate::spread::Spread;

const HEAD: [&str; 9] = ["load", "mode", "req/s", "p50 ms", "p99 ms", "CPU us", "less CPU", "rate", "redir."];

pub(crate) fn write(results: &Results, out: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(results)?;
    let (table, chart) = (markdown(results), chart::draw(results));
    files::write(out, [("mesh.json", json), ("mesh.md", table), ("mesh.svg", chart)])
}

pub(crate) fn markdown(results: &Results) -> String {
    let mut out = String::new();
    setting(&mut out, results);
    let rows: Vec<[String; 9]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(results.lines.iter().map(row)).collect();
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
        writeln!(out, "|{}", cells.collect::<String>()).ok();
        if index == 0 {
            let rules = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
            writeln!(out, "|{}", rules.collect::<String>()).ok();
        }
    }
    errors(&mut out, &results.lines);
    out
}

fn setting(out: &mut String, results: &Results) {
    let Setting { date, machine, cpu, kubernetes, istio, containerd } = &results.setting;
    let Machine { kernel, cpu: model, cpus, sidestep, commit, envoy, load_before, load_after, .. } = machine;
    let Results { turns, seconds, connections, .. } = results;
    let had: Vec<f64> = results.loads.iter().map(|load| load.cpu_share * 100.0).collect();
    let had = Spread::of(had);
    writeln!(out, "- {date}: Linux {kernel}, {cpus} x {model}, pods on CPU {cpu};").ok();
    writeln!(out, "  load average {load_before} before, {load_after} after").ok();
    writeln!(
        out,
        "- {sidestep} ({commit}), Kubernetes {kubernetes}, containerd {containerd}, Envoy {envoy},"
    )
    .ok();
    writeln!(out, "  Istio {istio}").ok();
    writeln!(
        out,
        "- {turns} turns of {seconds} s, {connections} connections; the pods had {:.0} % ({:.0} to {:.0}) of their CPU\n",
        had.median, had.lower, had.upper
    )
    .ok();
}

fn row(line: &Line) -> [String; 9] {
    let value = |spread: Option<Spread>, unit: f64, digits: usize| {
        spread.map_or_else(|| "-".to_owned(), |it| format!("{:.digits$}", it.median / unit))
    };
    let base = line.way == Way::BASE;
    let ratio = line.cpu_ratio.filter(|_| !base).map_or_else(
        || "-".to_owned(),
        |it| format!("{} ({}-{})", ratio_text(it.median), ratio_text(it.lower), ratio_text(it.upper)),
    );
    let name = if line.way == Way::ALL[0] { line.work.name() } else { "" };
    [
        name.to_owned(),
        line.way.name().to_owned(),
        value(line.requests_per_second, 1.0, 0),
        value(line.p50_us, 1e3, 2),
        value(line.p99_us, 1e3, 2),
        value(line.cpu_us_per_request, 1.0, 0),
        ratio,
        value(line.rate_ratio.filter(|_| !base), 1.0, 2),
        value(line.redirected_per_request.filter(|_| line.way.is_sidestep()), 1.0, 1),
    ]
}

/// Three digits are enough of a ratio.
fn ratio_text(ratio: f64) -> String {
    if ratio < 9.995 { format!("{ratio:.2}") } else { format!("{ratio:.1}") }
}

/// Every one is said: a load with errors is no figure.
fn errors(out: &mut String, lines: &[Line]) {
    let total: u64 = lines.iter().map(|line| line.errors).sum();
    let requests: u64 = lines.iter().map(|line| line.requests).sum();
    writeln!(out, "\n{requests} requests, {total} errors.").ok();
    for line in lines.iter().filter(|line| line.errors > 0) {
        let (work, way, counted) = (line.work.name(), line.way.name(), line.counted);
        writeln!(out, "- {work}, {way}: {} errors; {counted} turns without:", line.errors).ok();
        for (fault, count) in &line.faults {
            writeln!(out, "  - {count} times `{fault}`").ok();
        }
    }
}
