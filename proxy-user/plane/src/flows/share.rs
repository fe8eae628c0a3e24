//! How much of what could skip the stack did. This is the only definition: status, flows, the page, the metrics and the
//! dashboard show its figures.
//!
//! Each byte counts once: within a workload where it is written or read, between two workloads of the node at the one that
//! sends it.

use std::collections::BTreeMap;

use proxy_common::{
    accel::Reason,
    flow::{Carried, Class, Direction, Hop},
};
use serde::Serialize;

use super::{
    flow::{Flow, Split},
    totals::ClassTotals,
};
use crate::dataplane::Traffic;

/// Bytes of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Share {
    pub redirected: u64,
    /// Over the stack, though both ends are in workloads of this node.
    pub stacked: u64,
    /// One end is in no workload of this node: there was nothing to skip.
    pub elsewhere: u64,
}

/// A workload's share, and why what stayed on the stack did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Accounted {
    #[serde(flatten)]
    pub share: Share,
    /// Of what could be redirected, rounded down; none: there was nothing.
    pub percent: Option<u64>,
    /// Bytes over the stack by reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

impl Share {
    /// Of the sums of a class.
    pub fn of_class(class: Class, carried: &Carried) -> Self {
        let sent = carried.sent_stacked.saturating_sub(carried.sent_far);
        let received = carried.received_stacked.saturating_sub(carried.received_far);
        Self {
            redirected: carried.sent_redirected + carried.received_redirected,
            stacked: sent + if class.is_within() { received } else { 0 },
            elsewhere: carried.sent_far + carried.received_far,
        }
    }

    /// Of a connection, all of it.
    pub fn of_flow(flow: &Flow) -> Self {
        Self::of_part(flow, flow.upload.bytes(), flow.download.bytes())
    }

    /// Of a connection what it carried up and down meanwhile.
    pub fn of_part(flow: &Flow, up: Split, down: Split) -> Self {
        let none = Split::default();
        let (up, down) = match (flow.hop, flow.direction) {
            _ if !flow.local => return Self { elsewhere: up.total() + down.total(), ..Self::default() },
            (Hop::Upstream, _) | (Hop::Direct, Direction::Outbound) => (up, none),
            (Hop::Inbound, _) | (Hop::Direct, Direction::Inbound) => (none, down),
            _ => (up, down),
        };
        Self { redirected: up.redirected + down.redirected, stacked: up.stacked + down.stacked, elsewhere: 0 }
    }

    /// What could be redirected.
    pub fn could(self) -> u64 {
        self.redirected + self.stacked
    }

    /// The part of what could be that was, in hundredths, rounded down; none: nothing could.
    pub fn percent(self) -> Option<u64> {
        let hundredths = (u128::from(self.redirected) * 100).checked_div(u128::from(self.could()))?;
        u64::try_from(hundredths).ok()
    }
}

impl std::iter::Sum for Share {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, more| Self {
            redirected: sum.redirected + more.redirected,
            stacked: sum.stacked + more.stacked,
            elsewhere: sum.elsewhere + more.elsewhere,
        })
    }
}

impl Accounted {
    /// Of the workload of this name: from its flows' sums, and from what became of the messages of its sockets in the map.
    pub fn of(workload: &str, totals: &[ClassTotals], messages: &BTreeMap<&'static str, Traffic>) -> Self {
        let ours: Vec<&ClassTotals> = totals.iter().filter(|of| of.workload == workload).collect();
        let share: Share = ours.iter().map(|of| Share::of_class(of.class, &of.totals.carried)).sum();
        let mut reasons = BTreeMap::new();
        for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::Redirected) {
            let sent = messages.get(reason.name()).map_or(0, |traffic| traffic.bytes);
            let stayed: u64 = ours.iter().map(|of| of.totals.stayed[*reason as usize]).sum();
            if sent + stayed > 0 {
                reasons.insert(reason.name(), sent + stayed);
            }
        }
        Self { share, percent: share.percent(), reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARRIED: Carried = Carried {
        sent_redirected: 30,
        sent_stacked: 50,
        received_redirected: 10,
        received_stacked: 40,
        ..Carried::NONE
    };

    #[test]
    fn within_a_workload_both_directions_count_between_two_what_is_sent() {
        let within = Share::of_class(Class::Outbound, &CARRIED);
        assert_eq!(within, Share { redirected: 40, stacked: 90, elsewhere: 0 });
        assert_eq!(within.percent(), Some(30));
        let between = Share::of_class(Class::Upstream, &CARRIED);
        assert_eq!(between, Share { redirected: 40, stacked: 50, elsewhere: 0 });
    }

    #[test]
    fn what_has_an_end_elsewhere_is_beside_it() {
        let far =
            Carried { sent_far: 50, received_far: 40, sent_redirected: 0, received_redirected: 0, ..CARRIED };
        let share = Share::of_class(Class::Upstream, &far);
        assert_eq!(share, Share { redirected: 0, stacked: 0, elsewhere: 90 });
        assert_eq!(share.percent(), None);
    }
}
