//! cgroup/connect: a captured connection is turned to the sidecar; the socket remembers where it wanted to go.
#![allow(unsafe_code, reason = "the entry points are exported by name")]

use aya_ebpf::{bindings::bpf_sock, macros::cgroup_sock_addr, programs::SockAddrContext};
use proxy_common::{
    addr::{Addr, Port},
    counter::Event,
    policy::Table as _,
    verdict::Target,
    wire::{role, spread, spread_port},
};

use crate::{
    flow, maps,
    outgoing::{self, Outgoing},
    own_route,
    sock_addr::{Hook, SockAddr},
    storage,
    uapi::cgroup::{ALLOW, REFUSE},
    workload::Workload,
};

#[cgroup_sock_addr(connect4)]
pub(crate) fn connect4(ctx: SockAddrContext) -> i32 {
    connect(&SockAddr::new(&ctx, Hook::V4))
}

#[cgroup_sock_addr(connect6)]
pub(crate) fn connect6(ctx: SockAddrContext) -> i32 {
    connect(&SockAddr::new(&ctx, Hook::V6))
}

#[inline(always)]
fn connect(call: &SockAddr) -> i32 {
    let sk = call.sk();
    if sk.is_null() || !call.is_tcp_or_udp() {
        return ALLOW;
    }
    let Some(me) = Workload::of_cgroup().filter(Workload::captures) else { return ALLOW };
    let Some(out) = outgoing::decide(&me, call, sk, call.bound(sk)) else { return ALLOW };
    let policy = me.policy();
    flow::opening(&me, call, sk, &out);
    match out.verdict.target {
        Target::Bypass => {
            storage::clear(sk);
            ALLOW
        }
        Target::Outbound => {
            let to = if out.dst.is_v4() { spread(&out.dst, out.port) } else { Addr::V6_LOOPBACK };
            redirect(&me, call, sk, &out, to, policy.outbound_port)
        }
        Target::Inbound => redirect(&me, call, sk, &out, loopback(&out.dst), policy.inbound_port),
        Target::Dns => redirect(&me, call, sk, &out, loopback(&out.dst), policy.dns_port),
    }
}

/// Where `REDIRECT` in OUTPUT sends a packet of this family.
#[inline(always)]
pub(crate) fn loopback(dst: &Addr) -> Addr {
    if dst.is_v4() { Addr::V4_LOOPBACK } else { Addr::V6_LOOPBACK }
}

#[inline(always)]
fn redirect(
    me: &Workload,
    call: &SockAddr,
    sk: *mut bpf_sock,
    out: &Outgoing,
    mut to: Addr,
    mut port: u16,
) -> i32 {
    if own_route::of(sk) {
        me.count_event(Event::OwnRoute);
        return REFUSE;
    }
    if !storage::set(sk, out.dst, out.port, role::CLIENT) {
        me.failed(Event::StorageFull);
        return REFUSE;
    }
    // The route to loopback would choose a loopback source; under iptables the source is chosen before the rewrite.
    if !out.keep_src.is_unspecified() {
        if call.has_bound_port(sk) && out.verdict.target == Target::Dns {
            // The socket cannot be bound again, and the agent listens on loopback alone.
            me.count_event(Event::SourceNotKept);
        } else if call.has_bound_port(sk) {
            // Bound to a port only: it cannot be bound again, but towards its own address the kernel chooses the same.
            to = out.keep_src;
            port = port_of(me, call, sk, out, port);
        } else if !call.bind(&out.keep_src) {
            me.count_event(Event::SourceNotKept);
        } else if !out.dst.is_v4() {
            port = port_of(me, call, sk, out, port);
        }
    } else if !out.dst.is_v4() && never_meets_itself(call, sk) {
        port = port_of(me, call, sk, out, port);
    }
    call.set(&to, Port::new(port));
    ALLOW
}

/// Whether a socket has a port, or an address that is not the sidecar's: it cannot be connected to itself then.
#[inline(always)]
fn never_meets_itself(call: &SockAddr, sk: *mut bpf_sock) -> bool {
    let bound = call.bound(sk);
    call.has_bound_port(sk) || !bound.is_unspecified() && !bound.is_loopback()
}

/// Several connections may come from one port, each to a destination of its own. IPv4 has an address for each
/// destination, unless the socket is bound to a port alone; where there is one address, the port tells them apart.
#[inline(always)]
fn port_of(me: &Workload, call: &SockAddr, sk: *mut bpf_sock, out: &Outgoing, port: u16) -> u16 {
    // Whoever comes by such a port without an entry meets whoever listens there.
    if out.verdict.target != Target::Outbound || !maps::has_room_for_pending(me.slot) {
        return port;
    }
    let policy = me.policy();
    let own = call.bound_port(sk) as u16;
    spread_port(&out.dst, out.port, [own, policy.outbound_port, policy.inbound_port, policy.dns_port])
}
