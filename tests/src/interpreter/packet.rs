//! The first packet of a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A packet and what the kernel knows of it. Its connection is new: conntrack state NEW, no connection mark yet.
#[derive(Clone, Debug)]
pub struct Packet {
    pub protocol: Protocol,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub sport: u16,
    pub dport: u16,
    /// Set in PREROUTING.
    pub in_interface: Option<String>,
    /// Set in OUTPUT.
    pub out_interface: Option<String>,
    /// fsuid and fsgid of the socket's file; `None` without a local socket.
    pub owner: Option<(u32, u32)>,
    pub mark: u32,
    pub connmark: u32,
    /// Conntrack zone; the first CT target counts (net/netfilter/xt_CT.c: xt_ct_target).
    pub zone: Option<u16>,
}

impl Packet {
    /// The address REDIRECT in OUTPUT sends a packet of this family to (net/netfilter/nf_nat_redirect.c).
    pub fn loopback(&self) -> IpAddr {
        match self.dst {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        }
    }
}
