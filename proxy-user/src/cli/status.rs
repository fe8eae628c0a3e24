//! `sidestep status`.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Result;
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use proxy_common::accel::Reason;
use proxy_core::harmless::harmless_path;
use proxy_plane::dataplane::{self, Hazardous, WorkloadStatus};

use super::Output;
use crate::out;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sidestep status --output json")]
pub(crate) struct StatusArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let (workloads, unreadable) = dataplane::status()?;
    match args.output {
        Output::Json => {
            out::json(serde_json::json!({ "schema": 1, "workloads": workloads, "unreadable": unreadable }))?;
        }
        Output::Table if workloads.is_empty() && unreadable.is_empty() => {
            out::line("no workload is attached")?
        }
        Output::Table if workloads.is_empty() => {}
        Output::Table => print_table(&workloads)?,
    }
    for line in &unreadable {
        out::complain(format!("{line}; run `sidestep attach` again, or `sidestep detach --workload NAME`"));
    }
    Ok(if unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_table(workloads: &[WorkloadStatus]) -> Result<()> {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["WORKLOAD", "MODE", "IP", "PROGRAMS", "CGROUP", "DECISIONS", "EVENTS", "ACCELERATED"]);
    for workload in workloads {
        let config = &workload.meta.config;
        table.add_row([
            name(workload),
            format!("{:?}", config.mode).to_uppercase(),
            if workload.meta.ipv6 { "4+6" } else { "4" }.to_owned(),
            programs(workload),
            harmless_path(&workload.meta.cgroup_path),
            counts(&workload.counters.rules),
            counts(&workload.counters.events),
            accelerated(workload),
        ]);
    }
    out::line(table)?;
    for workload in workloads {
        for Hazardous { program, reason } in &workload.meta.hazardous {
            let program = harmless_path(program);
            out::line(format!("{}: {program} stays on the stack: it {reason}", workload.workload))?;
        }
        if let Some(reason) = &workload.meta.not_observed {
            out::line(format!("{}: connections are not observed: {reason}", workload.workload))?;
        }
    }
    Ok(())
}

/// How many, and whether they are where they belong.
fn programs(workload: &WorkloadStatus) -> String {
    let count = workload.programs.len();
    match workload.gone {
        Some(gone) if gone.is_over() => format!("gone: {}; `sidestep prune`", gone.describe()),
        Some(gone) => format!("{count} ({}: attach again)", gone.describe()),
        None if workload.complete => count.to_string(),
        None => format!("{count} (incomplete: attach again)"),
    }
}

/// With the pod it is, where that is known.
fn name(workload: &WorkloadStatus) -> String {
    match &workload.meta.pod {
        Some(pod) => format!("{}\n{pod}", workload.workload),
        None => workload.workload.clone(),
    }
}

/// How much of the local connections' data skipped the stack, or why none does.
fn accelerated(workload: &WorkloadStatus) -> String {
    if let Some(reason) = &workload.meta.not_accelerated {
        return format!("no: {reason}");
    }
    let bytes: u64 = workload.acceleration.values().map(|traffic| traffic.bytes).sum();
    let redirected = workload.acceleration.get(Reason::Redirected.name()).map_or(0, |traffic| traffic.bytes);
    let mode = format!("{:?}", workload.meta.acceleration.mode).to_lowercase();
    match (u128::from(redirected) * 100).checked_div(u128::from(bytes)) {
        Some(share) => format!("{mode}: {share} % of {bytes} bytes"),
        None => mode,
    }
}

fn counts(counters: &BTreeMap<&'static str, u64>) -> String {
    let lines: Vec<String> = counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
    lines.join("\n")
}
