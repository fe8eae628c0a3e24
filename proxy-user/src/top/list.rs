//! The list of flows: which, in which order, and the columns there is room for.

use std::{cmp::Reverse, collections::HashMap};

use proxy_common::flow::Hop;
use proxy_core::harmless::harmless;
use proxy_plane::flows::{By, CallerKey, Flow, Named as _, Path, State};

use super::{
    keys::{Sort, View},
    rates::{Interval, Rated},
    units::{fit, rate},
};
use crate::{
    span,
    units::{bytes, fit_end},
    whose::{pod, processes},
};

/// A flow of the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed<'a> {
    pub(super) rated: &'a Rated,
    /// Open ones of the same caller to the same destination.
    connections: usize,
}

/// Besides the addresses.
#[derive(Debug)]
pub(super) struct Column {
    name: &'static str,
    width: usize,
    cell: fn(&Listed<'_>, Option<f64>) -> String,
    /// The order that goes by it.
    of: Option<Sort>,
}

const fn column(
    name: &'static str,
    width: usize,
    cell: fn(&Listed<'_>, Option<f64>) -> String,
    of: Option<Sort>,
) -> Column {
    Column { name, width, cell, of }
}

/// Room for an IPv4 address and its port.
const LEAST_ADDRESS: usize = 21;
/// Of an IPv6 one.
const MOST_ADDRESS: usize = 47;

static ALWAYS: [Column; 4] = [
    column("HOP", 8, |of, _| hop(&of.rated.flow).to_owned(), None),
    column("PATH", 5, |of, _| path(&of.rated.flow).to_owned(), None),
    column("UP", 9, up, Some(Sort::Rate)),
    column("DOWN", 9, down, Some(Sort::Rate)),
];
/// In the order in which wider terminals show them; the one that the list goes by is always there.
static MORE: [Column; 5] = [
    column("AGE", 5, |of, _| of.rated.flow.duration_us.map_or("-".to_owned(), span::short), Some(Sort::Age)),
    column("TOTAL", 5, |of, _| bytes(of.rated.flow.bytes().total()), Some(Sort::Bytes)),
    column("PROCESSES", 25, |of, _| processes(&of.rated.flow), None),
    column("WORKLOAD", 30, |of, _| workload(&of.rated.flow), None),
    column("CONNS", 5, |of, _| of.connections.to_string(), Some(Sort::Connections)),
];

/// What of the list fits, and how it is laid out.
#[derive(Debug)]
pub(super) struct Columns {
    address: usize,
    others: Vec<&'static Column>,
}

impl Columns {
    pub(super) fn within(width: usize, sort: Sort) -> Self {
        let wide = |column: &Column| column.width + 1;
        // A space before each column but the first.
        let mut left = width.saturating_sub(1 + ALWAYS.iter().map(wide).sum::<usize>());
        let mut others: Vec<&Column> = ALWAYS.iter().collect();
        let of_sort = MORE.iter().find(|column| column.of == Some(sort));
        left = left.saturating_sub(of_sort.map_or(0, wide));
        let mut has_room = true;
        for column in &MORE {
            if column.of == Some(sort) {
                others.push(column);
                continue;
            }
            has_room = has_room && left >= 2 * LEAST_ADDRESS + wide(column);
            if has_room {
                left -= wide(column);
                others.push(column);
            }
        }
        Self { address: (left / 2).min(MOST_ADDRESS), others }
    }

    pub(super) fn widths(&self) -> impl Iterator<Item = usize> {
        [self.address; 2].into_iter().chain(self.others.iter().map(|column| column.width))
    }

    pub(super) fn head(&self) -> impl Iterator<Item = &'static str> {
        ["CLIENT", "DESTINATION"].into_iter().chain(self.others.iter().map(|column| column.name))
    }

    /// `seconds`: of the interval.
    pub(super) fn row(&self, of: &Listed<'_>, seconds: Option<f64>) -> Vec<String> {
        let flow = &of.rated.flow;
        let ends = [flow.client, flow.original_destination];
        let ends = ends.map(|end| fit_end(&end.to_string(), self.address));
        let others = self.others.iter().map(|column| fit(&(column.cell)(of, seconds), column.width));
        ends.into_iter().chain(others).collect()
    }
}

/// The flows that are wanted, in the order that is.
pub(super) fn of<'a>(interval: &'a Interval, view: &View) -> Vec<Listed<'a>> {
    let words: Vec<String> = view.filter.split_whitespace().map(str::to_lowercase).collect();
    let flows = interval.flows.iter().filter(|rated| view.is_of_workload(&rated.flow));
    let of_caller = connections(interval);
    let listed = |rated: &'a Rated| {
        let connections = of_caller.get(&caller(&rated.flow)).copied().unwrap_or_default();
        Listed { rated, connections }
    };
    let mut list: Vec<Listed<'_>> = flows.filter(|rated| has_all(&rated.flow, &words)).map(listed).collect();
    list.sort_by_cached_key(|of| {
        let (rated, total) = (of.rated, of.rated.flow.bytes().total());
        let first = match view.sort {
            Sort::Rate => rated.up.total() + rated.down.total(),
            Sort::Bytes => total,
            Sort::Age => rated.flow.duration_us.unwrap_or(0),
            Sort::Connections => of.connections as u64,
        };
        // Quiet ones stay where they are.
        Reverse((first, total, rated.flow.id))
    });
    if view.reversed {
        list.reverse();
    }
    list
}

/// Of one process to one destination.
fn caller(flow: &Flow) -> CallerKey<'_> {
    CallerKey::of(flow, By::Connections)
}

/// Open ones.
fn connections(interval: &Interval) -> HashMap<CallerKey<'_>, usize> {
    let mut counts = HashMap::new();
    for rated in interval.flows.iter().filter(|rated| rated.flow.state == State::Live) {
        *counts.entry(caller(&rated.flow)).or_default() += 1;
    }
    counts
}

/// Each word is somewhere in what is known of the flow, also in what has no column here.
fn has_all(flow: &Flow, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let end = match flow.close {
        None => "live".to_owned(),
        Some(close) => format!("closed {}", close.name()),
    };
    let text = [
        flow.client.to_string(),
        flow.original_destination.to_string(),
        flow.original_client.map(|client| client.to_string()).unwrap_or_default(),
        flow.server.to_string(),
        format!("{} {}", flow.hop.name(), hop(flow)),
        flow.path.label().to_owned(),
        flow.rule.map(|rule| rule.name().to_owned()).unwrap_or_default(),
        processes(flow),
        workload(flow),
        flow.workload.to_string(),
        end,
    ];
    let text = text.join("\n").to_lowercase();
    words.iter().all(|word| text.contains(word))
}

fn hop(flow: &Flow) -> &'static str {
    match (flow.hop, flow.forward) {
        (Hop::Inner, Some(forward)) => forward.name(),
        (hop, _) => hop.name(),
    }
}

fn path(flow: &Flow) -> &'static str {
    match Path::of(&flow.upload, &flow.download) {
        Path::Redirected => "redir",
        Path::Stacked => "stack",
        Path::Mixed => "mixed",
    }
}

fn workload(flow: &Flow) -> String {
    harmless(&pod(&flow.workload, flow.namespace.as_deref(), flow.pod.as_deref())).into_owned()
}

/// A flow that has closed says how in place of its rates.
fn up(of: &Listed<'_>, seconds: Option<f64>) -> String {
    match of.rated.flow.state {
        State::Closed => "closed".to_owned(),
        State::Live => rate(seconds.map(|seconds| of.rated.up.total() as f64 / seconds)),
    }
}

fn down(of: &Listed<'_>, seconds: Option<f64>) -> String {
    match of.rated.flow.state {
        State::Closed => of.rated.flow.close.map_or("", |close| close.name()).to_owned(),
        State::Live => rate(seconds.map(|seconds| of.rated.down.total() as f64 / seconds)),
    }
}
