//! `sidestep status`.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use proxy_core::{
    exit::{Class, Failure},
    harmless::harmless_path,
};
use proxy_plane::dataplane::{self, WorkloadPins, WorkloadStatus};
use serde_json::Value;

use super::{
    Output,
    status_share::{self, OfWorkload},
};
use crate::{out, sheet::Sheet};

/// Version of the JSON form; raised when a field changes its meaning or goes.
const SCHEMA: u32 = 2;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  sidestep status --output json\n  sidestep status --watch\n  \
    sidestep status --workload shop/reviews-0 --wait 30")]
pub(crate) struct StatusArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// Only this workload, by the name shown here, or its pod, as NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,

    /// Print again every so many seconds, until Ctrl-C or until nobody reads [default: 2]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,

    /// First wait until what is to be shown is attached and complete, at most so many seconds [default: 60]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    wait: Option<u64>,
}

const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &StatusArgs) -> Result<ExitCode> {
    if let Some(seconds) = args.wait {
        wait(args, Duration::from_secs(seconds))?;
    }
    let Some(seconds) = args.watch else {
        let (shown, unreadable) = shown(args)?;
        print(args, &shown, &unreadable)?;
        return Ok(if unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    };
    loop {
        let (shown, unreadable) = shown(args)?;
        out::begin_again();
        if !print(args, &shown, &unreadable)? {
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(Duration::from_secs(seconds));
    }
}

/// The workloads that are asked for, and those that cannot be read.
fn shown(args: &StatusArgs) -> Result<(Vec<WorkloadStatus>, Vec<String>)> {
    let (mut workloads, unreadable) = dataplane::status()?;
    let Some(name) = &args.workload else { return Ok((workloads, unreadable)) };
    let wanted: Vec<String> = dataplane::attached_as(name)?.iter().map(WorkloadPins::name).collect();
    workloads.retain(|workload| wanted.contains(&workload.workload));
    let of_wanted = |line: &String| wanted.iter().any(|name| line.starts_with(name.as_str()));
    Ok((workloads, unreadable.into_iter().filter(of_wanted).collect()))
}

fn wait(args: &StatusArgs, most: Duration) -> Result<()> {
    let end = Instant::now() + most;
    loop {
        let found = shown(args);
        // Without the rights to look there is nothing to wait for.
        let missing = match found {
            Err(error) if Class::of(&error) == Class::Permission => return Err(error),
            Err(error) => format!("{error:#}"),
            Ok((workloads, unreadable)) => match why_not_complete(&workloads, &unreadable) {
                None => return Ok(()),
                Some(why) => why,
            },
        };
        if Instant::now() >= end {
            let seconds = most.as_secs();
            return Err(Failure::error(Class::Other, format!("still not so after {seconds} s: {missing}")));
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn why_not_complete(workloads: &[WorkloadStatus], unreadable: &[String]) -> Option<String> {
    if let Some(line) = unreadable.first() {
        return Some(line.clone());
    }
    if workloads.is_empty() {
        return Some("no workload is attached".to_owned());
    }
    let open = workloads.iter().find(|workload| !workload.complete || workload.gone.is_some())?;
    Some(format!("workload {} is {}", open.workload, programs(open)))
}

/// False: nobody reads any more.
fn print(args: &StatusArgs, workloads: &[WorkloadStatus], unreadable: &[String]) -> Result<bool> {
    let shares = status_share::of(workloads)?;
    let reads = match args.output {
        Output::Json | Output::Yaml => args.output.document(&serde_json::json!({
            "schema": SCHEMA,
            "workloads": with_shares(workloads, &shares)?,
            "unreadable": unreadable,
        }))?,
        Output::Table if workloads.is_empty() && unreadable.is_empty() => {
            out::lines("no workload is attached\n")?
        }
        Output::Table if workloads.is_empty() => true,
        Output::Table => out::lines(&text(workloads, &shares))?,
    };
    for line in unreadable {
        out::complain(format!("{line}; run `sidestep attach` again, or `sidestep detach --workload NAME`"));
    }
    Ok(reads)
}

/// Each workload with what there is to say of its acceleration.
fn with_shares(workloads: &[WorkloadStatus], shares: &[OfWorkload]) -> Result<Vec<Value>> {
    let of = |(workload, of): (&WorkloadStatus, &OfWorkload)| -> Result<Value> {
        let mut value = serde_json::to_value(workload)?;
        value["share"] = serde_json::to_value(&of.share)?;
        value["stacked_by"] = serde_json::to_value(&of.programs)?;
        value["why"] = serde_json::to_value(&of.why)?;
        Ok(value)
    };
    workloads.iter().zip(shares).map(of).collect()
}

fn text(workloads: &[WorkloadStatus], shares: &[OfWorkload]) -> String {
    let mut sheet =
        Sheet::new(&["WORKLOAD", "MODE", "IP", "PROGRAMS", "CGROUP", "DECISIONS", "EVENTS", "ACCELERATED"]);
    for (workload, of) in workloads.iter().zip(shares) {
        sheet.add([
            name(workload),
            workload.meta.config.mode.name().to_owned(),
            if workload.meta.ipv6 { "4+6" } else { "4" }.to_owned(),
            programs(workload),
            harmless_path(&workload.meta.cgroup_path),
            counts(&workload.counters.rules),
            counts(&workload.counters.events),
            status_share::summary(workload, of),
        ]);
    }
    let mut text = format!("{sheet}\n");
    for (workload, of) in workloads.iter().zip(shares) {
        let mut lines = status_share::lines(workload, of);
        if let Some(reason) = &workload.meta.not_observed {
            lines.push(format!("connections are not observed: {reason}"));
        } else if let Some(reason) = &workload.meta.not_timed {
            lines.push(format!("turnarounds are not measured: {reason}"));
        }
        text.extend(lines.iter().map(|line| format!("{}: {line}\n", workload.workload)));
    }
    text
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
