//! cgroup/sock_ops and cgroup/sock_release of the observation; attached only where it is on. Behind `sock_ops`, which
//! has filled in the original destination by then.
#![allow(unsafe_code, reason = "helpers take the raw context")]

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTT_CB,
        BPF_SOCK_OPS_RTT_CB_FLAG, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_TCP_LISTEN_CB, bpf_sock, bpf_sock_ops,
    },
    helpers::bpf_ktime_get_ns,
    macros::{cgroup_sock, sock_ops},
    programs::{SockContext, SockOpsContext},
};
use proxy_common::{addr::Port, flow::flow_flag};

use super::{accepted, closing, maps, opening, socket};
use crate::{
    ctx::load32,
    sock_ops::{addresses, in_netns, remote_port, sk},
    workload::Workload,
};

#[sock_ops]
pub(crate) fn flow_ops(ctx: SockOpsContext) -> u32 {
    let sk = sk(&ctx);
    if sk.is_null() {
        return 1;
    }
    let Some(me) = Workload::of_cgroup() else { return 1 };
    match load32!(ctx.ops, bpf_sock_ops, op) {
        BPF_SOCK_OPS_TCP_LISTEN_CB if in_netns(&me, &ctx) => accepted::listening(sk),
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            let (local, remote) = addresses(&ctx);
            opening::connecting(&me, &ctx, sk, local, remote, ports(&ctx));
        }
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => opening::connected(&me, &ctx, sk),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB if in_netns(&me, &ctx) => {
            let (local, remote) = addresses(&ctx);
            accepted::accepted(&me, &ctx, sk, local, remote, ports(&ctx));
        }
        BPF_SOCK_OPS_STATE_CB => {
            let old = load32!(ctx.ops, bpf_sock_ops, __bindgen_anon_1);
            let new = load32!(ctx.ops, bpf_sock_ops, __bindgen_anon_1 + 4);
            closing::changed(&me, sk, old, new, now());
        }
        BPF_SOCK_OPS_RTT_CB => acknowledged(&ctx, sk),
        _ => {}
    }
    1
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
fn acknowledged(ctx: &SockOpsContext, sk: *mut bpf_sock) {
    let Some(record) = maps::record(sk) else { return };
    if !record.has(flow_flag::ESTABLISHED) {
        return;
    }
    let tcp = load32!(ctx.ops, bpf_sock_ops, state);
    let acked = load32!(ctx.ops, bpf_sock_ops, snd_una).wrapping_sub(record.snd_base);
    if acked as i32 <= i32::from(socket::fin_sent(tcp)) {
        return;
    }
    // The round trip itself, where the kernel tells (>= 6.11); 0 where it does not.
    let trip_us = load32!(ctx.ops, bpf_sock_ops, __bindgen_anon_1);
    record.first_byte_at = now().wrapping_sub(u64::from(trip_us) * 1000);
    let flags = load32!(ctx.ops, bpf_sock_ops, bpf_sock_ops_cb_flags) & !BPF_SOCK_OPS_RTT_CB_FLAG;
    let _ = ctx.set_cb_flags(flags as i32);
}

/// Local and remote.
#[inline(always)]
fn ports(ctx: &SockOpsContext) -> (Port, Port) {
    (Port::new(load32!(ctx.ops, bpf_sock_ops, local_port) as u16), remote_port(ctx))
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}
