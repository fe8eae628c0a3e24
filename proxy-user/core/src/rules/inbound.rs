//! What arrives: rows I4 to I6 and, in TPROXY mode, T4 to T6.

use proxy_common::verdict::{IptablesRow, Rule};

use super::{
    program::{Program, TCP},
    rule::{Chain, Match, Table, Target},
};
use crate::config::{Mode, PortSet};

const ESTABLISHED: Match = Match::State("RELATED,ESTABLISHED");
const DIVERT: Target = Target::Jump(Chain::IstioDivert);
const TPROXY: Target = Target::Jump(Chain::IstioTproxy);
const REDIRECT: Target = Target::Jump(Chain::IstioInRedirect);

pub(super) fn drop_invalid(program: &mut Program<'_>) {
    if program.config.drop_invalid {
        let (invalid, dropped) = (Match::State("INVALID"), Target::Jump(Chain::IstioDrop));
        program.append(None, Table::Mangle, Chain::Prerouting, [invalid], dropped);
        program.append(None, Table::Mangle, Chain::IstioDrop, [], Target::Drop);
    }
}

/// Row I4 and the two chains that redirect. Row I4 is there in every mode, and idle unless [`captured`] adds the jump.
pub(super) fn chains(program: &mut Program<'_>) {
    let ports = program.config.ports;
    let redirect = |port| Target::Redirect { option: "--to-ports", port };
    let tunnel = [TCP, Match::Port(ports.tunnel)];
    program.append(Rule::I4, Table::Nat, Chain::IstioInbound, tunnel, Target::Return);
    program.append(None, Table::Nat, Chain::IstioRedirect, [TCP], redirect(ports.outbound));
    program.append(None, Table::Nat, Chain::IstioInRedirect, [TCP], redirect(ports.inbound));
}

pub(super) fn captured(program: &mut Program<'_>) {
    let config = program.config;
    if config.inbound_include == PortSet::None {
        return;
    }
    let tproxy = config.mode == Mode::Tproxy;
    if tproxy {
        tproxy_chains(program);
    }
    let (table, excluded_row) = if tproxy { (Table::Mangle, Rule::T4) } else { (Table::Nat, Rule::I5) };
    program.append(None, table, Chain::Prerouting, [TCP], Target::Jump(Chain::IstioInbound));
    match &config.inbound_include {
        PortSet::None => {}
        PortSet::All => {
            for port in &config.inbound_exclude {
                let excluded = [TCP, Match::Port(*port)];
                program.append(excluded_row, table, Chain::IstioInbound, excluded, Target::Return);
            }
            if tproxy {
                program.append(IptablesRow::T5, table, Chain::IstioInbound, [TCP, ESTABLISHED], DIVERT);
                program.append(Rule::T6, table, Chain::IstioInbound, [TCP], TPROXY);
            } else {
                program.append(Rule::I6, table, Chain::IstioInbound, [TCP], REDIRECT);
            }
        }
        // The exclude list counts only with "*".
        PortSet::List(ports) => {
            for port in ports.iter().copied().map(Match::Port) {
                if tproxy {
                    let established = [TCP, port.clone(), ESTABLISHED];
                    program.append(IptablesRow::T5, table, Chain::IstioInbound, established, DIVERT);
                    program.append(Rule::T6, table, Chain::IstioInbound, [TCP, port], TPROXY);
                } else {
                    program.append(Rule::I6List, table, Chain::IstioInbound, [TCP, port], REDIRECT);
                }
            }
        }
    }
}

fn tproxy_chains(program: &mut Program<'_>) {
    let mark = program.config.tproxy_mark;
    let port = program.config.ports.inbound;
    let elsewhere = Match::NotDestination(program.loopback());
    program.append(IptablesRow::T5, Table::Mangle, Chain::IstioDivert, [], Target::SetMark(mark));
    program.append(IptablesRow::T5, Table::Mangle, Chain::IstioDivert, [], Target::Accept);
    let target = Target::Tproxy { mark, port };
    program.append(Rule::T6, Table::Mangle, Chain::IstioTproxy, [elsewhere, TCP], target);
}
