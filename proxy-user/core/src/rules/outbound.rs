//! What local processes send: rows O1 to O9 and O12 to O15.

use proxy_common::{dns, verdict::Rule};

use super::{
    program::{Program, TCP, UDP, out_lo},
    rule::{Chain, Match, Position, Table, Target},
};
use crate::config::{CidrSet, OwnerGroup, OwnerGroups};

const OUTPUT: Chain = Chain::IstioOutput;
const TO_INBOUND: Target = Target::Jump(Chain::IstioInRedirect);
const TO_OUTBOUND: Target = Target::Jump(Chain::IstioRedirect);

/// Rows O1 and O2.
pub(super) fn before_owners(program: &mut Program<'_>) {
    program.append(None, Table::Nat, Chain::Output, [], Target::Jump(OUTPUT));
    for port in &program.config.outbound_ports_exclude {
        for protocol in [TCP, UDP] {
            program.append(Rule::O1, Table::Nat, OUTPUT, [protocol, Match::Port(*port)], Target::Return);
        }
    }
    let passthrough = [out_lo(), Match::Source(program.passthrough_source())];
    program.append(Rule::O2, Table::Nat, OUTPUT, passthrough, Target::Return);
}

/// Rows O3 to O5 for each uid, then O6 to O8 for each gid.
pub(super) fn owners(program: &mut Program<'_>) {
    let config = program.config;
    let captures_dns = config.dns_active().is_some();
    let tunnel = config.ports.tunnel;
    // Only the uid's rule spares port 53; the gid's never got the exception.
    let uid_ports =
        if captures_dns { Match::NotPorts(vec![dns::PORT, tunnel]) } else { Match::NotPort(tunnel) };
    for uid in &config.proxy_uids {
        let (is, is_not) = (Match::Uid(*uid), Match::NotUid(*uid));
        owner(program, [Rule::O3, Rule::O4, Rule::O5], uid_ports.clone(), is, is_not);
    }
    for gid in &config.proxy_gids {
        let (is, is_not) = (Match::Gid(*gid), Match::NotGid(*gid));
        owner(program, [Rule::O6, Rule::O7, Rule::O8], Match::NotPort(tunnel), is, is_not);
    }
}

fn owner(program: &mut Program<'_>, rows: [Rule; 3], ports: Match, is: Match, is_not: Match) {
    let self_call = [out_lo(), Match::NotDestination(program.loopback()), TCP, ports, is.clone()];
    program.append(rows[0], Table::Nat, OUTPUT, self_call, TO_INBOUND);
    // Of either family: an IPv4 loopback range takes the rule out of the IPv6 program as well.
    if !program.config.includes_loopback() {
        if program.config.dns_active().is_some() {
            // A DNS server on lo must still be captured, so port 53 falls through.
            let other = [out_lo(), TCP, Match::NotPort(dns::PORT), is_not];
            program.append(rows[1], Table::Nat, OUTPUT, other, Target::Return);
        } else {
            program.append(rows[1], Table::Nat, OUTPUT, [out_lo(), is_not], Target::Return);
        }
    }
    program.append(rows[2], Table::Nat, OUTPUT, [is], Target::Return);
}

/// Rows O9 and O9'.
pub(super) fn owner_groups(program: &mut Program<'_>) {
    match &program.config.owner_groups {
        OwnerGroups::Everyone => {}
        OwnerGroups::Except(groups) => {
            for group in groups {
                program.append(Rule::O9, Table::Nat, OUTPUT, [is_in(group)], Target::Return);
            }
        }
        // One rule, and without groups an unconditional one.
        OwnerGroups::Only(groups) => {
            let matches = groups.iter().map(is_not_in).collect();
            program.push(Rule::O9Include, Table::Nat, OUTPUT, Position::Append, matches, Target::Return);
        }
    }
}

fn is_in(group: &OwnerGroup) -> Match {
    match &group.name {
        Some(name) => Match::Group { gid: group.gid, name: name.clone() },
        None => Match::Gid(group.gid),
    }
}

fn is_not_in(group: &OwnerGroup) -> Match {
    match &group.name {
        Some(name) => Match::NotGroup { gid: group.gid, name: name.clone() },
        None => Match::NotGid(group.gid),
    }
}

/// Rows O12, O13 and O14.
pub(super) fn destinations(program: &mut Program<'_>) {
    let config = program.config;
    let loopback = Match::Destination(program.loopback());
    program.append(Rule::O12, Table::Nat, OUTPUT, [loopback], Target::Return);
    for net in program.of_family(&config.outbound_exclude) {
        program.append(Rule::O13, Table::Nat, OUTPUT, [Match::Destination(net)], Target::Return);
    }
    for port in &config.outbound_ports_include {
        program.append(Rule::O14, Table::Nat, OUTPUT, [TCP, Match::Port(*port)], TO_OUTBOUND);
    }
}

/// Rows O15 and O15', and I1 and I1' for the virtual interfaces.
pub(super) fn included(program: &mut Program<'_>) {
    let config = program.config;
    match &config.outbound_include {
        CidrSet::All => {
            program.append(Rule::O15, Table::Nat, OUTPUT, [], TO_OUTBOUND);
            for name in &config.kube_virt_interfaces {
                let from = [Match::InInterface(name.clone())];
                program.insert(Rule::I1, Table::Nat, (Chain::Prerouting, 1), from, TO_OUTBOUND);
            }
        }
        CidrSet::List(nets) => {
            for net in program.of_family(nets) {
                for name in &config.kube_virt_interfaces {
                    let from = [Match::InInterface(name.clone()), Match::Destination(net)];
                    program.insert(Rule::I1Range, Table::Nat, (Chain::Prerouting, 1), from, TO_OUTBOUND);
                }
                program.append(Rule::O15Range, Table::Nat, OUTPUT, [Match::Destination(net)], TO_OUTBOUND);
            }
        }
    }
}
