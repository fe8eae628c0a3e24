//! cgroup/sock_ops: learns the sidecar's listeners, and carries the original destination from the client's socket to
//! the one the sidecar accepts. The source port is known in TCP_CONNECT_CB, before the SYN leaves: later would be too
//! late for TCP Fast Open.
#![allow(unsafe_code, reason = "helpers take the raw context")]

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TCP_LISTEN_CB, BPF_TCP_CLOSE,
        bpf_sock, bpf_sock_ops,
    },
    helpers::{bpf_get_socket_cookie, generated::bpf_get_netns_cookie},
    macros::sock_ops,
    programs::SockOpsContext,
};
use proxy_common::{
    addr::{Addr, Port},
    counter::Event,
    policy::{Table as _, flag},
    tproxy::is_transparent_source,
    wire::{FlowKey, ListenerGroup, OriginalDst, is_spread, role},
};

use crate::{
    accel::enroll,
    ctx::{load_addr, load32, load64},
    guest,
    listeners::{self, Added},
    maps, routes,
    sock_addr::AF_INET,
    storage, table,
    workload::Workload,
};

#[sock_ops]
pub(crate) fn sock_ops(ctx: SockOpsContext) -> u32 {
    number(&ctx);
    let Some(me) = Workload::of_cgroup() else { return 1 };
    match load32!(ctx.ops, bpf_sock_ops, op) {
        BPF_SOCK_OPS_TCP_LISTEN_CB => listening(&me, &ctx),
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&me, &ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => connected(&me, &ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            accepted(&me, &ctx);
            let (local, remote) = addresses(&ctx);
            let sk = sk(&ctx);
            if !sk.is_null() {
                enroll::server(&me, &ctx, sk, local, remote);
            }
        }
        BPF_SOCK_OPS_STATE_CB => closing(&me, &ctx),
        _ => {}
    }
    1
}

/// Sockets have no cookie until somebody asks for it (`net/core/sock_diag.c: __sock_gen_cookie`): read from outside
/// before that it would be 0, and another one later.
#[inline(always)]
fn number(ctx: &SockOpsContext) {
    if matches!(
        load32!(ctx.ops, bpf_sock_ops, op),
        BPF_SOCK_OPS_TCP_LISTEN_CB | BPF_SOCK_OPS_TCP_CONNECT_CB | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
    ) {
        // SAFETY: the helper takes the context.
        unsafe { bpf_get_socket_cookie(ctx.ops.cast()) };
    }
}

#[inline(always)]
pub(crate) fn sk(ctx: &SockOpsContext) -> *mut bpf_sock {
    load64!(ctx.ops, bpf_sock_ops, __bindgen_anon_2) as *mut bpf_sock
}

/// Whether the socket is in the workload's network namespace, where the kernel can tell.
#[inline(always)]
pub(crate) fn in_netns(me: &Workload, ctx: &SockOpsContext) -> bool {
    if me.netns_cookie() == 0 || table::kernel().has_sock_ops_cookie == 0 {
        return true;
    }
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_netns_cookie(ctx.ops.cast()) };
    cookie == me.netns_cookie()
}

/// A socket of the workload starts to listen: if it is the sidecar's, it is found again by inbound.
#[inline(always)]
fn listening(me: &Workload, ctx: &SockOpsContext) {
    if !in_netns(me, ctx) {
        return;
    }
    let sk = sk(ctx);
    if sk.is_null() {
        return;
    }
    enroll::listening(me, sk);
    // Of a connection the socket had before: what it accepts from now on would inherit it.
    storage::forget(sk);
    let policy = me.policy();
    let port = load32!(ctx.ops, bpf_sock_ops, local_port) as u16;
    let v4 = load32!(ctx.ops, bpf_sock_ops, family) == u32::from(AF_INET);
    let (local, _) = addresses(ctx);
    if port != policy.outbound_port && port != policy.inbound_port {
        return;
    }
    if !storage::set(sk, Addr::UNSPECIFIED, Port([0; 2]), role::LISTENER) {
        me.failed(Event::StorageFull);
    }
    let Some(group) = ListenerGroup::of(port == policy.outbound_port, &local, v4) else { return };
    match listeners::add(me, ctx.ops, group) {
        Added::Yes => {}
        Added::Full => me.failed(Event::ListenerFull),
        // istio-validation is a Go program, and listens so on 127.0.0.1 in every pod. Its own question finds it without
        // us, and the sidecar is not there yet.
        Added::Refused if local.is_loopback() => {}
        Added::Refused => me.failed(Event::ListenerMptcp),
    }
}

/// The SYN of a redirected connection is about to leave.
#[inline(always)]
fn connecting(me: &Workload, ctx: &SockOpsContext) {
    let sk = sk(ctx);
    if sk.is_null() {
        return;
    }
    let (_, remote) = addresses(ctx);
    enroll::connecting(me, ctx, sk, remote, remote_port(ctx));
    let key = key_of_client(me, ctx);
    let orig = match storage::get(sk) {
        Some(state) if state.role == role::CLIENT => redirected(state.orig, state.port),
        Some(state) if state.role == role::TRANSPARENT => redirected(state.orig, key.client_port),
        _ => {
            if !routes::left_alone(me, ctx, sk, &key) {
                return;
            }
            if !storage::set(sk, Addr::UNSPECIFIED, Port([0; 2]), role::SELF_CALL) {
                me.failed(Event::StorageFull);
                return;
            }
            OriginalDst { addr: Addr::UNSPECIFIED, port: Port([0; 2]), is_self_call: 1, reserved: 0 }
        }
    };
    if !maps::pending_insert(&key, &orig) {
        me.failed(Event::PendingFull);
        return;
    }
    // For the entry's removal if nobody accepts.
    let _ = ctx.set_cb_flags(
        (load32!(ctx.ops, bpf_sock_ops, bpf_sock_ops_cb_flags) | BPF_SOCK_OPS_STATE_CB_FLAG) as i32,
    );
}

#[inline(always)]
fn redirected(addr: Addr, port: Port) -> OriginalDst {
    OriginalDst { addr, port, is_self_call: 0, reserved: 0 }
}

/// A client of the workload is connected.
#[inline(always)]
fn connected(me: &Workload, ctx: &SockOpsContext) {
    let sk = sk(ctx);
    if !sk.is_null() {
        let (local, remote) = addresses(ctx);
        enroll::client(me, ctx, sk, local, remote);
    }
}

/// The sidecar's side of a connection exists, or in TPROXY mode the application's.
#[inline(always)]
fn accepted(me: &Workload, ctx: &SockOpsContext) {
    // A process of the cgroup in a namespace of its own has the same loopback addresses, and no redirected connections.
    if !in_netns(me, ctx) {
        return;
    }
    let policy = me.policy();
    let port = load32!(ctx.ops, bpf_sock_ops, local_port) as u16;
    let (local, remote) = addresses(ctx);
    let role = if port == policy.outbound_port || port == policy.inbound_port || port == policy.dns_port {
        role::ACCEPTED
    } else if policy.has(flag::TPROXY) && is_transparent_source(&remote) {
        role::TPROXY_PEER
    } else if maps::has_self_calls(me.slot) {
        role::NONE
    } else {
        return;
    };
    let key = FlowKey {
        client: remote,
        sidecar: local,
        client_port: remote_port(ctx),
        sidecar_port: Port::new(port),
        slot: me.slot,
    };
    if role == role::NONE {
        maps::pending_remove(&key);
        return;
    }
    let Some((orig, orig_port)) = original_dst(me, &key) else {
        // A redirected connection whose entry did not fit: better no answer than its loopback stand-in.
        if is_spread(&local) {
            storage::forget(sk(ctx));
        }
        return;
    };
    let sk = sk(ctx);
    if sk.is_null() {
        return;
    }
    if !storage::set(sk, orig, orig_port, role) {
        me.failed(Event::StorageFull);
    }
}

#[inline(always)]
fn original_dst(me: &Workload, key: &FlowKey) -> Option<(Addr, Port)> {
    if let Some(orig) = maps::pending_take(key) {
        return Some((orig.addr, orig.port));
    }
    let policy = me.policy();
    if !policy.has(flag::GUESTS) || key.sidecar_port.get() != policy.outbound_port {
        return None;
    }
    guest::original_dst(me, &key.client, key.client_port)
}

/// A redirected client is gone. If it was never accepted its entry is still there.
#[inline(always)]
fn closing(me: &Workload, ctx: &SockOpsContext) {
    // The second argument of STATE_CB is the new state.
    let new_state = load32!(ctx.ops, bpf_sock_ops, __bindgen_anon_1 + 4);
    if new_state == BPF_TCP_CLOSE {
        let sk = sk(ctx);
        if sk.is_null() {
            return;
        }
        if storage::get(sk)
            .is_some_and(|state| matches!(state.role, role::CLIENT | role::TRANSPARENT | role::SELF_CALL))
        {
            maps::pending_remove(&key_of_client(me, ctx));
        }
        enroll::closed(me, sk);
    }
}

#[inline(always)]
fn key_of_client(me: &Workload, ctx: &SockOpsContext) -> FlowKey {
    let (local, remote) = addresses(ctx);
    FlowKey {
        client: local,
        sidecar: remote,
        client_port: Port::new(load32!(ctx.ops, bpf_sock_ops, local_port) as u16),
        sidecar_port: remote_port(ctx),
        slot: me.slot,
    }
}

#[inline(always)]
pub(crate) fn remote_port(ctx: &SockOpsContext) -> Port {
    // Network order in the upper half of a big-endian word.
    Port::new(u32::from_be(load32!(ctx.ops, bpf_sock_ops, remote_port)) as u16)
}

/// Local and remote. A v4-mapped socket says AF_INET6 and carries mapped addresses.
#[inline(always)]
pub(crate) fn addresses(ctx: &SockOpsContext) -> (Addr, Addr) {
    if load32!(ctx.ops, bpf_sock_ops, family) == u32::from(AF_INET) {
        return (
            Addr::v4(load32!(ctx.ops, bpf_sock_ops, local_ip4).to_ne_bytes()),
            Addr::v4(load32!(ctx.ops, bpf_sock_ops, remote_ip4).to_ne_bytes()),
        );
    }
    (load_addr!(ctx.ops, bpf_sock_ops, local_ip6), load_addr!(ctx.ops, bpf_sock_ops, remote_ip6))
}
