//! The growing list of rules of one family, and the values that differ by family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proxy_common::verdict::Row;

use super::rule::{Chain, Family, Match, Position, Protocol, Rule, Table, Target};
use crate::config::Config;

pub(super) const TCP: Match = Match::Protocol(Protocol::Tcp);
pub(super) const UDP: Match = Match::Protocol(Protocol::Udp);

pub(super) struct Program<'a> {
    pub(super) config: &'a Config,
    pub(super) family: Family,
    rules: Vec<Rule>,
}

impl<'a> Program<'a> {
    pub(super) fn new(config: &'a Config, family: Family) -> Self {
        Self { config, family, rules: Vec::new() }
    }

    pub(super) fn append<const N: usize>(
        &mut self,
        row: impl Into<Option<Row>>,
        table: Table,
        chain: Chain,
        matches: [Match; N],
        target: Target,
    ) {
        self.push(row, table, chain, Position::Append, matches.into(), target);
    }

    pub(super) fn insert<const N: usize>(
        &mut self,
        row: impl Into<Option<Row>>,
        table: Table,
        (chain, number): (Chain, u32),
        matches: [Match; N],
        target: Target,
    ) {
        self.push(row, table, chain, Position::Insert(number), matches.into(), target);
    }

    pub(super) fn push(
        &mut self,
        row: impl Into<Option<Row>>,
        table: Table,
        chain: Chain,
        position: Position,
        matches: Vec<Match>,
        target: Target,
    ) {
        self.rules.push(Rule { table, chain, position, matches, target, row: row.into() });
    }

    pub(super) fn finish(self) -> Vec<Rule> {
        self.rules
    }

    /// What counts as this host; only IPv4 has a setting for it.
    pub(super) fn loopback(&self) -> IpNet {
        match self.family {
            Family::V4 => IpNet::V4(self.config.loopback_cidr),
            Family::V6 => IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        }
    }

    /// The source of the sidecar's inbound connections to the application.
    pub(super) fn passthrough_source(&self) -> IpNet {
        IpNet::from(match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
        })
    }

    /// The ranges of this family, in order.
    pub(super) fn of_family(&self, nets: &'a [IpNet]) -> impl Iterator<Item = IpNet> + use<'a> {
        let v4 = self.family == Family::V4;
        nets.iter().copied().filter(move |net| net.addr().is_ipv4() == v4)
    }
}

pub(super) fn out_lo() -> Match {
    Match::OutInterface("lo".into())
}

pub(super) fn in_lo() -> Match {
    Match::InInterface("lo".into())
}
