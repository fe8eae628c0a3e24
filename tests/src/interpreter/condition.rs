//! The matches of a rule.

use std::net::IpAddr;

use super::packet::{Packet, Protocol};

/// One match, without its `!`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    Protocol(Protocol),
    InInterface(String),
    OutInterface(String),
    Source(IpAddr, u8),
    Destination(IpAddr, u8),
    SourcePort(u16),
    DestinationPort(u16),
    /// multiport
    DestinationPorts(Vec<u16>),
    Uid(u32),
    Gid(u32),
    Mark(u32),
    ConnMark(u32),
    States(Vec<String>),
}

/// A match, possibly negated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Match {
    pub negated: bool,
    pub condition: Condition,
}

impl Match {
    pub fn holds(&self, packet: &Packet) -> bool {
        // xt_owner.c: owner_mt without a socket: what is negated holds, what is not does not. That is what negating a
        // "no" gives; every other match negates plainly as well.
        self.condition.holds(packet) != self.negated
    }
}

impl Condition {
    fn holds(&self, packet: &Packet) -> bool {
        match self {
            Self::Protocol(protocol) => packet.protocol == *protocol,
            // ip_tables.c: ip_packet_match compares with an empty name where the hook has no such interface.
            Self::InInterface(name) => packet.in_interface.as_ref() == Some(name),
            Self::OutInterface(name) => packet.out_interface.as_ref() == Some(name),
            Self::Source(net, length) => covers(*net, *length, packet.src),
            Self::Destination(net, length) => covers(*net, *length, packet.dst),
            Self::SourcePort(port) => packet.sport == *port,
            Self::DestinationPort(port) => packet.dport == *port,
            Self::DestinationPorts(ports) => ports.contains(&packet.dport),
            Self::Uid(uid) => packet.owner.is_some_and(|(owner, _)| owner == *uid),
            Self::Gid(gid) => packet.owner.is_some_and(|(_, owner)| owner == *gid),
            Self::Mark(mark) => packet.mark == *mark,
            Self::ConnMark(mark) => packet.connmark == *mark,
            Self::States(states) => states.iter().any(|state| state == "NEW"),
        }
    }
}

/// Compares the first `length` bits. iptables masks the rule's address when it reads it, so host bits do not count.
fn covers(net: IpAddr, length: u8, ip: IpAddr) -> bool {
    let first_bits = |bits: u128, width: u8| {
        // A shift by the whole width would overflow.
        if length == 0 { 0 } else { bits >> (width - length) }
    };
    match (net, ip) {
        (IpAddr::V4(net), IpAddr::V4(ip)) => {
            first_bits(net.to_bits().into(), 32) == first_bits(ip.to_bits().into(), 32)
        }
        (IpAddr::V6(net), IpAddr::V6(ip)) => first_bits(net.to_bits(), 128) == first_bits(ip.to_bits(), 128),
        _ => false,
    }
}
