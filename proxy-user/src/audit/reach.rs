//! Who gets a connection from outside: through the sidecar, in either forwarding mode, or around it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use clap::ValueEnum;
use proxy_common::verdict::Target;
use serde::Serialize;

use super::{
    audited_pod::AuditedPod,
    server::{Protocol, Server},
};

/// How a sidecar goes on to its application.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// To loopback: Istio <= 1.9, LOCALHOST, a Sidecar's defaultEndpoint 127.0.0.1
    Lo,
    /// To the address the client called: Istio >= 1.10, PASSTHROUGH
    Eth0,
}

impl Forward {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lo => "lo",
            Self::Eth0 => "eth0",
        }
    }
}

/// How clients outside reach one server.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Reach {
    /// A client's connection to its port on some address of the pod goes to the sidecar.
    pub captured: bool,
    /// The row that captures.
    pub captured_by: Option<&'static str>,
    /// The sidecar of this mode hands it over.
    pub lo: bool,
    pub eth0: bool,
    /// Addresses where clients reach it without the sidecar, with the row that lets them and the interface.
    pub direct: BTreeSet<Direct>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Direct {
    pub address: IpAddr,
    pub interface: String,
    pub row: &'static str,
    pub why: &'static str,
}

impl Reach {
    /// Through the sidecar, in this mode.
    pub fn through(&self, forward: Forward) -> bool {
        match forward {
            Forward::Lo => self.lo,
            Forward::Eth0 => self.eth0,
        }
    }

    /// In words, for one mode.
    pub(super) fn words(&self, forward: Forward) -> &'static str {
        match (self.through(forward), self.direct.is_empty()) {
            (true, true) => "sidecar",
            (true, false) => "sidecar, direct",
            (false, false) => "direct",
            (false, true) => "no",
        }
    }
}

/// `declared`: ports the sidecar forwards to loopback in mode lo, None for every one; the others go by mode eth0.
pub(super) fn reach(pod: &AuditedPod, all: &[Server], server: &Server, declared: Option<&[u16]>) -> Reach {
    let mut reach = Reach::default();
    let tcp = server.protocol == Protocol::Tcp;
    let gets = |ip: IpAddr| {
        winner(all, server.protocol, ip, server.port).is_some_and(|winner| winner.at() == server.at())
    };
    for ip in pod.addresses() {
        for (interface, verdict) in pod.arrivals(tcp, ip, server.port) {
            match verdict.target {
                Target::Inbound => {
                    reach.captured = true;
                    reach.captured_by = Some(verdict.rule.name());
                    reach.eth0 |= gets(ip);
                    let to_lo = declared.is_none_or(|ports| ports.contains(&server.port));
                    reach.lo |= gets(if to_lo { loopback(ip) } else { ip });
                }
                Target::Bypass if gets(ip) => {
                    reach.direct.insert(Direct {
                        address: ip,
                        interface: interface.to_owned(),
                        row: verdict.rule.name(),
                        why: verdict.rule.describe(),
                    });
                }
                Target::Bypass | Target::Outbound | Target::Dns => {}
            }
        }
    }
    reach
}

fn loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// The server the kernel chooses: the exact address before the wildcard, and IPv4's before one of both families
/// (net/ipv4/inet_hashtables.c: compute_score).
fn winner(all: &[Server], protocol: Protocol, ip: IpAddr, port: u16) -> Option<&Server> {
    let rank = |server: &Server| match server.address {
        address if address == ip => Some(2),
        IpAddr::V4(any) if any.is_unspecified() && ip.is_ipv4() => Some(1),
        IpAddr::V6(any) if any.is_unspecified() && (ip.is_ipv6() || server.dual_stack) => Some(0),
        _ => None,
    };
    let ours = all.iter().filter(|server| server.protocol == protocol && server.port == port);
    ours.filter_map(|server| Some((rank(server)?, server)))
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, server)| server)
}
