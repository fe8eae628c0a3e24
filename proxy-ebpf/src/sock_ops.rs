//! cgroup/sock_ops: learns the sidecar's listeners, and carries the original destination from the client's socket to
//! the one the sidecar accepts. The source port is known in TCP_CONNECT_CB, before the SYN leaves: later would be too
//! late for TCP Fast Open.
#![allow(unsafe_code, reason = "the entry point is exported by name")]

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTT_CB,
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_TCP_LISTEN_CB, BPF_TCP_CLOSE, BPF_TCP_SYN_SENT, bpf_sock,
    },
    macros::sock_ops,
    programs::SockOpsContext,
};
use proxy_common::{
    addr::{Addr, Port},
    counter::Event,
    policy::{Table as _, flag},
    tproxy::is_transparent_source,
    wire::{ConnectionKey, ListenerGroup, OriginalDst, is_spread, pending, role},
};

use crate::{
    accel::{enroll, watch},
    guest, kernel_memory,
    listeners::{self, Added},
    maps,
    rodata::{self, known},
    routes,
    sock_ops_call::SockOps,
    storage,
    workload::Workload,
};

// As large as it is, LLVM would leave it a function that the exported one calls.
#[sock_ops]
#[inline(always)]
pub(crate) fn sock_ops(ctx: SockOpsContext) -> u32 {
    let call = SockOps::new(&ctx);
    if !is_looked_at(call) {
        return 1;
    }
    give_cookie(call);
    let Some(me) = Workload::of_cgroup() else { return 1 };
    match call.op() {
        BPF_SOCK_OPS_TCP_LISTEN_CB => listening(&me, call),
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&me, call),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => {
            let sk = call.sk();
            if !sk.is_null() {
                enroll::client(&me, call, sk);
            }
        }
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            accepted(&me, call);
            let sk = call.sk();
            if !sk.is_null() {
                enroll::server(&me, call, sk);
            }
        }
        BPF_SOCK_OPS_STATE_CB => closing(&me, call),
        BPF_SOCK_OPS_RTT_CB => {
            let sk = call.sk();
            if !sk.is_null() {
                watch::acknowledged(&me, call, sk);
            }
        }
        _ => {}
    }
    1
}

/// Most calls are about what nobody here wants to know: windows, timeouts, congestion, and states on the way to the last.
#[inline(always)]
fn is_looked_at(call: SockOps) -> bool {
    match call.op() {
        BPF_SOCK_OPS_TCP_LISTEN_CB
        | BPF_SOCK_OPS_TCP_CONNECT_CB
        | BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
        | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => true,
        BPF_SOCK_OPS_RTT_CB => rodata::accelerates(),
        // The second argument is the new state.
        BPF_SOCK_OPS_STATE_CB => call.second_arg() == BPF_TCP_CLOSE,
        _ => false,
    }
}

/// Gives a socket its cookie before anybody reads it from outside.
#[inline(always)]
fn give_cookie(call: SockOps) {
    if matches!(
        call.op(),
        BPF_SOCK_OPS_TCP_LISTEN_CB | BPF_SOCK_OPS_TCP_CONNECT_CB | BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
    ) {
        call.cookie();
    }
}

/// A socket of the workload starts to listen: if it is the sidecar's, it is found again by inbound.
#[inline(always)]
fn listening(me: &Workload, call: SockOps) {
    if !call.in_netns(me) {
        return;
    }
    let sk = call.sk();
    if sk.is_null() {
        return;
    }
    enroll::listening(me, sk);
    // The state may be of a connection the socket had before. What it accepts from now on would inherit it.
    storage::forget(sk);
    let policy = me.policy();
    let port = call.local_port();
    let v4 = call.is_v4();
    let (local, _) = call.addresses();
    if port != policy.outbound_port && port != policy.inbound_port {
        return;
    }
    if !storage::set(sk, Addr::UNSPECIFIED, Port([0; 2]), role::LISTENER) {
        me.failed(Event::StorageFull);
    }
    let Some(group) = ListenerGroup::of(port == policy.outbound_port, &local, v4) else { return };
    match listeners::add(me, call.raw(), group) {
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
fn connecting(me: &Workload, call: SockOps) {
    let sk = call.sk();
    if sk.is_null() {
        return;
    }
    let (_, remote) = call.addresses();
    enroll::connecting(me, call, sk, remote, call.remote_port());
    let key = key_of_client(me, call);
    let orig = match storage::get(sk) {
        Some(state) if state.role == role::CLIENT => {
            let kind = if is_sidecars(me, key.sidecar_port) { pending::REDIRECTED } else { pending::BY_PORT };
            redirected(state.orig, state.port, kind)
        }
        Some(state) if state.role == role::TRANSPARENT => {
            redirected(state.orig, key.client_port, pending::REDIRECTED)
        }
        _ => {
            if !routes::left_alone(me, call, sk, &key) {
                return;
            }
            if !storage::set(sk, Addr::UNSPECIFIED, Port([0; 2]), role::SELF_CALL) {
                me.failed(Event::StorageFull);
                return;
            }
            redirected(Addr::UNSPECIFIED, Port([0; 2]), pending::SELF_CALL)
        }
    };
    if !maps::pending_insert(&key, &orig) {
        me.failed(Event::PendingFull);
        if orig.kind == pending::BY_PORT {
            // Nobody would know that it is the sidecar's.
            routes::refuse(call);
        }
        return;
    }
    // For the entry's removal if nobody accepts.
    call.call_back(BPF_SOCK_OPS_STATE_CB_FLAG);
}

#[inline(always)]
fn redirected(addr: Addr, port: Port, kind: u8) -> OriginalDst {
    OriginalDst { addr, port, kind, reserved: 0 }
}

/// Whether the sidecar or its agent listens on a port.
#[inline(always)]
fn is_sidecars(me: &Workload, port: Port) -> bool {
    let (policy, port) = (me.policy(), port.get());
    port == policy.outbound_port || port == policy.inbound_port || port == policy.dns_port
}

/// The sidecar's side of a connection exists, or in TPROXY mode the application's.
#[inline(always)]
fn accepted(me: &Workload, call: SockOps) {
    // A process of the cgroup in a namespace of its own has the same loopback addresses, and no redirected connections.
    if !call.in_netns(me) {
        return;
    }
    let policy = me.policy();
    let port = call.local_port();
    let (local, remote) = call.addresses();
    let role = if is_sidecars(me, Port::new(port)) {
        role::ACCEPTED
    } else if policy.has(flag::TPROXY) && is_transparent_source(&remote) {
        role::TPROXY_PEER
    } else if maps::has_looked_up(me.slot) {
        role::NONE
    } else {
        return;
    };
    let key = ConnectionKey {
        client: remote,
        sidecar: local,
        client_port: call.remote_port(),
        sidecar_port: Port::new(port),
        slot: me.slot,
    };
    let Some(found) = original_dst(me, &key) else {
        // A redirected connection whose entry did not fit: better no answer than its loopback stand-in.
        if is_spread(&local) {
            storage::forget(call.sk());
        }
        return;
    };
    // By a port that stands for its destination it came to the sidecar, whatever its source looks like.
    let role = if found.kind == pending::BY_PORT { role::ACCEPTED } else { role };
    if role == role::NONE {
        return;
    }
    let sk = call.sk();
    if sk.is_null() {
        return;
    }
    if !storage::set(sk, found.addr, found.port, role) {
        me.failed(Event::StorageFull);
    }
}

#[inline(always)]
fn original_dst(me: &Workload, key: &ConnectionKey) -> Option<OriginalDst> {
    if let Some(orig) = maps::pending_take(key) {
        return Some(orig);
    }
    let policy = me.policy();
    if !policy.has(flag::GUESTS) || key.sidecar_port.get() != policy.outbound_port {
        return None;
    }
    let (addr, port) = guest::original_dst(me, &key.client, key.client_port)?;
    Some(redirected(addr, port, pending::REDIRECTED))
}

/// A redirected client is gone. If it was never accepted its entry is still there.
#[inline(always)]
fn closing(me: &Workload, call: SockOps) {
    let sk = call.sk();
    if sk.is_null() {
        return;
    }
    if storage::get(sk)
        .is_some_and(|state| matches!(state.role, role::CLIENT | role::TRANSPARENT | role::SELF_CALL))
    {
        maps::pending_remove(&key_of_client(me, call));
    }
    if call.first_arg() == BPF_TCP_SYN_SENT && is_refused(sk) {
        me.failed(Event::OutboundRefused);
    }
    enroll::closed(me, sk);
}

/// A captured connection that nobody listens for.
#[inline(always)]
fn is_refused(sk: *mut bpf_sock) -> bool {
    const ECONNREFUSED: u32 = 111;
    let at = known!(KERNEL.sk_err);
    at != 0
        && storage::get(sk).is_some_and(|state| state.role == role::CLIENT)
        && kernel_memory::address(sk).and_then(|sk| kernel_memory::read(sk, at)) == Some(ECONNREFUSED)
}

#[inline(always)]
fn key_of_client(me: &Workload, call: SockOps) -> ConnectionKey {
    let (local, remote) = call.addresses();
    ConnectionKey {
        client: local,
        sidecar: remote,
        client_port: Port::new(call.local_port()),
        sidecar_port: call.remote_port(),
        slot: me.slot,
    }
}
