//! One iptables rule, and how it is written.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use proxy_common::verdict::Row;

/// Which iptables a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// In the order Istio prints them, which is alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Mangle,
    Nat,
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chain {
    Prerouting,
    Output,
    IstioInbound,
    IstioOutput,
    IstioRedirect,
    IstioInRedirect,
    IstioOutputDns,
    IstioDivert,
    IstioTproxy,
    IstioDrop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Append,
    /// Before the rule with this number, counted from 1.
    Insert(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// One condition. A rule applies when all of its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    Protocol(Protocol),
    InInterface(String),
    OutInterface(String),
    Source(IpNet),
    Destination(IpNet),
    NotDestination(IpNet),
    /// A DNS server as the source or the destination.
    FromServer(IpAddr),
    ToServer(IpAddr),
    SourcePort(u16),
    Port(u16),
    NotPort(u16),
    NotPorts(Vec<u16>),
    Uid(u32),
    NotUid(u32),
    Gid(u32),
    NotGid(u32),
    /// An owner group, written by the name it was given by.
    Group {
        gid: u32,
        name: String,
    },
    NotGroup {
        gid: u32,
        name: String,
    },
    Mark(u32),
    NotMark(u32),
    ConnMark(u32),
    /// Connection tracking states, as iptables spells them.
    State(&'static str),
}

/// What happens to what a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Return,
    Accept,
    Drop,
    Jump(Chain),
    /// `option` is `--to-ports` or, in Istio's UDP rules, its abbreviation `--to-port`.
    Redirect {
        option: &'static str,
        port: u16,
    },
    Tproxy {
        mark: u32,
        port: u16,
    },
    SetMark(u32),
    /// Packet mark to connection mark.
    SaveMark,
    /// Connection mark to packet mark.
    RestoreMark,
    /// Connection tracking zone.
    Zone(u16),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub table: Table,
    pub chain: Chain,
    pub position: Position,
    pub matches: Vec<Match>,
    pub target: Target,
    /// The row of the decision table this rule implements; `None` for the jumps and chains that only lead to one.
    pub row: Option<Row>,
}

impl Table {
    pub fn name(self) -> &'static str {
        match self {
            Table::Mangle => "mangle",
            Table::Nat => "nat",
            Table::Raw => "raw",
        }
    }
}

impl Chain {
    pub fn name(self) -> &'static str {
        match self {
            Chain::Prerouting => "PREROUTING",
            Chain::Output => "OUTPUT",
            Chain::IstioInbound => "ISTIO_INBOUND",
            Chain::IstioOutput => "ISTIO_OUTPUT",
            Chain::IstioRedirect => "ISTIO_REDIRECT",
            Chain::IstioInRedirect => "ISTIO_IN_REDIRECT",
            Chain::IstioOutputDns => "ISTIO_OUTPUT_DNS",
            Chain::IstioDivert => "ISTIO_DIVERT",
            Chain::IstioTproxy => "ISTIO_TPROXY",
            Chain::IstioDrop => "ISTIO_DROP",
        }
    }

    /// True for the kernel's own chains, which need no `-N`.
    pub fn is_builtin(self) -> bool {
        matches!(self, Chain::Prerouting | Chain::Output)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::Protocol(protocol) => write!(f, "-p {protocol}"),
            Match::InInterface(name) => write!(f, "-i {name}"),
            Match::OutInterface(name) => write!(f, "-o {name}"),
            Match::Source(net) => write!(f, "-s {net}"),
            Match::Destination(net) => write!(f, "-d {net}"),
            Match::NotDestination(net) => write!(f, "! -d {net}"),
            Match::FromServer(address) => write!(f, "-s {}", host_range(*address)),
            Match::ToServer(address) => write!(f, "-d {}", host_range(*address)),
            Match::SourcePort(port) => write!(f, "--sport {port}"),
            Match::Port(port) => write!(f, "--dport {port}"),
            Match::NotPort(port) => write!(f, "! --dport {port}"),
            Match::NotPorts(ports) => {
                let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
                write!(f, "-m multiport ! --dports {}", ports.join(","))
            }
            Match::Uid(uid) => write!(f, "-m owner --uid-owner {uid}"),
            Match::NotUid(uid) => write!(f, "-m owner ! --uid-owner {uid}"),
            Match::Gid(gid) => write!(f, "-m owner --gid-owner {gid}"),
            Match::NotGid(gid) => write!(f, "-m owner ! --gid-owner {gid}"),
            Match::Group { name, .. } => write!(f, "-m owner --gid-owner {name}"),
            Match::NotGroup { name, .. } => write!(f, "-m owner ! --gid-owner {name}"),
            Match::Mark(mark) => write!(f, "-m mark --mark {mark}"),
            Match::NotMark(mark) => write!(f, "-m mark ! --mark {mark}"),
            Match::ConnMark(mark) => write!(f, "-m connmark --mark {mark}"),
            Match::State(states) => write!(f, "-m conntrack --ctstate {states}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Return => f.write_str("-j RETURN"),
            Target::Accept => f.write_str("-j ACCEPT"),
            Target::Drop => f.write_str("-j DROP"),
            Target::Jump(chain) => write!(f, "-j {}", chain.name()),
            Target::Redirect { option, port } => write!(f, "-j REDIRECT {option} {port}"),
            Target::Tproxy { mark, port } => {
                write!(f, "-j TPROXY --tproxy-mark {mark}/0xffffffff --on-port {port}")
            }
            Target::SetMark(mark) => write!(f, "-j MARK --set-mark {mark}"),
            Target::SaveMark => f.write_str("-j CONNMARK --save-mark"),
            Target::RestoreMark => f.write_str("-j CONNMARK --restore-mark"),
            Target::Zone(zone) => write!(f, "-j CT --zone {zone}"),
        }
    }
}

/// The rule as iptables-restore reads it, without its table.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Position::Append => write!(f, "-A {}", self.chain.name())?,
            Position::Insert(number) => write!(f, "-I {} {number}", self.chain.name())?,
        }
        for condition in &self.matches {
            write!(f, " {condition}")?;
        }
        write!(f, " {}", self.target)
    }
}

/// Server addresses are written as inet_ntop does, for that is how they stand in resolv.conf and in Istio's rules:
/// `::127.0.0.53`, where Rust would print `::7f00:35`.
fn host_range(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) if is_v4_compatible(address) => {
            let [.., a, b, c, d] = address.octets();
            format!("::{a}.{b}.{c}.{d}/128")
        }
        IpAddr::V6(address) => format!("{address}/128"),
    }
}

fn is_v4_compatible(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    segments[..6].iter().all(|segment| *segment == 0) && segments[6] != 0
}
