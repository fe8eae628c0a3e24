//! `sidestep flows`.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use proxy_common::{
    flow::{Direction, Forward},
    names::map,
};
use proxy_core::{
    exit::{Class, Failure},
    harmless::harmless,
};
use proxy_plane::{
    dataplane::{self, Meta, WorkloadPins},
    flows::{self, By, Filter, Journal, Named as _, Path, State, Verdict, one_of},
};

use super::{
    Output, flows_callers, flows_follow::follow, flows_print::Printer, flows_stuck, flows_top::Records, port,
    span,
};
use crate::top;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep flows --direction inbound --port 8080\n  \
    sidestep flows -f --output json --verdict refused\n  \
    sidestep flows --since 5m --last 20\n  \
    sidestep flows --top 10 --by connections\n  \
    sidestep flows --stuck 10s\n  \
    sidestep flows --top")]
pub(crate) struct FlowsArgs {
    /// First what there is, then each connection when it has closed
    #[arg(short, long)]
    follow: bool,

    /// A live view in the terminal: rates, the path hop by hop, the flows that carry most. With a number: who connects
    /// most, so many callers
    #[arg(long, value_name = "N", num_args = 0..=1, conflicts_with_all = ["follow", "last"])]
    top: Option<Option<usize>>,

    /// Which callers come first with --top N [default: connections]
    #[arg(long, value_enum, value_name = "WHAT", requires = "top")]
    by: Option<ByArg>,

    /// Looks twice, so long apart, and shows the connections on which bytes wait that nobody took meanwhile
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "2s", value_parser = span::parse,
        conflicts_with_all = ["follow", "top", "last"])]
    stuck: Option<Duration>,

    /// Only the N that began last; with --follow, then what closes
    #[arg(long, value_name = "N")]
    last: Option<usize>,

    /// Every column, also when began, processes and workload, on terminals that have no room for them
    #[arg(long, conflicts_with = "top")]
    wide: bool,

    /// How to print
    #[arg(short, long, value_enum)]
    output: Option<Output>,

    /// Only of this workload, as `sidestep status` names it, or of this pod, as NAMESPACE/NAME; repeatable, as all
    /// filters are
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    workload: Vec<String>,

    /// Port of the client, the server, the original destination or the listener: a number, or a service as http
    #[arg(long, value_name = "PORT", value_parser = port::parse, help_heading = "Filters")]
    port: Vec<u16>,

    /// inbound, outbound, self or dns
    #[arg(long, value_parser = one_of::<Direction>, help_heading = "Filters")]
    direction: Vec<Direction>,

    /// How the sidecar reaches its application: lo, eth0 or tproxy
    #[arg(long, value_parser = one_of::<Forward>, help_heading = "Filters")]
    forward: Vec<Forward>,

    /// What carries the bytes: redirected, stacked or mixed
    #[arg(long, value_parser = one_of::<Path>, help_heading = "Filters")]
    path: Vec<Path>,

    /// captured, refused, bypass, outbound, inbound, dns, or a rule such as O15
    #[arg(long, help_heading = "Filters")]
    verdict: Vec<Verdict>,

    /// Number of the process at either end
    #[arg(long, value_name = "PID", help_heading = "Filters")]
    pid: Vec<u32>,

    /// Only what began or closed within this time: 30s, 5m, 2h, 1d
    #[arg(long, value_name = "DURATION", value_parser = span::parse, help_heading = "Filters")]
    since: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum ByArg {
    /// A process and where it connects to, by the number of connections
    #[default]
    Connections,
    /// The same by bytes, both ways
    Bytes,
    /// A process with all its connections, by their number
    Process,
}

impl From<ByArg> for By {
    fn from(arg: ByArg) -> Self {
        match arg {
            ByArg::Connections => Self::Connections,
            ByArg::Bytes => Self::Bytes,
            ByArg::Process => Self::Process,
        }
    }
}

pub(crate) fn run(args: &FlowsArgs) -> Result<ExitCode> {
    if args.top == Some(None) {
        refuse_in_live_view(args)?;
    }
    let filter = Filter {
        workloads: names_of(&args.workload)?,
        ports: args.port.clone(),
        directions: args.direction.clone(),
        forwards: args.forward.clone(),
        paths: args.path.clone(),
        verdicts: args.verdict.clone(),
        pids: args.pid.clone(),
        since: args.since.map(ago),
    };
    check(&filter)?;
    let output = args.output.unwrap_or_default();
    match args.top {
        Some(None) => {
            let mut records = Records::open(filter, given(args))?;
            return top::run(&mut records).map(|()| ExitCode::SUCCESS);
        }
        Some(Some(most)) => {
            let by = args.by.unwrap_or_default().into();
            flows_callers::print(&flows::callers(&flows::recent(&filter)?, by, most), output)?;
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    if let Some(span) = args.stuck {
        flows_stuck::print(&flows_stuck::find(span, &filter)?, output, args.wide)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Opened first, so that nothing closes between the list and the first look.
    let journal = if args.follow { Some(Journal::open(false)?) } else { None };
    let flows = flows::recent(&filter)?;
    let last = args.last.map_or(0, |last| flows.len().saturating_sub(last));
    let mut printer = Printer::of(output, args.wide);
    let is_read = printer.print(&flows[last..], journal.is_none())?;
    if let Some(journal) = journal.filter(|_| is_read) {
        // What closed between the two looks is in both.
        let listed = flows.iter().filter(|flow| flow.state == State::Closed).map(|flow| flow.id);
        follow(journal, &filter, &mut printer, listed.collect())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The filters, as somebody would type them.
fn given(args: &FlowsArgs) -> String {
    fn words<T>(flag: &str, values: &[T], word: impl Fn(&T) -> String) -> Vec<String> {
        values.iter().map(|value| format!("{flag} {}", word(value))).collect()
    }
    [
        words("--workload", &args.workload, |name| harmless(name).into_owned()),
        words("--port", &args.port, u16::to_string),
        words("--direction", &args.direction, |value| value.label().to_owned()),
        words("--forward", &args.forward, |value| value.label().to_owned()),
        words("--path", &args.path, |value| value.label().to_owned()),
        words("--verdict", &args.verdict, Verdict::to_string),
        words("--pid", &args.pid, u32::to_string),
        words("--since", args.since.as_slice(), |span| span::exact(*span)),
    ]
    .concat()
    .join(" ")
}

/// What is printed needs a number: the live view has keys for it.
fn refuse_in_live_view(args: &FlowsArgs) -> Result<()> {
    let given = [("--output", args.output.is_some()), ("--by", args.by.is_some())];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(Failure::error(
            Class::Usage,
            format!(
                "{flag}: --top without a number is the live view, which has none; say how many: --top 10"
            ),
        )),
    }
}

/// Microseconds since the epoch.
fn ago(span: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_sub(span).as_micros()).unwrap_or(u64::MAX)
}

/// The workloads of these names, under those that their records have.
fn names_of(named: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for name in named {
        names.extend(dataplane::attached_as(name)?.iter().map(WorkloadPins::name));
    }
    Ok(names)
}

/// Whether there is anything to look at.
fn check(filter: &Filter) -> Result<()> {
    let attached = WorkloadPins::all().context("list the attached workloads")?;
    if attached.is_empty() {
        return Err(Failure::error(Class::Other, "no workload is attached: run `sidestep attach` first"));
    }
    let mut reasons = Vec::new();
    let mut unreadable = None;
    let shown = |pins: &&WorkloadPins| filter.workloads.is_empty() || filter.workloads.contains(&pins.name());
    for pins in attached.iter().filter(shown) {
        match Meta::read(&pins.map(map::META)) {
            Ok(meta) => match meta.not_observed {
                None => return Ok(()),
                Some(reason) => reasons.push(reason),
            },
            Err(error) => unreadable = Some(error.context(format!("workload {}", pins.name()))),
        }
    }
    // What cannot be read is not known to be unobserved.
    if let Some(error) = unreadable {
        return Err(error);
    }
    match reasons.first() {
        None => Ok(()),
        Some(reason) => Err(Failure::error(
            Class::Unavailable,
            format!(
                "connections are not observed: {reason}; attach with --observe on where the kernel allows it"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flows: FlowsArgs,
    }

    #[test]
    fn filters_are_shown_as_they_are_typed() {
        let of = |line: &str| given(&Line::parse_from(format!("x {line}").split_whitespace()).flows);
        for line in [
            "",
            "--port 8080 --port 9090 --pid 4711",
            "--workload shop/web-0 --direction inbound --forward lo --path mixed --verdict O15' --since 5m",
            "--verdict refused --verdict bypass --since 1h30m",
        ] {
            assert_eq!(of(line), line);
        }
    }
}
