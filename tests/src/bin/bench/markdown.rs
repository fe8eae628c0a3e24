//! The result for people.

use std::fmt::Write;

use crate::figures::{Judged, Verdict};
use crate::hook::HookCost;
use crate::machine::Machine;
use crate::measured::{Measured, MeasuredCase, Metric};
use crate::mode::Mode;
use crate::summary::Summary;

/// Figures first, then every case.
pub(crate) fn render(measured: &Measured, judged: &[Judged]) -> String {
    let mut out = String::new();
    machine(&mut out, &measured.machine);
    let Measured { rounds, seconds, accelerate, .. } = measured;
    writeln!(out, "- {rounds} rounds of {seconds} s; sidestep with `--accelerate {accelerate}`\n").ok();
    figures(&mut out, judged);
    hooks(&mut out, measured);
    let base = measured.baseline;
    let to = base.map_or("nothing", Mode::name);
    writeln!(out, "### Every case\n\nRatios are to {to}, round by round: median (least to most).\n").ok();
    writeln!(
        out,
        "| case | mode | requests/s | ratio | p50 us (ratio) | p99 us (ratio) | CPU us/request (ratio) \
         | CPU had | redirected |\n|---|---|---|---|---|---|---|---|---|"
    )
    .ok();
    for case in &measured.cases {
        rows(&mut out, case, base);
    }
    out
}

fn machine(out: &mut String, machine: &Machine) {
    let Machine {
        kernel,
        cpu,
        cpus,
        sidestep,
        commit,
        envoy,
        nginx,
        wrk,
        h2load,
        iptables,
        load_before,
        load_after,
    } = machine;
    writeln!(out, "- Linux {kernel}, {cpus} x {cpu}; load average {load_before} before, {load_after} after")
        .ok();
    writeln!(out, "- {sidestep} ({commit}), Envoy {envoy}, {nginx}, {wrk}, {h2load}, {iptables}").ok();
}

fn figures(out: &mut String, judged: &[Judged]) {
    writeln!(out, "### Figures\n").ok();
    writeln!(out, "| work | at least | aim | measured | | per second of CPU |\n|---|---|---|---|---|---|")
        .ok();
    for figure in judged.iter().filter(|figure| figure.verdict != Verdict::Absent) {
        let Judged { work, least, aim, measured, by_cpu, verdict } = figure;
        let [measured, by_cpu] = [measured, by_cpu]
            .map(|value| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}")));
        writeln!(out, "| {work} | {least:.2} | {aim:.2} | {measured} | {} | {by_cpu} |", verdict.name()).ok();
    }
    writeln!(out).ok();
}

fn hooks(out: &mut String, measured: &Measured) {
    let cases = &measured.cases;
    if cases.iter().all(|case| case.hook.is_none()) {
        return;
    }
    writeln!(out, "### What the sk_msg programs cost a message\n").ok();
    writeln!(out, "By `BPF_ENABLE_STATS`, whose own cost is in it, in a run of its own.\n").ok();
    writeln!(out, "| case | messages | ns a message | share of the CPU | ratio | if they cost nothing |")
        .ok();
    writeln!(out, "|---|---|---|---|---|---|").ok();
    for case in cases {
        let Some(HookCost { messages, ns_per_message, cpu_share }) = case.hook else { continue };
        let ratio = |of: Option<f64>| of.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let base = measured.baseline;
        let now = base.and_then(|base| case.ratio(Metric::RequestsPerSecond, Mode::Sidestep, base));
        let [now, most] = [now.map(|it| it.median), base.and_then(|base| case.most(base))].map(ratio);
        let (name, share) = (case.name, cpu_share * 100.0);
        writeln!(out, "| `{name}` | {messages} | {ns_per_message:.0} | {share:.1} % | {now} | {most} |").ok();
    }
    writeln!(out).ok();
}

fn rows(out: &mut String, case: &MeasuredCase, base: Option<Mode>) {
    for (index, measured) in case.modes.iter().enumerate() {
        let name = if index == 0 { format!("`{}` {}", case.name, case.setup) } else { String::new() };
        let cell = |metric, digits: usize| {
            let value =
                measured.summary(metric).map_or_else(|| "-".into(), |it| format!("{:.digits$}", it.median));
            let ratio = base.and_then(|base| case.ratio(metric, measured.mode, base));
            (value, ratio)
        };
        let with_ratio = |metric, digits| match cell(metric, digits) {
            (value, Some(ratio)) => format!("{value} ({:.2})", ratio.median),
            (value, None) => value,
        };
        let (rate, ratio) = cell(Metric::RequestsPerSecond, 0);
        let share = |of: fn(&crate::stage::Run) -> f64| {
            let summary = Summary::of(measured.runs.iter().map(of));
            summary.map_or_else(String::new, |it| format!("{:.0} %", it.median * 100.0))
        };
        let redirected =
            if measured.mode.is_sidestep() { share(|run| run.redirected_share) } else { "-".into() };
        writeln!(
            out,
            "| {name} | {} | {rate} | {} | {} | {} | {} | {} | {redirected} |",
            measured.mode.name(),
            ratio.map_or_else(String::new, range),
            with_ratio(Metric::P50, 0),
            with_ratio(Metric::P99, 0),
            with_ratio(Metric::CpuPerRequest, 1),
            share(|run| run.cpu_share),
        )
        .ok();
    }
}

fn range(ratio: Summary) -> String {
    format!("**{:.2}** ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max)
}
