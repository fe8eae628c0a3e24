//! Flows at one moment.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    time::Duration,
};

use anyhow::Result;

use super::{
    end::{End, EndKey},
    filter::Filter,
    flow::{Flow, State},
    join::{self, Known},
    journal::Reader,
    list,
};
use crate::{clock::Clock, dataplane::is_observed};

/// Open flows.
pub fn live(filter: &Filter) -> Result<Vec<Flow>> {
    let mut known = Known::new();
    add_live(&mut known, |_| true)?;
    let mut flows = join::flows(&known, Clock::now()?);
    flows.retain(|flow| flow.state == State::Live && filter.matches(flow));
    Ok(flows)
}

/// Open flows that have been there for so long.
///
/// # Errors
/// When the open connections cannot be read.
pub fn lasting(least: Duration) -> Result<Vec<Flow>> {
    let least = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX);
    let mut known = Known::new();
    // Of the other end, too: its record began within the same handshake.
    add_live(&mut known, |end| end.figures.at.saturating_sub(end.record.syn_at) >= least)?;
    let mut flows = join::flows(&known, Clock::now()?);
    flows.retain(|flow| flow.state == State::Live);
    Ok(flows)
}

/// Open flows, and those that closed lately, in the order of their SYNs.
pub fn recent(filter: &Filter) -> Result<Vec<Flow>> {
    if !is_observed() {
        return Ok(Vec::new());
    }
    // Live ones first: what closes in between is in both, and the later look wins. The other way round it is in neither.
    let mut known = Known::new();
    add_live(&mut known, |_| true)?;
    let mut journal = Reader::open(true)?;
    known.extend(join::known(journal.read()));
    known.extend(join::known(journal.kept()?));
    let mut flows = join::flows(&known, Clock::now()?);
    flows.retain(|flow| filter.matches(flow));
    flows.sort_by_key(|flow| flow.times.syn);
    Ok(flows)
}

/// A few of many flows.
#[derive(Debug, Default)]
pub struct Busiest {
    /// Those that carried most bytes, open ones first.
    pub flows: Vec<Flow>,
    /// How many are open, and how many closed ones are still in the journal.
    pub live: usize,
    pub closed: usize,
    /// Of the open ones those that begin at an application, or come from elsewhere: the hops of one call through sidecars
    /// are not added.
    pub calls: usize,
}

/// The flows that carried most bytes, open ones first. Looks twice, and keeps only these: there may be very many.
pub fn busiest(most: usize) -> Result<Busiest> {
    if !is_observed() {
        return Ok(Busiest::default());
    }
    let mut reader = Reader::open(true)?;
    let mut closed = reader.kept()?;
    closed.extend(reader.read());
    let mut seen: HashMap<EndKey, Carried> = HashMap::new();
    let mut busiest = Busiest::default();
    for end in &closed {
        busiest.closed += usize::from(end.counts());
        seen.entry(end.key().connection()).or_default().add(end);
    }
    list::each_live(|end| {
        let is_open = end.counts() && !end.is_closed();
        busiest.live += usize::from(is_open);
        busiest.calls += usize::from(is_open && end.begins_a_call());
        seen.entry(end.key().connection()).or_default().add(end);
    })?;
    let mut ranked: Vec<_> = seen.into_iter().collect();
    ranked.sort_unstable_by_key(|(key, carried)| Reverse((carried.is_open, carried.bytes, *key)));
    ranked.truncate(most);
    let chosen: HashSet<EndKey> = ranked.into_iter().map(|(key, _)| key).collect();
    let is_chosen = |end: &End| chosen.contains(&end.key().connection());
    let mut known = join::known(closed.into_iter().filter(is_chosen));
    add_live(&mut known, is_chosen)?;
    // Those that closed while the live ones were read.
    known.extend(join::known(reader.read().into_iter().filter(is_chosen)));
    busiest.flows = join::flows(&known, Clock::now()?);
    busiest
        .flows
        .sort_by_cached_key(|flow| (flow.state == State::Closed, Reverse(flow.bytes().total()), flow.id));
    // A connection between two workloads is a flow of each.
    busiest.flows.truncate(most);
    Ok(busiest)
}

/// What both ends of a connection have sent.
#[derive(Default)]
struct Carried {
    bytes: u64,
    is_open: bool,
}

impl Carried {
    fn add(&mut self, end: &End) {
        self.bytes += end.figures.sent_stacked + end.figures.tally.redirected_bytes;
        self.is_open |= !end.is_closed();
    }
}

fn add_live(known: &mut Known, wanted: impl Fn(&End) -> bool) -> Result<()> {
    list::each_live(|end| {
        if wanted(end) {
            known.insert(end.key(), *end);
        }
    })
}
