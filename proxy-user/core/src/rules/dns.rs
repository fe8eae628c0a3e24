//! DNS capture: rows O10 and O11, and the connection tracking zones of the raw table.
//!
//! The zones keep application <-> agent apart from agent <-> server, so that both never share a UDP tuple. eBPF has no
//! such tuple and needs none of them. Their rules are named: D1 agent to server, D2 agent to application,
//! D3 application to server, D4 server to agent.

use std::net::IpAddr;

use proxy_common::{
    dns::PORT,
    verdict::{IptablesRow, Rule},
};

use super::{
    program::{Program, TCP, UDP},
    rule::{Chain, Family, Match, Table, Target},
};
use crate::config::DnsServers;

const DNS: Match = Match::Port(PORT);
const SERVER_SIDE: Target = Target::Zone(1);
const CLIENT_SIDE: Target = Target::Zone(2);

pub(super) fn capture(program: &mut Program<'_>) {
    let config = program.config;
    let Some(dns) = config.dns_active() else { return };
    let servers: Vec<IpAddr> = match program.family {
        Family::V4 => dns.servers.v4().map(IpAddr::V4).collect(),
        Family::V6 => dns.servers.v6().map(IpAddr::V6).collect(),
    };
    let all = dns.servers == DnsServers::All;
    let captured = all || !servers.is_empty();
    // The raw jump is there even for a family without servers, because the owners' zones are.
    program.append(None, Table::Raw, Chain::Output, [], Target::Jump(Chain::IstioOutputDns));
    if captured {
        program.append(None, Table::Nat, Chain::IstioOutput, [], Target::Jump(Chain::IstioOutputDns));
    }
    for (row, protocol, option) in [(Rule::O10, TCP, "--to-ports"), (Rule::O11, UDP, "--to-port")] {
        let target = Target::Redirect { option, port: config.ports.dns };
        if all {
            program.append(row, Table::Nat, Chain::IstioOutputDns, [protocol.clone(), DNS], target);
        }
        for server in &servers {
            let to = [protocol.clone(), DNS, Match::ToServer(*server)];
            program.append(row, Table::Nat, Chain::IstioOutputDns, to, target);
        }
    }
    owner_zones(program);
    if captured {
        program.append(None, Table::Raw, Chain::Prerouting, [], Target::Jump(Chain::IstioInbound));
    }
    server_zones(program, all, &servers);
}

fn owner_zones(program: &mut Program<'_>) {
    let config = program.config;
    let uids = config.proxy_uids.iter().copied().map(Match::Uid);
    let gids = config.proxy_gids.iter().copied().map(Match::Gid);
    let agent = Match::SourcePort(config.ports.dns);
    for owner in uids.chain(gids) {
        let (ask, answer) = ([UDP, DNS, owner.clone()], [UDP, agent.clone(), owner]);
        program.append(IptablesRow::D1, Table::Raw, Chain::IstioOutputDns, ask, SERVER_SIDE);
        program.append(IptablesRow::D2, Table::Raw, Chain::IstioOutputDns, answer, CLIENT_SIDE);
    }
}

fn server_zones(program: &mut Program<'_>, all: bool, servers: &[IpAddr]) {
    let from_dns = Match::SourcePort(PORT);
    if all {
        program.append(IptablesRow::D3, Table::Raw, Chain::IstioOutputDns, [UDP, DNS], CLIENT_SIDE);
        program.append(
            IptablesRow::D4,
            Table::Raw,
            Chain::IstioInbound,
            [UDP, from_dns.clone()],
            SERVER_SIDE,
        );
    }
    for server in servers {
        let to = [UDP, DNS, Match::ToServer(*server)];
        let from = [UDP, from_dns.clone(), Match::FromServer(*server)];
        program.append(IptablesRow::D3, Table::Raw, Chain::IstioOutputDns, to, CLIENT_SIDE);
        program.append(IptablesRow::D4, Table::Raw, Chain::IstioInbound, from, SERVER_SIDE);
    }
}
