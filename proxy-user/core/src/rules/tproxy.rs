//! TPROXY mode's marks: rows T1 to T3. They are there even when no inbound port is captured.

use proxy_common::verdict::IptablesRow;

use super::{
    program::{Program, TCP, in_lo, out_lo},
    rule::{Chain, Match, Table, Target},
};
use crate::config::Mode;

/// Put by mangle OUTPUT on the proxy's calls to its own pod, so that row T3 lets them on to capture. Not a setting.
const SELF_CALL: u32 = 1338;

pub(super) fn marks(program: &mut Program<'_>) {
    let config = program.config;
    if config.mode != Mode::Tproxy {
        return;
    }
    let marked = Match::Mark(config.tproxy_mark);
    let prerouting = [TCP, marked.clone()];
    program.append(IptablesRow::T1, Table::Mangle, Chain::Prerouting, prerouting, Target::SaveMark);
    let output = [TCP, out_lo(), marked.clone()];
    program.append(IptablesRow::T1, Table::Mangle, Chain::Output, output, Target::Return);
    let uids = config.proxy_uids.iter().copied().map(Match::Uid);
    let gids = config.proxy_gids.iter().copied().map(Match::Gid);
    for owner in uids.chain(gids) {
        let self_call = [Match::NotDestination(program.loopback()), TCP, out_lo(), owner];
        program.append(IptablesRow::T3, Table::Mangle, Chain::Output, self_call, Target::SetMark(SELF_CALL));
    }
    let reply = [TCP, Match::ConnMark(config.tproxy_mark)];
    program.append(IptablesRow::T1, Table::Mangle, Chain::Output, reply, Target::RestoreMark);

    let at = |number| (Chain::IstioInbound, number);
    let passthrough = [TCP, Match::Source(program.passthrough_source()), in_lo()];
    let not_self_call = [TCP, in_lo(), Match::NotMark(SELF_CALL)];
    program.insert(IptablesRow::T1, Table::Mangle, at(1), [TCP, marked], Target::Return);
    program.insert(IptablesRow::T2, Table::Mangle, at(2), passthrough, Target::Return);
    program.insert(IptablesRow::T3, Table::Mangle, at(3), not_self_call, Target::Return);
}
