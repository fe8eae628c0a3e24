//! The verdict on a connection or datagram a process of the workload sends (nat OUTPUT, rows O0 to O16).
//!
//! iptables walks a uid's three rows, then the next uid's, then the gids'. The walk has a closed form: where row O4
//! exists for the packet, the first uid alone decides (it matches or it does not); where it does not, membership
//! decides. That is quirk 1: on lo, a second uid in the list never reaches the inbound listener.

use crate::{
    addr::Addr,
    dns,
    policy::{Policy, Table, flag, id_flag, port_flag, range_flag},
    tproxy::is_sidecar,
    verdict::{Rule, Target, Verdict},
};

/// One outgoing connection or datagram, as `nat OUTPUT` would see its first packet.
#[derive(Clone, Copy, Debug)]
pub struct Egress {
    /// TCP, otherwise UDP.
    pub tcp: bool,
    /// The source the packet would carry: bound, or chosen by the route.
    pub src: Addr,
    pub dst: Addr,
    pub dport: u16,
    /// The route leads to lo: the destination is one of the pod's own addresses.
    pub out_lo: bool,
    /// The route leads to an excluded interface.
    pub out_excluded: bool,
    /// Owner of the socket: fsuid and fsgid of the process that created it.
    pub uid: u32,
    pub gid: u32,
    /// SO_MARK of the socket.
    pub mark: u32,
}

/// The mark mangle OUTPUT gives to the proxy's calls to its own pod in TPROXY mode. Istio has no setting for it.
const SELF_CALL: u32 = 1338;

#[inline(always)]
pub fn egress<T: Table>(table: &T, c: &Egress) -> Verdict {
    let policy = table.policy();
    if !c.dst.is_v4() && !policy.has(flag::IPV6) {
        return Rule::NoRules.verdict();
    }
    let nat = nat_output(table, &policy, c);
    if matches!(nat.target, Target::Bypass) && policy.has(flag::TPROXY) {
        return tproxy_self_call(table, &policy, c).unwrap_or(nat);
    }
    nat
}

#[inline(always)]
fn nat_output<T: Table>(table: &T, policy: &Policy, c: &Egress) -> Verdict {
    if c.out_excluded {
        return Rule::O0.verdict();
    }
    let port = if policy.has(flag::OUTBOUND_PORTS) { table.port(c.dport) } else { 0 };
    if port & port_flag::OUTBOUND_EXCLUDE != 0 {
        return Rule::O1.verdict();
    }
    if c.out_lo && c.src.is_passthrough_source() {
        return Rule::O2.verdict();
    }
    if let Some(verdict) = owner(table, policy, c) {
        return verdict;
    }
    let ranges = if policy.has(flag::RANGES) { table.range(&c.dst) } else { 0 };
    if policy.has(flag::DNS)
        && c.dport == dns::PORT
        && (policy.has(flag::DNS_ALL) || ranges & range_flag::DNS_SERVER != 0)
    {
        return if c.tcp { Rule::O10.verdict() } else { Rule::O11.verdict() };
    }
    if policy.is_loopback_range(&c.dst) {
        return Rule::O12.verdict();
    }
    if ranges & range_flag::OUTBOUND_EXCLUDE != 0 {
        return Rule::O13.verdict();
    }
    if !c.tcp {
        return Rule::O16.verdict();
    }
    if port & port_flag::OUTBOUND_INCLUDE != 0 {
        return Rule::O14.verdict();
    }
    if policy.has(flag::OUTBOUND_ALL) {
        return Rule::O15.verdict();
    }
    if ranges & range_flag::OUTBOUND_INCLUDE != 0 {
        return Rule::O15Range.verdict();
    }
    Rule::O16.verdict()
}

/// Rows O3 to O9'.
#[inline(always)]
fn owner<T: Table>(table: &T, policy: &Policy, c: &Egress) -> Option<Verdict> {
    let captures_dns = policy.has(flag::DNS);
    let dns_port = captures_dns && c.dport == dns::PORT;
    // The gid's row O6 never got the exception for port 53 that the uid's row O3 has.
    let self_call = c.tcp && c.out_lo && c.dport != policy.tunnel_port && !policy.is_loopback_range(&c.dst);
    let own = |rule_in: Rule, rule_out: Rule, inbound: bool| {
        Some(if inbound { rule_in.verdict() } else { rule_out.verdict() })
    };

    let guarded = c.out_lo
        && !policy.has(flag::LOOPBACK_INCLUDED)
        && (!captures_dns || (c.tcp && c.dport != dns::PORT));
    if guarded {
        if c.uid != policy.first_uid {
            return Some(Rule::O4.verdict());
        }
        return own(Rule::O3, Rule::O5, self_call && !dns_port);
    }
    if c.uid == policy.first_uid || (policy.has(flag::MORE_IDS) && table.id(c.uid) & id_flag::PROXY_UID != 0)
    {
        return own(Rule::O3, Rule::O5, self_call && !dns_port);
    }

    let by_group = policy.has(flag::MORE_IDS | flag::GROUPS_EXCEPT | flag::GROUPS_ONLY);
    let group = if by_group { table.id(c.gid) } else { 0 };
    if c.gid == policy.first_gid || group & id_flag::PROXY_GID != 0 {
        return own(Rule::O6, Rule::O8, self_call);
    }
    let listed = group & id_flag::GROUP != 0;
    if policy.has(flag::GROUPS_EXCEPT) && listed {
        return Some(Rule::O9.verdict());
    }
    if policy.has(flag::GROUPS_ONLY) && !listed {
        return Some(Rule::O9Include.verdict());
    }
    None
}

/// TPROXY mode: mangle OUTPUT marks the proxy's calls to its own pod, mangle PREROUTING on lo hands them over.
#[inline(always)]
fn tproxy_self_call<T: Table>(table: &T, policy: &Policy, c: &Egress) -> Option<Verdict> {
    // Row T1 returns what carries the sidecar's mark, also if that is the mark of self calls; row T0 what goes over an
    // excluded lo.
    if !c.tcp
        || !c.out_lo
        || c.out_excluded
        || c.mark == policy.tproxy_mark
        || policy.tproxy_mark == SELF_CALL
    {
        return None;
    }
    if policy.is_loopback_range(&c.dst) || c.src.is_passthrough_source() {
        return None;
    }
    if !is_sidecar(table, policy, c.uid, c.gid) && c.mark != SELF_CALL {
        return None;
    }
    let inbound = crate::ingress::tproxy_port(table, policy, c.dport);
    matches!(inbound.target, Target::Inbound).then_some(inbound)
}
