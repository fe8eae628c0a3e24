//! The verdict on a connection that arrives from outside the pod (PREROUTING, rows I1 to I7 and T0 to T6).
//!
//! Deliveries over lo are not this function's: iptables never shows them to the inbound chains either.

use crate::{
    addr::Addr,
    policy::{Policy, Table, flag, interface_flag, port_flag, range_flag},
    verdict::{Rule, Target, Verdict},
};

/// One arriving connection.
#[derive(Clone, Copy, Debug)]
pub struct Ingress {
    /// TCP, otherwise UDP.
    pub tcp: bool,
    pub dst: Addr,
    pub dport: u16,
    /// [`interface_flag`] bits of the interface it arrives by.
    pub interface: u8,
}

/// Whether the addresses of a delivery say that it goes over lo, where [`ingress`] is not asked. `::6` is the sidecar's
/// own on lo; another address of the pod is known by its routes or by its client.
#[inline(always)]
pub fn is_over_lo(local: &Addr, remote: &Addr) -> bool {
    local.is_loopback() || remote.is_loopback() || remote.is_passthrough_source()
}

#[inline(always)]
pub fn ingress<T: Table>(table: &T, c: &Ingress) -> Verdict {
    let policy = table.policy();
    if !c.dst.is_v4() && !policy.has(flag::IPV6) {
        return Rule::NoRules.verdict();
    }
    if policy.has(flag::TPROXY) {
        return tproxy(table, &policy, c);
    }
    if let Some(verdict) = interface(table, &policy, c) {
        return verdict;
    }
    if !c.tcp || !policy.has(flag::INBOUND_ALL | flag::INBOUND_LIST) {
        return Rule::I7.verdict();
    }
    if c.dport == policy.tunnel_port {
        return Rule::I4.verdict();
    }
    let port = if policy.has(flag::INBOUND_PORTS) { table.port(c.dport) } else { 0 };
    if policy.has(flag::INBOUND_ALL) {
        if port & port_flag::INBOUND_EXCLUDE != 0 {
            return Rule::I5.verdict();
        }
        return Rule::I6.verdict();
    }
    if port & port_flag::INBOUND_INCLUDE != 0 {
        return Rule::I6List.verdict();
    }
    Rule::I7.verdict()
}

/// Rows I1 to I3: virtual interfaces (KubeVirt) speak for a guest, whose calls are outbound ones.
#[inline(always)]
fn interface<T: Table>(table: &T, policy: &Policy, c: &Ingress) -> Option<Verdict> {
    if c.interface & interface_flag::VIRTUAL != 0 {
        if c.tcp && policy.has(flag::OUTBOUND_ALL) {
            return Some(Rule::I1.verdict());
        }
        if c.tcp && policy.has(flag::RANGES) && table.range(&c.dst) & range_flag::OUTBOUND_INCLUDE != 0 {
            return Some(Rule::I1Range.verdict());
        }
        return Some(Rule::I2.verdict());
    }
    if c.interface & interface_flag::EXCLUDED != 0 {
        return Some(Rule::I3.verdict());
    }
    None
}

#[inline(always)]
fn tproxy<T: Table>(table: &T, policy: &Policy, c: &Ingress) -> Verdict {
    let mangle = if c.interface & interface_flag::EXCLUDED != 0 {
        Rule::T0.verdict()
    } else if !c.tcp {
        Rule::I7.verdict()
    } else {
        tproxy_port(table, policy, c.dport)
    };
    // What mangle leaves alone, also by row T0, still meets the nat rows of a virtual interface.
    if matches!(mangle.target, Target::Bypass)
        && c.interface & interface_flag::VIRTUAL != 0
        && let Some(nat) = interface(table, policy, c)
    {
        return nat;
    }
    mangle
}

/// Rows T4 and T6. The tunnel port has no exception here (quirk 6).
#[inline(always)]
pub(crate) fn tproxy_port<T: Table>(table: &T, policy: &Policy, dport: u16) -> Verdict {
    let port = if policy.has(flag::INBOUND_PORTS) { table.port(dport) } else { 0 };
    let captured = if policy.has(flag::INBOUND_ALL) {
        port & port_flag::INBOUND_EXCLUDE == 0
    } else {
        policy.has(flag::INBOUND_LIST) && port & port_flag::INBOUND_INCLUDE != 0
    };
    if captured { Rule::T6.verdict() } else { Rule::T4.verdict() }
}
