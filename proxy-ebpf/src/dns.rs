//! cgroup/sendmsg and recvmsg: unconnected UDP to a DNS server goes to the agent, and its reply comes from the server.
#![allow(unsafe_code, reason = "the entry points are exported by name")]

use aya_ebpf::{bindings::bpf_sock, macros::cgroup_sock_addr, programs::SockAddrContext};
use proxy_common::{
    addr::{Addr, Port},
    counter::Event,
    dns::{PORT, alias, slot_of},
    policy::Table as _,
    verdict::Target,
    wire::role,
};

use crate::{
    connect::loopback,
    dns_servers,
    outgoing::{self, Outgoing},
    own_route,
    sock_addr::{Hook, SockAddr},
    storage,
    uapi::cgroup::{ALLOW, REFUSE},
    workload::Workload,
};

#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn sendmsg4(ctx: SockAddrContext) -> i32 {
    sendmsg(&SockAddr::new(&ctx, Hook::V4))
}

#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn sendmsg6(ctx: SockAddrContext) -> i32 {
    sendmsg(&SockAddr::new(&ctx, Hook::V6))
}

#[cgroup_sock_addr(recvmsg4)]
pub(crate) fn recvmsg4(ctx: SockAddrContext) -> i32 {
    recvmsg(&SockAddr::new(&ctx, Hook::V4))
}

#[cgroup_sock_addr(recvmsg6)]
pub(crate) fn recvmsg6(ctx: SockAddrContext) -> i32 {
    recvmsg(&SockAddr::new(&ctx, Hook::V6))
}

#[inline(always)]
fn sendmsg(call: &SockAddr) -> i32 {
    let sk = call.sk();
    if sk.is_null() {
        return ALLOW;
    }
    let Some(me) = Workload::of_cgroup().filter(Workload::captures) else { return ALLOW };
    let agent = me.policy().dns_port;
    if call.bound_port(sk) == u32::from(agent) {
        reply(call);
        return ALLOW;
    }
    let given = call.source();
    let from = if given.is_unspecified() { call.bound(sk) } else { given };
    let Some(out) = outgoing::decide(&me, call, sk, from) else { return ALLOW };
    if out.verdict.target != Target::Dns {
        return ALLOW;
    }
    if own_route::of(sk) {
        me.count_event(Event::OwnRoute);
        return REFUSE;
    }
    if !query(&me, call, sk, &out) {
        me.failed(Event::StorageFull);
        return REFUSE;
    }
    call.set(&loopback(&out.dst), Port::new(agent));
    ALLOW
}

/// The agent answers: a reply to an alias comes from that alias.
#[inline(always)]
fn reply(call: &SockAddr) {
    let to = call.addr();
    if slot_of(&to).is_none() {
        return;
    }
    call.set_source(&to);
    if !to.is_v4() {
        // No such address exists here; the asking socket is bound to none and is found under any.
        call.set(&Addr::V6_LOOPBACK, call.port());
    }
}

/// Remembers which server is asked, and chooses the source. False: no memory.
#[inline(always)]
fn query(me: &Workload, call: &SockAddr, sk: *mut bpf_sock, out: &Outgoing) -> bool {
    let first = match storage::get(sk) {
        Some(state) if state.role == role::CLIENT => state.orig == out.dst,
        _ => storage::set(sk, out.dst, out.port, role::CLIENT),
    };
    if first {
        // The source iptables would leave alone: the one of the route to the server.
        if !out.keep_src.is_unspecified() && call.source().is_unspecified() {
            call.set_source(&out.keep_src);
        }
        return true;
    }
    if storage::get(sk).is_none() {
        return false;
    }
    if !call.bound(sk).is_unspecified() {
        // Bound to one address it hears nothing sent to an alias. Connected it hears its peer only, as ever.
        me.count_event(Event::DnsManyServers);
        return call.is_connected(sk) || storage::set(sk, out.dst, out.port, role::CLIENT);
    }
    if !out.dst.is_v4() && !call.udp_listens(&Addr::V6_LOOPBACK, me.policy().dns_port) {
        // No agent answers, and the kernel's error would leave the host on its way to the alias.
        return true;
    }
    let Some((slot, lost)) = dns_servers::slot(sk, &out.dst) else { return false };
    if lost {
        me.count_event(Event::DnsManyServers);
    }
    call.set_source(&alias(out.dst.is_v4(), slot));
    true
}

#[inline(always)]
fn recvmsg(call: &SockAddr) -> i32 {
    let sk = call.sk();
    if sk.is_null() {
        return ALLOW;
    }
    let Some(me) = Workload::of_cgroup() else { return ALLOW };
    if call.port() != Port::new(me.policy().dns_port) {
        return ALLOW;
    }
    let from = call.addr();
    if let Some(slot) = slot_of(&from) {
        if let Some(server) = dns_servers::server(sk, slot) {
            call.set(&server, Port::new(PORT));
            me.count_event(Event::DnsReply);
        }
    // An agent bound to no address answers from the one it was asked at.
    } else if me.is_local(&from)
        && let Some(state) = storage::get(sk)
        && state.role == role::CLIENT
    {
        call.set(&state.orig, state.port);
        me.count_event(Event::DnsReply);
    }
    ALLOW
}
