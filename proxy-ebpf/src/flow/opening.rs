//! The client's end of a connection: from the decision in cgroup/connect to established.
#![allow(unsafe_code, reason = "helpers")]

use aya_ebpf::bindings::{BPF_SOCK_OPS_RTT_CB_FLAG, BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock};
use proxy_common::{
    accel::Reason,
    addr::Port,
    counter::Event,
    flow::{Class, FlowRecord, PEERS, PeerKey, flow_flag, stays_for},
    policy::{Table as _, flag},
    tproxy::is_sidecar,
    verdict::Target,
    wire::role,
};

use super::{
    live, maps, process,
    socket::{self, Socket},
};
use crate::{
    accel, atomic, clock::now, outgoing::Outgoing, rodata, sock_addr::SockAddr, sock_ops_call::SockOps,
    storage, workload::Workload,
};

/// cgroup/connect has decided.
#[inline(always)]
pub(crate) fn opening(me: &Workload, call: &SockAddr, sk: *mut bpf_sock, out: &Outgoing) {
    if !rodata::observes() || !call.is_tcp() {
        return;
    }
    let Some(record) = maps::record_or_new(sk) else {
        me.count_event(Event::FlowNotKept);
        return;
    };
    // The entry is of an earlier connection, given up without its end being seen. No atomic instruction here, executed or not: Linux
    // 5.10 refuses the whole program for one it does not know.
    let live_index = record.live_index;
    *record = FlowRecord::EMPTY;
    record.live_index = live_index;
    socket::sign(me, record);
    (record.orig, record.orig_port) = (out.dst, out.port);
    record.class = class(me, sk, out, record) as u8;
    record.rule = out.verdict.rule as u8 + 1;
    record.target = out.verdict.target as u8;
    record.flags = flow_flag::CLIENT | flow_flag::COUNTS;
    process::calling(record);
    record.uid = out.owner.uid;
}

#[inline(always)]
fn class(me: &Workload, sk: *mut bpf_sock, out: &Outgoing, record: &mut FlowRecord) -> Class {
    match out.verdict.target {
        Target::Outbound => return Class::Outbound,
        Target::Inbound => return Class::SelfCall,
        Target::Dns => return Class::Dns,
        Target::Bypass => {}
    }
    let policy = me.policy();
    if !is_sidecar(me, &policy, out.owner.uid, out.owner.gid) {
        return if out.is_local { Class::DirectSelf } else { Class::DirectOut };
    }
    if policy.has(flag::TPROXY)
        && let Some(state) = storage::get(sk)
        && state.role == role::TRANSPARENT
    {
        (record.orig, record.orig_port) = (state.orig, state.port);
        return Class::InnerTproxy;
    }
    if out.dst.is_loopback() {
        Class::InnerLo
    } else if out.is_local {
        Class::InnerEth0
    } else {
        Class::Upstream
    }
}

/// TCP_CONNECT_CB: addresses and sequence number are known, the SYN is not sent.
#[inline(always)]
pub(super) fn connecting(me: &Workload, call: SockOps, sk: *mut bpf_sock) {
    let Some(record) = maps::record(sk) else { return };
    if !record.has(flow_flag::CLIENT) || record.syn_at != 0 {
        return;
    }
    record.syn_at = now();
    record.cookie = call.cookie();
    (record.local, record.remote) = call.addresses();
    (record.local_port, record.remote_port) = call.ports();
    if record.target == Target::Outbound as u8 {
        // The remote port may be one that stands for the destination.
        record.listener_port = Port::new(me.policy().outbound_port);
    } else if record.target != Target::Bypass as u8 {
        record.listener_port = record.remote_port;
    }
    if is_near(me, record) {
        record.flags |= flow_flag::NEAR;
    }
    if tells_class(record) && !maps::tell_peer(me, &PeerKey::of_client(record), record.class) {
        maps::count_untold(me);
    }
    // The SYN takes one number.
    record.snd_base = Socket::of(sk).write_seq().wrapping_add(1);
    live::enter(me, sk, record);
    call.call_back(BPF_SOCK_OPS_STATE_CB_FLAG);
}

/// Whether the client's end tells the server's what the connection is.
#[inline(always)]
fn tells_class(record: &FlowRecord) -> bool {
    record.class == Class::InnerLo as u8 || record.class == Class::DirectSelf as u8
}

/// Whether the other end is of another workload of this node.
#[inline(always)]
pub(super) fn is_between_workloads(record: &FlowRecord) -> bool {
    record.has(flow_flag::NEAR) && !Class::from_index(record.class).is_some_and(Class::is_within)
}

/// Whether the client's end tells the server's why it stays out of the acceleration's map: the sums of the other workload
/// are to say what keeps its server's bytes on the stack. That an acceleration is off both know, and that connections are short
/// the server's end looks up.
#[inline(always)]
fn tells_why(record: &FlowRecord) -> bool {
    const SHORT: u8 = stays_for(Reason::ShortLived);
    const OFF: u8 = stays_for(Reason::Off);
    !matches!(record.stays & !PEERS, 0 | OFF | SHORT) && is_between_workloads(record)
}

/// The client closes: what the server's end has not taken, nobody needs.
#[inline(always)]
pub(super) fn forget_told(record: &FlowRecord) {
    let key = PeerKey::of_client(record);
    if tells_class(record) {
        maps::forget_peer(&key);
    } else if tells_why(record) {
        maps::forget_peer(&key.between_workloads());
    }
}

/// Whether the other end is of this workload, or at an address of another workload of this node.
#[inline(always)]
pub(super) fn is_near(me: &Workload, record: &FlowRecord) -> bool {
    if Class::from_index(record.class).is_some_and(Class::is_within) {
        return true;
    }
    // What is at an address of its own and not within it is a process outside the cgroup.
    !me.is_local(&record.remote) && accel::maps::workload_at(&record.remote).is_some()
}

/// The socket does not enter the acceleration's map; `whose`: [`PEERS`] where that is the other end's doing. Its record may
/// not be there yet.
#[inline(always)]
pub(crate) fn stays(sk: *mut bpf_sock, reason: Reason, whose: u8) {
    if rodata::observes()
        && let Some(record) = maps::record_or_new(sk)
    {
        record.stays = stays_for(reason) | whose;
    }
}

/// ACTIVE_ESTABLISHED.
#[inline(always)]
pub(super) fn connected(me: &Workload, call: SockOps, sk: *mut bpf_sock) {
    let Some(record) = maps::record(sk) else { return };
    if !record.has(flow_flag::CLIENT) || record.syn_at == 0 {
        return;
    }
    record.established_at = now();
    record.rcv_base = Socket::of(sk).copied_seq();
    record.flags |= flow_flag::ESTABLISHED;
    if tells_why(record) {
        let key = PeerKey::of_client(record).between_workloads();
        // Where there is no room the other workload counts what its server sends as without a reason.
        maps::tell_peer(me, &key, record.stays & !PEERS);
    }
    call.call_back(BPF_SOCK_OPS_RTT_CB_FLAG);
    opened(me, record);
}

/// Counts an established connection.
#[inline(always)]
pub(super) fn opened(me: &Workload, record: &FlowRecord) {
    if !record.has(flow_flag::COUNTS) {
        return;
    }
    let Some(totals) = maps::totals(me, record.class) else { return };
    // SAFETY: fields of a map value.
    unsafe {
        atomic::add(&raw mut (*totals).opened, 1);
        maps::measure(&raw mut (*totals).connect, record.established_at.wrapping_sub(record.syn_at));
    }
}
