//! `sidestep status`.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Result;
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use proxy_core::harmless::harmless_path;
use proxy_plane::dataplane::{self, WorkloadStatus};
use serde_json::Value;

use super::{
    Output,
    status_share::{self, OfWorkload},
};
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
    let shares = status_share::of(&workloads)?;
    match args.output {
        Output::Json => {
            out::json(serde_json::json!({
                "schema": 1,
                "workloads": with_shares(&workloads, &shares)?,
                "unreadable": unreadable,
            }))?;
        }
        Output::Table if workloads.is_empty() && unreadable.is_empty() => {
            out::line("no workload is attached")?
        }
        Output::Table if workloads.is_empty() => {}
        Output::Table => print_table(&workloads, &shares)?,
    }
    for line in &unreadable {
        out::complain(format!("{line}; run `sidestep attach` again, or `sidestep detach --workload NAME`"));
    }
    Ok(if unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Each workload with what there is to say of its acceleration.
fn with_shares(workloads: &[WorkloadStatus], shares: &[OfWorkload]) -> Result<Vec<Value>> {
    let of = |(workload, of): (&WorkloadStatus, &OfWorkload)| -> Result<Value> {
        let mut value = serde_json::to_value(workload)?;
        value["share"] = serde_json::to_value(&of.share)?;
        value["stacked_by"] = serde_json::to_value(&of.programs)?;
        Ok(value)
    };
    workloads.iter().zip(shares).map(of).collect()
}

fn print_table(workloads: &[WorkloadStatus], shares: &[OfWorkload]) -> Result<()> {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["WORKLOAD", "MODE", "IP", "PROGRAMS", "CGROUP", "DECISIONS", "EVENTS", "ACCELERATED"]);
    for (workload, of) in workloads.iter().zip(shares) {
        let config = &workload.meta.config;
        table.add_row([
            name(workload),
            format!("{:?}", config.mode).to_uppercase(),
            if workload.meta.ipv6 { "4+6" } else { "4" }.to_owned(),
            programs(workload),
            harmless_path(&workload.meta.cgroup_path),
            counts(&workload.counters.rules),
            counts(&workload.counters.events),
            status_share::summary(workload, of),
        ]);
    }
    out::line(table)?;
    for (workload, of) in workloads.iter().zip(shares) {
        for line in status_share::lines(workload, of) {
            out::line(format!("{}: {line}", workload.workload))?;
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

fn counts(counters: &BTreeMap<&'static str, u64>) -> String {
    let lines: Vec<String> = counters.iter().map(|(name, count)| format!("{name} {count}")).collect();
    lines.join("\n")
}
