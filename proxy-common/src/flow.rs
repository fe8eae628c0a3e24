//! Flow records: what the programs remember of a TCP connection, one record for each end on this node.

mod live;
mod record;
mod totals;
mod turn;
mod turnarounds;

use crate::named::named;

pub use crate::kernel::FlowKernel;

pub use live::{FreeList, LISTED, LIVE, ListedEnd, LiveEnd, Queues};
pub use record::{
    FlowFigures, FlowRecord, JOURNAL, JOURNAL_WORDS, JournalEntry, KEPT, KILLED_SETS, KilledEnds, PEERS,
    PeerKey, Tally, ToldPeer, flow_flag, journal_sum, phase, stays_for, tally_path,
};
pub use totals::{BUCKETS, Carried, Histogram, OpenKey, OpenTotals, Stayed, Totals, bucket, totals_key};
pub use turn::{FIRST, Measured, ONE_IN, Segment, Turn, turn_bit, weight};
pub use turnarounds::{FINE, Turnarounds, fine_bucket, fine_end, turn_key};

named! {
    /// Between whom a connection runs.
    Hop {
        Inbound = "inbound", "from outside to the sidecar's inbound listener";
        Inner = "inner", "from the sidecar to its application";
        Outbound = "outbound", "from the application to the sidecar's outbound listener";
        Upstream = "upstream", "from the sidecar to the world";
        SelfCall = "self", "from the sidecar to its own pod, handed to its inbound listener";
        Dns = "dns", "a DNS question over TCP, to the agent";
        Direct = "direct", "left alone: neither end is the sidecar";
    }
}

named! {
    /// Whose traffic a connection carries, seen from the workload.
    Direction {
        Inbound = "inbound", "others call the workload";
        Outbound = "outbound", "the workload calls others";
        SelfCall = "self", "the workload calls itself";
        Dns = "dns", "the workload asks for a name";
    }
}

named! {
    /// How the sidecar reaches its application.
    Forward {
        Lo = "lo", "to 127.0.0.1 or ::1 (Istio <= 1.9, LOCALHOST)";
        Eth0 = "eth0", "from 127.0.0.6 or ::6 to the pod's address (Istio >= 1.10, PASSTHROUGH)";
        Tproxy = "tproxy", "with the client's address as source";
    }
}

named! {
    /// How a connection ended.
    Close {
        Fin = "fin", "both sides closed in order";
        Rst = "rst", "reset by one side";
        Timeout = "timeout", "the other side did not answer, until TCP or its own side gave up";
        Refused = "refused", "nobody listened, or a rule refused it";
        Unreachable = "unreachable", "no route to the other side";
        Aborted = "aborted", "given up by its own side at once, before an answer could be expected";
        Killed = "killed", "the process of one side was killed before the other side was done";
        SidecarKilled = "sidecar_killed", "the same, and the process was the workload's own sidecar, or its agent";
    }
}

named! {
    /// What totals are kept by, within a workload: hop, direction and forward mode in one.
    Class {
        Inbound = "inbound", "hop inbound";
        InnerLo = "inner-lo", "hop inner, forward lo";
        InnerEth0 = "inner-eth0", "hop inner, forward eth0";
        InnerTproxy = "inner-tproxy", "hop inner, forward tproxy";
        Outbound = "outbound", "hop outbound";
        Upstream = "upstream", "hop upstream";
        SelfCall = "self", "hop self";
        Dns = "dns", "hop dns";
        DirectIn = "direct-in", "hop direct, others call the workload";
        DirectOut = "direct-out", "hop direct, the workload calls others";
        DirectSelf = "direct-self", "hop direct, within the workload";
    }
}

impl Class {
    /// Whether both ends are the workload's own.
    #[inline(always)]
    pub const fn is_within(self) -> bool {
        !matches!(self, Self::Inbound | Self::Upstream | Self::DirectIn | Self::DirectOut)
    }

    /// Whether the client's end, or the server's, is the sidecar's or its agent's.
    #[inline(always)]
    pub const fn is_sidecars(self, client: bool) -> bool {
        match self {
            Self::Inbound | Self::Outbound | Self::Dns => !client,
            Self::InnerLo | Self::InnerEth0 | Self::InnerTproxy | Self::Upstream => client,
            Self::SelfCall => true,
            Self::DirectIn | Self::DirectOut | Self::DirectSelf => false,
        }
    }

    pub const fn hop(self) -> Hop {
        match self {
            Self::Inbound => Hop::Inbound,
            Self::InnerLo | Self::InnerEth0 | Self::InnerTproxy => Hop::Inner,
            Self::Outbound => Hop::Outbound,
            Self::Upstream => Hop::Upstream,
            Self::SelfCall => Hop::SelfCall,
            Self::Dns => Hop::Dns,
            Self::DirectIn | Self::DirectOut | Self::DirectSelf => Hop::Direct,
        }
    }

    pub const fn direction(self) -> Direction {
        match self {
            Self::Inbound | Self::InnerLo | Self::InnerEth0 | Self::InnerTproxy | Self::DirectIn => {
                Direction::Inbound
            }
            Self::Outbound | Self::Upstream | Self::DirectOut => Direction::Outbound,
            Self::SelfCall | Self::DirectSelf => Direction::SelfCall,
            Self::Dns => Direction::Dns,
        }
    }

    pub const fn forward(self) -> Option<Forward> {
        match self {
            Self::InnerLo => Some(Forward::Lo),
            Self::InnerEth0 => Some(Forward::Eth0),
            Self::InnerTproxy => Some(Forward::Tproxy),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_its_place() {
        assert!(Hop::ALL.iter().all(|hop| Hop::from_index(*hop as u8) == Some(*hop)));
        assert!(Close::ALL.iter().all(|close| Close::from_index(*close as u8) == Some(*close)));
        assert_eq!(Forward::from_index(Forward::COUNT as u8), None);
    }

    /// The programs count by three bits.
    const _: () = assert!(Close::COUNT <= 8);
}
