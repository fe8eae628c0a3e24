//! cgroup/connect: a captured connection is turned to the sidecar; the socket remembers where it wanted to go.
#![allow(unsafe_code, reason = "the entry points are exported by name")]

use aya_ebpf::{bindings::bpf_sock, macros::cgroup_sock_addr, programs::SockAddrContext};
use proxy_common::{
    addr::{Addr, Port},
    counter::Event,
    policy::Table as _,
    verdict::Target,
    wire::{role, spread},
};

use crate::{
    flow,
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
    port: u16,
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
        } else if !call.bind(&out.keep_src) {
            me.count_event(Event::SourceNotKept);
        }
    }
    call.set(&to, Port::new(port));
    ALLOW
}
