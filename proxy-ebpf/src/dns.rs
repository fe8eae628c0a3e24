//! cgroup/sendmsg and recvmsg: unconnected UDP to a DNS server goes to the agent, and its reply comes from the server.
#![allow(unsafe_code, reason = "the entry points are exported by name")]

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use proxy_common::{addr::Port, counter::Event, verdict::Target, wire::role};

use crate::{
    connect::loopback,
    maps, outgoing,
    sock_addr::{Hook, SockAddr},
    storage, table,
};

const ALLOW: i32 = 1;
const REFUSE: i32 = 0;

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
    let Some(out) = outgoing::decide(call, sk) else { return ALLOW };
    if out.verdict.target != Target::Dns {
        return ALLOW;
    }
    if let Some(state) = storage::get(sk)
        && state.role == role::CLIENT
        && state.orig != out.dst
    {
        maps::count_event(Event::DnsManyServers);
    }
    if !storage::set(sk, out.dst, out.port, role::CLIENT) {
        maps::count_event(Event::StorageFull);
        return REFUSE;
    }
    call.set(&loopback(&out.dst), Port::new(table::policy().dns_port));
    ALLOW
}

#[inline(always)]
fn recvmsg(call: &SockAddr) -> i32 {
    let sk = call.sk();
    if sk.is_null() || call.port() != Port::new(table::policy().dns_port) || !call.addr().is_loopback() {
        return ALLOW;
    }
    if let Some(state) = storage::get(sk)
        && state.role == role::CLIENT
    {
        call.set(&state.orig, state.port);
        maps::count_event(Event::DnsReply);
    }
    ALLOW
}
