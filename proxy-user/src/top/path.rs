//! The way of a direction through the pod: the hop to the sidecar, and the hops from it.

use std::collections::BTreeMap;

use proxy_common::{
    accel::Reason,
    flow::{Direction, Forward, Hop},
};
use proxy_plane::flows::{Share, Split, State};

use super::rates::{Interval, Rated};

/// One hop, all its flows together.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HopSum {
    /// Open now.
    pub live: usize,
    /// Opened per second; none: not known yet.
    pub opened: Option<f64>,
    /// Bytes per second.
    pub up: Option<f64>,
    pub down: Option<f64>,
    /// By path: the interval's bytes, else all.
    pub share: Share,
    /// Medians, in microseconds.
    pub connect_us: Option<u64>,
    /// Established, until the server's process took it.
    pub hand_off_us: Option<u64>,
    pub rtt_us: Option<u64>,
    /// Why bytes went over the stack, the most frequent first.
    pub reason: Option<Reason>,
}

/// Both hops. The second is one for each forwarding mode inbound, and one outbound.
#[derive(Clone, PartialEq, Debug)]
pub struct Path {
    pub direction: Direction,
    pub first: HopSum,
    pub second: Vec<(Option<Forward>, HopSum)>,
}

impl Path {
    /// Of the flows of `workload`, or of all.
    pub fn of(interval: &Interval, direction: Direction, workload: Option<&str>) -> Self {
        let (first, second) = match direction {
            Direction::Outbound => (Hop::Outbound, Hop::Upstream),
            _ => (Hop::Inbound, Hop::Inner),
        };
        let on = |hop: Hop| {
            let ours = move |rated: &&Rated| {
                rated.flow.hop == hop && workload.is_none_or(|name| *rated.flow.workload == *name)
            };
            interval.flows.iter().filter(ours)
        };
        let mut modes: BTreeMap<Option<Forward>, Vec<&Rated>> = BTreeMap::new();
        for rated in on(second) {
            modes.entry(rated.flow.forward).or_default().push(rated);
        }
        Self {
            direction,
            first: HopSum::of(&on(first).collect::<Vec<_>>(), interval.seconds),
            second: modes
                .into_iter()
                .map(|(mode, flows)| (mode, HopSum::of(&flows, interval.seconds)))
                .collect(),
        }
    }
}

impl HopSum {
    fn of(flows: &[&Rated], seconds: Option<f64>) -> Self {
        let per_second = |sum: u64| seconds.map(|seconds| sum as f64 / seconds);
        let moved = |of: fn(&Rated) -> Split| {
            flows.iter().map(|rated| of(rated)).fold(Split::default(), |sum, split| Split {
                redirected: sum.redirected + split.redirected,
                stacked: sum.stacked + split.stacked,
            })
        };
        let (up, down) = (moved(|rated| rated.up), moved(|rated| rated.down));
        let now: Share = flows.iter().map(|rated| Share::of_part(&rated.flow, rated.up, rated.down)).sum();
        let all: Share = flows.iter().map(|rated| Share::of_flow(&rated.flow)).sum();
        Self {
            live: flows.iter().filter(|rated| rated.flow.state == State::Live).count(),
            opened: per_second(flows.iter().filter(|rated| rated.new).count() as u64),
            up: per_second(up.total()),
            down: per_second(down.total()),
            share: if now == Share::default() { all } else { now },
            connect_us: median(flows.iter().filter_map(|rated| rated.flow.connect_us())),
            hand_off_us: median(flows.iter().filter_map(|rated| rated.flow.hand_off_us())),
            rtt_us: median(flows.iter().filter_map(|rated| rated.flow.rtt_us.map(u64::from))),
            reason: most_frequent(flows),
        }
    }
}

fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut all: Vec<u64> = values.collect();
    let middle = all.len() / 2;
    (!all.is_empty()).then(|| *all.select_nth_unstable(middle).1)
}

fn most_frequent(flows: &[&Rated]) -> Option<Reason> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for rated in flows {
        for stream in [&rated.flow.upload, &rated.flow.download] {
            if let Some(reason) = stream.last_reason {
                *counts.entry(reason as usize).or_default() += 1;
            }
        }
    }
    let (index, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    Reason::ALL.iter().copied().find(|reason| *reason as usize == index)
}
