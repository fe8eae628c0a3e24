//! Events the programs count, next to one counter for every rule.

use crate::{named::named, verdict::Rule};

named! {
    /// What happened besides the decision.
    Event {
        NoListener = "no_listener", "captured inbound, but no sidecar listens: refused";
        NoRoute = "no_route", "destination without a known route: captured without keeping the source";
        OtherNetns = "other_netns", "a process of the cgroup acts in another network namespace: left alone";
        SourceNotKept = "source_not_kept", "the source address could not be kept; the sidecar sees loopback";
        StorageFull = "storage_full", "no memory to remember the original destination: refused";
        PendingFull = "pending_full", "too many connections between SYN and accept: original destination lost";
        OriginalDst = "original_dst", "SO_ORIGINAL_DST answered";
        ListenerFull = "listener_full", "more sidecar listeners than slots: the new one is not used";
        DnsReply = "dns_reply", "DNS reply shown as coming from the server that was asked";
        DnsManyServers = "dns_many_servers", "one UDP socket asks more servers than can be told apart: reply may name another one";
        GuestRefused = "guest_refused", "a guest's connection could not be turned to the sidecar: dropped";
        TproxySource = "tproxy_source", "transparent upstream socket bound to the loopback address that stands for its client";
        FlowNotKept = "flow_not_kept", "no memory for a connection's record: it is not among the flows";
        OwnRoute = "own_route", "a captured socket names hosts its packets go by (source route, segment routing): refused";
        FlowNotListed = "flow_not_listed", "the workload's share of the list of open connections is used up: it is among the flows when it closes";
        ListenerMptcp = "listener_mptcp", "the sidecar listens with MPTCP (Go programs do unless told): the kernel hands such a socket nothing; not used";
        OutboundRefused = "outbound_refused", "captured outbound, but no sidecar listens: refused";
        OutsideCgroup = "outside_cgroup", "a process of the namespace outside the cgroup called the pod: its own calls are not captured";
        RouteChanged = "route_changed", "left alone by the routes that were known, captured by the route the kernel took: refused";
    }
}

impl Event {
    /// Index in the counter map, behind the rules.
    #[inline(always)]
    pub const fn index(self) -> usize {
        Rule::COUNT + self as usize
    }
}

/// A workload's counters.
pub const COUNTERS: usize = Rule::COUNT + Event::COUNT;
pub type Counters = [u64; COUNTERS];
