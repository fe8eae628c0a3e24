//! `sidestep history`.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use clap::Args;
use proxy_core::{
    exit::{Class, Failure},
    harmless::harmless,
};
use proxy_plane::history::{self, Entry};

use super::{Output, span};
use crate::{out, sheet::Sheet, yaml};

/// Digits of a hash that tell workloads of a node apart.
const SHOWN: usize = 8;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep history --since 1d\n  \
    sidestep history --workload shop/reviews-0 --output json\n\n\
    The node keeps it in /run/sidestep/history.jsonl and one file before it, 2 MiB in all, until it boots.\n\
    SIDESTEP_HISTORY names another file, or none, for whoever attaches and for this.")]
pub(crate) struct HistoryArgs {
    /// Only this workload, as `sidestep status` names it, or its pod, as NAMESPACE/NAME; also one that is gone
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,

    /// Only what was done within this time: 30s, 5m, 2h, 1d
    #[arg(long, value_name = "DURATION", value_parser = span::parse)]
    since: Option<Duration>,

    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &HistoryArgs) -> Result<ExitCode> {
    let read = history::read()?;
    if read.unreadable > 0 {
        out::complain(format!("{} lines of the history are not of this version: left out", read.unreadable));
    }
    let mut entries = read.entries;
    if let Some(name) = &args.workload {
        check(name, &entries)?;
        entries.retain(|entry| entry.is_of(name));
    }
    let now = us(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?);
    if let Some(span) = args.since {
        entries.retain(|entry| entry.time >= now.saturating_sub(us(span)));
    }
    print(&entries, now, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// A name that nobody had is a slip.
fn check(name: &str, entries: &[Entry]) -> Result<()> {
    if entries.iter().any(|entry| entry.is_of(name)) {
        return Ok(());
    }
    let all: BTreeSet<String> =
        entries.iter().map(|entry| entry.pod_name().unwrap_or_else(|| entry.workload.clone())).collect();
    let known = match all.len() {
        0 => "it is empty".to_owned(),
        1..=10 => format!("it has {}", all.into_iter().collect::<Vec<_>>().join(", ")),
        more => format!("it has {more} workloads, see `sidestep history`"),
    };
    let text = format!("the history has no workload '{}'; {known}", harmless(name));
    Err(Failure::error(Class::Usage, text))
}

fn us(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn print(entries: &[Entry], now: u64, output: Output) -> Result<()> {
    if output == Output::Table {
        return if entries.is_empty() {
            out::line("nothing was done")
        } else {
            out::line(table(entries, now))
        };
    }
    let mut text = String::new();
    for entry in entries {
        let value = serde_json::to_value(entry).context("encode an entry")?;
        match output {
            Output::Yaml => text.push_str(&yaml::document(&value)),
            Output::Table | Output::Json => writeln!(text, "{value}")?,
        }
    }
    out::json_lines(&text).map(drop)
}

fn table(entries: &[Entry], now: u64) -> Sheet {
    let mut sheet = Sheet::unruled(&["WHEN UTC", "WORKLOAD", "ACTION", "BY", "CONFIG", "WHAT"]);
    for entry in entries {
        let hash = entry.config_hash.as_deref().unwrap_or("-");
        sheet.add([
            span::clock(entry.time, now),
            harmless(&entry.pod_name().unwrap_or_else(|| entry.workload.clone())).into_owned(),
            entry.action.word().to_owned(),
            harmless(&entry.by.who).into_owned(),
            hash.get(..SHOWN).unwrap_or(hash).to_owned(),
            what(entry),
        ]);
    }
    sheet
}

/// A line each.
fn what(entry: &Entry) -> String {
    let from = entry.from.iter().map(|from| format!("from {} (layout {})", from.version, from.layout));
    let changes = entry.changes.iter().map(ToString::to_string);
    let given_up = entry.given_up.iter().map(|part| format!("without {}: {}", part.what, part.reason));
    let lines = from.chain(changes).chain(given_up).chain(entry.reason.clone());
    lines.map(|line| harmless(&line).into_owned()).collect::<Vec<_>>().join("\n")
}
