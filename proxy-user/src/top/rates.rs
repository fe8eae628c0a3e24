//! From totals to bytes per second.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use proxy_plane::flows::{Flow, Split};

use super::snapshot::Snapshot;

/// A flow and what it carried since the snapshot before.
#[derive(Clone, Debug)]
pub struct Rated {
    pub flow: Flow,
    pub up: Split,
    pub down: Split,
    /// First seen in this snapshot.
    pub new: bool,
}

/// Remembers the snapshots before.
#[derive(Debug, Default)]
pub struct Rates {
    before: Option<(Instant, Known)>,
}

type Known = HashMap<u64, Seen>;

/// What a flow had carried when it was last seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    up: Split,
    down: Split,
    /// Snapshots since.
    ago: u8,
}

/// The record of a closed flow may be a snapshot or two behind: until then it is neither open nor closed.
const REMEMBERED: u8 = 3;

/// The flows of an interval, live ones and those that closed in it.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    pub flows: Vec<Rated>,
    /// None: the first look, nothing to compare with.
    pub seconds: Option<f64>,
    pub lost: u64,
}

impl Rates {
    pub fn next(&mut self, snapshot: Snapshot) -> Interval {
        let before = self.before.take();
        let seconds = before.as_ref().map(|(at, _)| (snapshot.at - *at).as_secs_f64().max(0.001));
        let known = before.map(|(_, known)| known).unwrap_or_default();
        let mut next: Known = snapshot.live.iter().map(|flow| (flow.id, Seen::of(flow))).collect();
        // A flow may close between the two reads of one snapshot.
        let closed: Vec<Flow> =
            snapshot.closed.into_iter().filter(|flow| !next.contains_key(&flow.id)).collect();
        let over: HashSet<u64> = closed.iter().map(|flow| flow.id).collect();
        let missing = known.iter().filter(|(id, seen)| !over.contains(id) && seen.ago < REMEMBERED);
        for (id, seen) in missing {
            next.entry(*id).or_insert(Seen { ago: seen.ago + 1, ..*seen });
        }
        let flows = if seconds.is_some() {
            closed.into_iter().chain(snapshot.live).map(|flow| rated(flow, &known)).collect()
        } else {
            // What they carried in all their life says nothing about now.
            snapshot.live.into_iter().map(standing).collect()
        };
        self.before = Some((snapshot.at, next));
        Interval { flows, seconds, lost: snapshot.lost }
    }
}

impl Seen {
    fn of(flow: &Flow) -> Self {
        Self { up: flow.upload.bytes(), down: flow.download.bytes(), ago: 0 }
    }
}

fn rated(flow: Flow, known: &Known) -> Rated {
    let before = known.get(&flow.id);
    let (up, down) = before.map(|seen| (seen.up, seen.down)).unwrap_or_default();
    let (up, down) = (since(flow.upload.bytes(), up), since(flow.download.bytes(), down));
    Rated { new: before.is_none(), flow, up, down }
}

fn standing(flow: Flow) -> Rated {
    Rated { flow, up: Split::default(), down: Split::default(), new: false }
}

/// A final record may know less than a live one did: never below zero.
fn since(now: Split, before: Split) -> Split {
    Split {
        redirected: now.redirected.saturating_sub(before.redirected),
        stacked: now.stacked.saturating_sub(before.stacked),
    }
}
