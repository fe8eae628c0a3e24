//! Connections that are stuck: bytes wait in a queue, and nothing leaves it between two looks.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::Result;
use proxy_common::flow::{Direction, Hop};
use serde::Serialize;

use super::{
    end::{End, EndKey},
    filter::Filter,
    flow::{Flow, Side, Waiting},
    join::{self, Known},
    list,
};
use crate::clock::Clock;

/// Looks, and remembers since when nothing has moved.
#[derive(Debug, Default)]
pub struct Watch(HashMap<(EndKey, Queue), Standing>);

/// Where bytes wait, at one end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Queue {
    Send,
    Receive,
    Redirected,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    /// Bytes that had left the queue.
    gone: u64,
    since: Instant,
}

/// One way of a connection, on which bytes stand still.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Stuck {
    /// Whose bytes they are.
    pub sender: Side,
    /// Who should read them.
    pub reader: Side,
    pub reader_is: Reader,
    pub waiting: Waiting,
    /// For at least so long nothing has left a queue with bytes in it.
    pub for_us: u64,
    #[serde(skip)]
    pub flow: Flow,
}

/// What a reader is to the workload.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reader {
    Application,
    /// Or its agent.
    Sidecar,
    /// In no process of the workload.
    Elsewhere,
}

impl Reader {
    pub const ALL: [Self; 3] = [Self::Application, Self::Sidecar, Self::Elsewhere];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Sidecar => "sidecar",
            Self::Elsewhere => "elsewhere",
        }
    }

    pub const fn describe(self) -> &'static str {
        match self {
            Self::Application => "a process of the workload that is not the sidecar",
            Self::Sidecar => "the sidecar, or its agent",
            Self::Elsewhere => "nobody of this workload: another pod, another node, or the way there",
        }
    }

    fn of(flow: &Flow, side: Side) -> Self {
        use Reader::{Application, Elsewhere, Sidecar};
        let (client, server) = match (flow.hop, flow.direction) {
            (Hop::Inbound, _) => (Elsewhere, Sidecar),
            (Hop::Inner, _) => (Sidecar, Application),
            (Hop::Outbound | Hop::Dns, _) => (Application, Sidecar),
            (Hop::Upstream, _) => (Sidecar, Elsewhere),
            (Hop::SelfCall, _) => (Sidecar, Sidecar),
            (Hop::Direct, Direction::Inbound) => (Elsewhere, Application),
            (Hop::Direct, Direction::Outbound) => (Application, Elsewhere),
            (Hop::Direct, _) => (Application, Application),
        };
        if side == Side::Client { client } else { server }
    }
}

impl Watch {
    /// What nothing has left for so long. The first look finds nothing: there is nothing to compare with.
    ///
    /// # Errors
    /// When the open connections cannot be read.
    pub fn look(&mut self, least: Duration, filter: &Filter) -> Result<Vec<Stuck>> {
        // Few have bytes waiting: of the others nothing is kept.
        let mut waiting = HashSet::new();
        list::each_live(|end| {
            if queues(end, None).iter().any(|(_, bytes, _)| *bytes > 0) {
                waiting.insert(end.key().connection());
            }
        })?;
        let mut known = Known::new();
        if !waiting.is_empty() {
            list::each_live(|end| {
                if waiting.contains(&end.key().connection()) {
                    known.insert(end.key(), *end);
                }
            })?;
        }
        let mut found = self.stuck(&known, Instant::now(), least, Clock::now()?);
        found.retain(|stuck| filter.matches(&stuck.flow));
        Ok(found)
    }

    fn stuck(&mut self, known: &Known, now: Instant, least: Duration, clock: Clock) -> Vec<Stuck> {
        let mut standing = HashMap::new();
        for (key, end) in known {
            for (queue, bytes, gone) in queues(end, known.get(&key.reversed())) {
                if bytes == 0 {
                    continue;
                }
                let before = self.0.get(&(*key, queue)).filter(|before| before.gone == gone);
                let since = before.map_or(now, |before| before.since);
                standing.insert((*key, queue), Standing { gone, since });
            }
        }
        self.0 = standing;
        let mut found: Vec<Stuck> =
            join::joined(known, clock).iter().flat_map(|flow| self.of_flow(flow, now, least)).collect();
        found.sort_by_key(|stuck| (std::cmp::Reverse(stuck.for_us), stuck.flow.id));
        found
    }

    /// Both ways of a flow.
    fn of_flow(&self, flow: &join::Joined<'_>, now: Instant, least: Duration) -> Vec<Stuck> {
        let ways = [
            (Side::Client, flow.client, flow.server, flow.flow.upload.waiting),
            (Side::Server, flow.server, flow.client, flow.flow.download.waiting),
        ];
        let mut found = Vec::new();
        for (sender, from, to, waiting) in ways {
            let at = [(from, Queue::Send), (to, Queue::Receive), (to, Queue::Redirected)];
            let since = at.iter().filter_map(|(end, queue)| self.0.get(&(end.as_ref()?.key(), *queue)));
            let longest = since.map(|standing| now - standing.since).max();
            let (Some(longest), Some(waiting)) = (longest.filter(|longest| *longest >= least), waiting)
            else {
                continue;
            };
            let reader = if sender == Side::Client { Side::Server } else { Side::Client };
            found.push(Stuck {
                sender,
                reader,
                reader_is: Reader::of(&flow.flow, reader),
                waiting,
                for_us: u64::try_from(longest.as_micros()).unwrap_or(u64::MAX),
                flow: flow.flow.clone(),
            });
        }
        found
    }
}

/// What waits in each queue of an end, and how many bytes have left it. `other`: its other end, if it is known here.
fn queues(end: &End, other: Option<&End>) -> [(Queue, u64, u64); 3] {
    let (figures, queues) = (&end.figures, &end.queues);
    let (send, receive, unread) = (queues.send.into(), queues.receive.into(), figures.unread.into());
    let redirected = other.map_or(0, |other| other.figures.tally.redirected_bytes);
    [
        (Queue::Send, send, figures.sent_stacked.saturating_sub(send)),
        (Queue::Receive, receive, figures.received_stacked),
        (Queue::Redirected, unread, redirected.saturating_sub(unread)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::end::tests::pair;

    const SECOND: Duration = Duration::from_secs(1);

    /// What is found at the last of some looks, a second apart, at what waits of so many bytes sent.
    fn found(looks: &[(u32, u64)], set: impl Fn(&mut End, &mut End, (u32, u64))) -> Vec<Stuck> {
        let mut watch = Watch::default();
        let start = Instant::now();
        let mut last = Vec::new();
        for (number, look) in looks.iter().enumerate() {
            let (mut client, mut server) = pair();
            set(&mut client, &mut server, *look);
            let at = start + SECOND * u32::try_from(number).unwrap();
            last = watch.stuck(&join::known([client, server]), at, 2 * SECOND, Clock::default());
        }
        last
    }

    fn received(_: &mut End, server: &mut End, (waiting, read): (u32, u64)) {
        (server.queues.receive, server.figures.received_stacked) = (waiting, read);
    }

    #[test]
    fn what_nobody_reads_is_stuck_and_what_is_read_is_not() {
        let stuck = found(&[(5, 100), (9, 100), (9, 100)], received);
        let [stuck] = stuck.as_slice() else { panic!("{stuck:?}") };
        assert_eq!((stuck.sender, stuck.reader, stuck.for_us), (Side::Client, Side::Server, 2_000_000));
        assert_eq!((stuck.reader_is, stuck.waiting.receive), (Reader::Sidecar, Some(9)));
        // As many bytes wait each time, and they are others.
        assert!(found(&[(5, 100), (5, 105), (5, 110)], received).is_empty());
        assert!(found(&[(5, 100), (5, 100), (0, 105)], received).is_empty());
        assert!(found(&[(5, 100), (5, 100)], received).is_empty(), "not for long enough");
    }

    #[test]
    fn redirected_bytes_stand_still_when_their_reader_takes_none() {
        let set = |client: &mut End, server: &mut End, (waiting, sent): (u32, u64)| {
            client.figures.mapped = 1;
            client.figures.tally.redirected_bytes = sent;
            (server.figures.mapped, server.figures.unread) = (1, waiting);
        };
        assert_eq!(found(&[(5, 100), (15, 110), (15, 110)], set).len(), 1, "more came, nothing was read");
        assert!(found(&[(5, 100), (5, 110), (5, 120)], set).is_empty(), "what waits are others");
    }

    #[test]
    fn what_is_not_acknowledged_waits_for_the_other_side() {
        let set = |client: &mut End, _: &mut End, (waiting, sent): (u32, u64)| {
            (client.queues.send, client.figures.sent_stacked) = (waiting, sent);
        };
        let stuck = found(&[(5, 100), (7, 102), (7, 102)], set);
        assert_eq!(stuck.iter().map(|stuck| stuck.waiting.send).collect::<Vec<_>>(), [Some(7)]);
        assert!(found(&[(5, 100), (5, 105), (5, 110)], set).is_empty());
    }
}
