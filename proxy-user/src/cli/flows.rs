//! `sidestep flows`.

use std::{collections::HashSet, fmt::Write as _, process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use proxy_common::{
    flow::{Direction, Forward},
    names::map,
};
use proxy_core::exit::{Class, Failure};
use proxy_plane::{
    dataplane::{self, Meta, WorkloadPins},
    flows::{self, Filter, Flow, Journal, Path, State, Verdict, one_of},
};

use super::{Output, flows_table::Layout, flows_top::Records, port};
use crate::{out, top, yaml};

/// How often a follower looks. The journal has room for what closes meanwhile, see `docs/flows.md`.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep flows --direction inbound --port 8080\n  \
    sidestep flows -f --output json --verdict refused\n  \
    sidestep flows --top")]
pub(crate) struct FlowsArgs {
    /// First what there is, then each connection when it has closed
    #[arg(short, long)]
    follow: bool,

    /// A live view in the terminal: rates, the path hop by hop, the flows that carry most
    #[arg(long, conflicts_with_all = ["follow", "output"])]
    top: bool,

    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

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
}

pub(crate) fn run(args: &FlowsArgs) -> Result<ExitCode> {
    let filter = Filter {
        workloads: names_of(&args.workload)?,
        ports: args.port.clone(),
        directions: args.direction.clone(),
        forwards: args.forward.clone(),
        paths: args.path.clone(),
        verdicts: args.verdict.clone(),
    };
    check(&filter)?;
    if args.top {
        return top::run(&mut Records::open(filter)?).map(|()| ExitCode::SUCCESS);
    }
    // Opened first, so that nothing closes between the list and the first look.
    let journal = if args.follow { Some(Journal::open(false)?) } else { None };
    let flows = flows::recent(&filter)?;
    let mut printer = Printer { output: args.output, has_head: false };
    let is_read = printer.print(&flows, journal.is_none())?;
    if let Some(journal) = journal.filter(|_| is_read) {
        // What closed between the two looks is in both.
        let listed = flows.iter().filter(|flow| flow.state == State::Closed).map(|flow| flow.id);
        follow(journal, &filter, &mut printer, listed.collect())?;
    }
    Ok(ExitCode::SUCCESS)
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

/// Until the reader goes, or what was followed.
fn follow(
    mut journal: Journal,
    filter: &Filter,
    printer: &mut Printer,
    mut listed: HashSet<u64>,
) -> Result<()> {
    let watched = Watched::of(filter)?;
    let mut lost = 0;
    loop {
        thread::sleep(LOOK_EVERY);
        let gone = watched.gone();
        let batch = if gone.is_some() { journal.drain() } else { journal.read() }?;
        let mut flows = batch.flows;
        flows.retain(|flow| filter.matches(flow) && !listed.remove(&flow.id));
        let mut is_read = printer.print(&flows, false)?;
        if batch.lost > lost {
            is_read &= printer.say_lost(batch.lost - lost, batch.lost)?;
            lost = batch.lost;
        }
        if !is_read {
            return Ok(());
        }
        if let Some(name) = gone {
            return Err(detached(&name));
        }
    }
}

fn detached(name: &str) -> anyhow::Error {
    Failure::error(
        Class::Other,
        format!(
            "workload {name} was detached, there is nothing left to follow; `sidestep status` lists those there are"
        ),
    )
}

/// The workloads somebody follows, by their numbers: one that is detached and attached has another.
pub(super) struct Watched(Vec<(WorkloadPins, Option<u32>)>);

impl Watched {
    pub(super) fn of(filter: &Filter) -> Result<Self> {
        let mut all = WorkloadPins::all()?;
        if !filter.workloads.is_empty() {
            all.retain(|pins| filter.workloads.contains(&pins.name()));
        }
        Ok(Self(all.into_iter().map(|pins| (pins.clone(), attached_as(&pins))).collect()))
    }

    /// # Errors
    /// Once none of them is left as it was.
    pub(super) fn check(&self) -> Result<()> {
        self.gone().map_or(Ok(()), |name| Err(detached(&name)))
    }

    /// A name once none of them is left as it was.
    fn gone(&self) -> Option<String> {
        let last = self.0.last()?;
        let none_left = self.0.iter().all(|(pins, map)| attached_as(pins) != *map);
        none_left.then(|| last.0.name())
    }
}

fn attached_as(pins: &WorkloadPins) -> Option<u32> {
    Meta::read(&pins.map(map::META)).ok().map(|meta| meta.number)
}

struct Printer {
    output: Output,
    has_head: bool,
}

impl Printer {
    /// False: nobody reads any more.
    fn print(&mut self, flows: &[Flow], is_all: bool) -> Result<bool> {
        let mut text = String::new();
        match self.output {
            Output::Json => {
                for flow in flows {
                    writeln!(text, "{}", flow.to_json().context("encode a flow")?)?;
                }
                out::json_lines(&text)
            }
            Output::Yaml => {
                for flow in flows {
                    let flow = serde_json::from_str(&flow.to_json().context("encode a flow")?)?;
                    text.push_str(&yaml::document(&flow));
                }
                out::json_lines(&text)
            }
            Output::Table if flows.is_empty() && is_all => out::lines("no flows\n"),
            Output::Table => {
                let layout = Layout::of_output();
                if !self.has_head {
                    writeln!(text, "{}", layout.head())?;
                    self.has_head = true;
                }
                for flow in flows {
                    writeln!(text, "{}", layout.row(flow))?;
                }
                out::lines(&text)
            }
        }
    }

    /// As an object of its own among the JSON lines; beside a table on stderr, so that its lines stay one flow each.
    fn say_lost(&self, now: u64, total: u64) -> Result<bool> {
        let text = format!("{now} records were overwritten before they could be read ({total} so far)");
        match self.output {
            Output::Json | Output::Yaml => {
                let line = serde_json::json!({ "schema": flows::SCHEMA, "lost": now, "lost_total": total });
                self.output.document(&line)
            }
            Output::Table => {
                out::complain(format!(
                    "{text}; a filter on the reader's side does not help, fewer flows or a faster terminal do"
                ));
                Ok(true)
            }
        }
    }
}
