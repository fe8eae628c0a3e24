//! cgroup/sock_ops and cgroup/sock_release of the observation; attached only where it is on. Behind `sock_ops`, which
//! has filled in the original destination by then.
#![allow(unsafe_code, reason = "helpers; the entry points are exported by name")]

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTT_CB,
        BPF_SOCK_OPS_RTT_CB_FLAG, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_TCP_LISTEN_CB, bpf_sock,
    },
    macros::{cgroup_sock, sock_ops},
    programs::{SockContext, SockOpsContext},
};
use proxy_common::flow::flow_flag;

use super::{
    accepted, closing, maps, opening,
    socket::{self, state},
};
use crate::{accel::watch, clock::now, sock_ops_call::SockOps, workload::Workload};

// As large as it is, LLVM would leave it a function that the exported one calls.
#[sock_ops]
#[inline(always)]
pub(crate) fn flow_ops(ctx: SockOpsContext) -> u32 {
    let call = SockOps::new(&ctx);
    if !is_looked_at(call) {
        return 1;
    }
    let sk = call.sk();
    if sk.is_null() {
        return 1;
    }
    let Some(me) = Workload::of_cgroup() else { return 1 };
    match call.op() {
        BPF_SOCK_OPS_TCP_LISTEN_CB if call.in_netns(&me) => accepted::listening(sk),
        BPF_SOCK_OPS_TCP_CONNECT_CB => opening::connecting(&me, call, sk),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => opening::connected(&me, call, sk),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB if call.in_netns(&me) => accepted::accepted(&me, call, sk),
        BPF_SOCK_OPS_STATE_CB => closing::changed(&me, sk, call.first_arg(), call.second_arg(), now()),
        BPF_SOCK_OPS_RTT_CB => acknowledged(call, sk),
        _ => {}
    }
    1
}

/// As in `sock_ops`.
#[inline(always)]
fn is_looked_at(call: SockOps) -> bool {
    match call.op() {
        BPF_SOCK_OPS_TCP_LISTEN_CB
        | BPF_SOCK_OPS_TCP_CONNECT_CB
        | BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
        | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
        | BPF_SOCK_OPS_RTT_CB => true,
        BPF_SOCK_OPS_STATE_CB => matches!(call.second_arg(), state::CLOSE | state::FIN_WAIT1),
        _ => false,
    }
}

#[cgroup_sock(sock_release)]
pub(crate) fn flow_release(ctx: SockContext) -> i32 {
    if let Some(me) = Workload::of_cgroup() {
        closing::released(&me, ctx.sock);
    }
    1
}

/// A round trip was measured: what was sent is acknowledged. Asked for until the first byte is.
#[inline(always)]
fn acknowledged(call: SockOps, sk: *mut bpf_sock) {
    let Some(record) = maps::record(sk) else { return };
    if !record.has(flow_flag::ESTABLISHED) {
        return;
    }
    let acked = call.snd_una().wrapping_sub(record.snd_base);
    if acked as i32 <= i32::from(socket::fin_sent(call.state())) {
        return;
    }
    // The round trip itself, where the kernel tells (>= 6.11); 0 where it does not.
    let trip_us = call.first_arg();
    record.first_byte_at = now().wrapping_sub(u64::from(trip_us) * 1000);
    if !watch::is_watched(sk) {
        call.call_back_no_more(BPF_SOCK_OPS_RTT_CB_FLAG);
    }
}
