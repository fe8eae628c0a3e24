//! TPROXY mode: cgroup/bind and cgroup/getsockname of the sidecar's transparent sockets.
//!
//! A transparent socket is known by SO_MARK, owner and address: bind hooks cannot ask for IP_TRANSPARENT
//! (`net/core/filter.c: sol_ip_sockopt`), but nobody else may bind to an address this host does not have.
//! sock_ops carries the client to the application's socket as it carries original destinations.
#![allow(unsafe_code, reason = "the entry points are exported by name")]

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use proxy_common::{
    addr::Port,
    counter::Event,
    policy::{Table as _, flag},
    tproxy::{is_sidecar, transparent_source},
    wire::role,
};

use crate::{
    owner,
    sock_addr::{Hook, SockAddr},
    storage,
    uapi::cgroup::{ALLOW, REFUSE},
    workload::Workload,
};

#[cgroup_sock_addr(bind4)]
pub(crate) fn bind4(ctx: SockAddrContext) -> i32 {
    bind(&SockAddr::new(&ctx, Hook::V4))
}

#[cgroup_sock_addr(bind6)]
pub(crate) fn bind6(ctx: SockAddrContext) -> i32 {
    bind(&SockAddr::new(&ctx, Hook::V6))
}

#[cgroup_sock_addr(getsockname4)]
pub(crate) fn getsockname4(ctx: SockAddrContext) -> i32 {
    getsockname(&SockAddr::new(&ctx, Hook::V4))
}

#[cgroup_sock_addr(getsockname6)]
pub(crate) fn getsockname6(ctx: SockAddrContext) -> i32 {
    getsockname(&SockAddr::new(&ctx, Hook::V6))
}

#[inline(always)]
fn bind(call: &SockAddr) -> i32 {
    let Some(me) = Workload::of_cgroup().filter(Workload::captures) else { return ALLOW };
    let policy = me.policy();
    let sk = call.sk();
    if !policy.has(flag::TPROXY) || sk.is_null() || !call.is_tcp() || call.mark(sk) != policy.tproxy_mark {
        return ALLOW;
    }
    let client = call.addr();
    if client.is_unspecified() || me.is_local(&client) || !call.in_netns(me.netns_cookie()) {
        return ALLOW;
    }
    if !client.is_v4() && !policy.has(flag::IPV6) {
        return ALLOW;
    }
    let owner = owner::of(sk);
    if !is_sidecar(&me, &policy, owner.uid, owner.gid) {
        return ALLOW;
    }
    if !storage::set(sk, client, Port([0; 2]), role::TRANSPARENT) {
        me.failed(Event::StorageFull);
        return REFUSE;
    }
    call.set(&transparent_source(&client), call.port());
    me.count_event(Event::TproxySource);
    ALLOW
}

/// The sidecar sees the addresses it would see under iptables: the client's on a transparent socket, and on a
/// connection of its own that was handed to its inbound listener the original destination.
#[inline(always)]
fn getsockname(call: &SockAddr) -> i32 {
    let sk = call.sk();
    if sk.is_null() {
        return ALLOW;
    }
    let Some(state) = storage::get(sk) else { return ALLOW };
    match state.role {
        role::TRANSPARENT => call.set(&state.orig, call.port()),
        role::ACCEPTED => {
            let Some(me) = Workload::of_cgroup() else { return ALLOW };
            if call.port().get() == me.policy().inbound_port {
                call.set(&state.orig, state.port);
            }
        }
        _ => {}
    }
    ALLOW
}
