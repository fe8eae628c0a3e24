//! What is left out, and why. Each entry is a difference that is known, or a thing that is decided elsewhere.

use tests::requirement::Requirement;
use tests::sample::{Attempt, Transport};

use crate::rule_set::RuleSet;

/// Where the agent answers DNS.
const DNS_LISTENER: u16 = 15053;

type Applies = fn(&RuleSet, &Attempt, bool) -> bool;

pub(crate) const REASONS: &[(Applies, &str)] = &[
    (
        |_, _, _| false,
        "traffic forwarded for a guest behind a virtual interface: no socket, a test of its own",
    ),
    (
        |_, _, _| false,
        "transparent upstream sockets of TPROXY mode (SO_MARK, a client's address): a test of its own",
    ),
    (
        |_, _, _| false,
        "SO_BINDTODEVICE: under iptables such a connection times out once redirected (quirk 12)",
    ),
    (
        by_interface,
        "from outside, with rules about interfaces, on a kernel that does not tell sk_lookup the interface",
    ),
];

/// Whether an attempt, made inside or outside of the pod, is not compared.
pub(crate) fn applies(set: &RuleSet, attempt: &Attempt, inside: bool) -> bool {
    REASONS.iter().any(|(applies, _)| applies(set, attempt, inside))
}

fn by_interface(set: &RuleSet, _: &Attempt, inside: bool) -> bool {
    let names_some = !set.excluded_interfaces.is_empty() || !set.virtual_interfaces.is_empty();
    !inside && names_some && Requirement::Kernel("ingress_ifindex").missing().is_some()
}

/// Whether SO_ORIGINAL_DST is not compared. Under iptables conntrack answers for every connection of a family with rules;
/// sidestep knows what it redirected, and what reached ports 15001 and 15006.
///
/// - Without IPv6 rules there is no conntrack for IPv6, and the kernel says ENOENT where sidestep tells the address the
///   client connected to, which is what Envoy falls back to.
/// - To somebody who connected to the agent's DNS port itself, conntrack tells that port and sidestep nothing. Only
///   Envoy asks.
pub(crate) fn original_dst(set: &RuleSet, attempt: &Attempt) -> bool {
    (!set.ipv6 && attempt.to.is_ipv6()) || attempt.to.port() == DNS_LISTENER
}

/// Whether the client's address as the server sees it is not compared: the agent sees a datagram sent without connect
/// come from 127.0.0.1, the source the rewritten destination leads to.
pub(crate) fn peer(attempt: &Attempt, who: &str) -> bool {
    attempt.transport == Transport::Udp && who.starts_with("agent:")
}
