//! cgroup/getpeername: the application sees the peer it asked for, as conntrack would show it. In TPROXY mode,
//! also by accept(), the client.
#![allow(unsafe_code, reason = "the entry points are exported by name")]

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use proxy_common::wire::role;

use crate::{
    flow, rodata,
    sock_addr::{Hook, SockAddr},
    storage,
    uapi::cgroup::ALLOW,
    workload::Workload,
};

#[cgroup_sock_addr(getpeername4)]
pub(crate) fn getpeername4(ctx: SockAddrContext) -> i32 {
    getpeername(&SockAddr::new(&ctx, Hook::V4))
}

#[cgroup_sock_addr(getpeername6)]
pub(crate) fn getpeername6(ctx: SockAddrContext) -> i32 {
    getpeername(&SockAddr::new(&ctx, Hook::V6))
}

#[inline(always)]
fn getpeername(call: &SockAddr) -> i32 {
    let sk = call.sk();
    if !sk.is_null()
        && rodata::observes()
        && let Some(me) = Workload::of_cgroup()
    {
        flow::taken(&me, sk);
    }
    if !sk.is_null()
        && let Some(state) = storage::get(sk)
        && (state.role == role::CLIENT || state.role == role::TPROXY_PEER)
    {
        call.set(&state.orig, state.port);
    }
    ALLOW
}
