//! The server's end of a connection: its listener, established, and taken by the process.
#![allow(unsafe_code, reason = "helpers")]

use core::hint::black_box;

use aya_ebpf::bindings::{BPF_SOCK_OPS_RTT_CB_FLAG, BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock};
use proxy_common::{
    accel::Reason,
    addr::{Addr, Port},
    counter::Event,
    flow::{Class, FlowRecord, PEERS, PeerKey, flow_flag, stays_for},
    ingress::{Ingress, ingress, is_over_lo},
    policy::{Table as _, flag},
    verdict::{Target, Verdict},
    wire::{SocketState, role},
};

use super::{
    live, maps,
    opening::{is_between_workloads, is_near, opened},
    process,
    socket::{self, Socket},
};
use crate::{
    accel::{self, short},
    clock::now,
    owner, rodata,
    sock_ops_call::SockOps,
    storage,
    workload::Workload,
};

/// TCP_LISTEN_CB, in the listening process: who it is holds for what it accepts.
#[inline(always)]
pub(super) fn listening(sk: *mut bpf_sock) {
    let Some(record) = maps::record_or_new(sk) else { return };
    // The record may be of a connection the socket had before.
    live::leave(record);
    *record = FlowRecord::EMPTY;
    record.flags = flow_flag::LISTENER;
    process::of_task(record);
    record.uid = owner::recorded(sk).map_or(0, |owner| owner.uid);
}

/// `include/net/flow.h: LOOPBACK_IFINDEX`, in every namespace.
const LO: u32 = 1;

/// What an accepted connection is.
struct Classified {
    class: Class,
    verdict: Option<Verdict>,
    listener: u16,
    /// It comes from outside, so that no other end counts it for this workload.
    counts: bool,
}

/// PASSIVE_ESTABLISHED.
#[inline(always)]
pub(super) fn accepted(me: &Workload, call: SockOps, sk: *mut bpf_sock) {
    let Some(record) = maps::record_or_new(sk) else {
        me.count_event(Event::FlowNotKept);
        return;
    };
    let socket = Socket::of(sk);
    let (local, remote) = call.addresses();
    let ports = call.ports();
    let classified = classify(me, record, sk, socket, &local, &remote, ports.0);
    record.established_at = now();
    // The handshake is the first round trip measured: this end answered the SYN that long ago.
    record.syn_at = record.established_at.wrapping_sub(u64::from(socket.srtt_us()) * 1000);
    record.cookie = call.cookie();
    socket::sign(me, record);
    (record.local, record.remote) = (local, remote);
    (record.local_port, record.remote_port) = ports;
    record.listener_port = Port::new(classified.listener);
    record.snd_base = socket.write_seq();
    record.rcv_base = socket.copied_seq();
    record.class = classified.class as u8;
    record.rule = classified.verdict.map_or(0, |verdict| verdict.rule as u8 + 1);
    record.target = target(&classified) as u8;
    record.flags = flow_flag::ESTABLISHED | if classified.counts { flow_flag::COUNTS } else { 0 };
    if record.class == Class::DirectSelf as u8 {
        of_client(me, socket, record);
    } else if record.class == Class::Inbound as u8 && socket.interface() == LO && me.is_local(&record.remote)
    {
        // A call of the workload to itself would not have been turned.
        me.count_event(Event::OutsideCgroup);
    }
    if is_near(me, record) {
        record.flags |= flow_flag::NEAR;
    }
    if record.stays == 0 && is_between_workloads(record) && !accel::record::is_mapped(sk) {
        record.stays = of_other_workload(record);
    }
    live::enter(me, sk, record);
    accel::record::listed(sk, record.live_index);
    call.call_back(BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTT_CB_FLAG);
    opened(me, record);
}

/// Within the pod only the client's end knows whether it is the sidecar's. One that no program has seen is of a process
/// outside the cgroup: nobody else counts its connection. One that could not be told of stays what it looks like.
#[inline(always)]
fn of_client(me: &Workload, socket: Socket, record: &mut FlowRecord) {
    if let Some(class) = maps::take_peer(&PeerKey::of_server(record)) {
        record.class = class;
    } else if !socket.is_mptcp() && !maps::is_untold(me) {
        // (The record of an MPTCP client is with another socket than the one that connects.)
        record.class = Class::DirectIn as u8;
        record.flags |= flow_flag::COUNTS;
        me.count_event(Event::OutsideCgroup);
    }
}

/// Why an end that says nothing against it is not in the acceleration's map, as [`FlowRecord::stays`]: its own acceleration
/// is off, the other workload's is, or the client has said so.
#[inline(always)]
fn of_other_workload(record: &FlowRecord) -> u8 {
    const OFF: u8 = stays_for(Reason::Off);
    const SHORT: u8 = stays_for(Reason::ShortLived);
    if !rodata::accelerates() {
        return OFF;
    }
    match accel::maps::workload_at(&record.remote) {
        Some((slot, true)) if short::is_skipped(slot, &record.local, record.local_port) => SHORT | PEERS,
        Some((_, true)) => {
            maps::take_peer(&PeerKey::of_server(record).between_workloads()).map_or(0, |why| why | PEERS)
        }
        _ => OFF | PEERS,
    }
}

#[inline(always)]
fn target(classified: &Classified) -> Target {
    match (classified.verdict, classified.class) {
        (Some(verdict), _) => verdict.target,
        (None, Class::Outbound) => Target::Outbound,
        (None, Class::SelfCall) => Target::Inbound,
        (None, Class::Dns) => Target::Dns,
        (None, _) => Target::Bypass,
    }
}

/// Writes `orig` straight into the record: each copy on the way there takes stack, and kernels before 6.18 count all of it.
#[inline(always)]
fn classify(
    me: &Workload,
    record: &mut FlowRecord,
    sk: *mut bpf_sock,
    socket: Socket,
    local: &Addr,
    remote: &Addr,
    port: Port,
) -> Classified {
    let policy = me.policy();
    // A copy, not from one map's value straight into another's: that becomes a call of `memmove`, which the verifier refuses.
    let state = black_box(storage::get(sk).map_or(SocketState::EMPTY, |state| *state));
    (record.orig, record.orig_port) = (state.orig, state.port);
    // What the sidecar's listener got on another port than its own came from outside, whatever the address was once.
    let turned = state.role == role::LISTENER
        && port.get() != policy.outbound_port
        && port.get() != policy.inbound_port;
    let on_pod = is_over_lo(local, remote) || !turned && me.is_local(remote);
    let known = Classified { class: Class::DirectSelf, verdict: None, listener: port.get(), counts: !on_pod };
    match state.role {
        role::ACCEPTED if port.get() == policy.inbound_port => {
            return Classified { class: Class::SelfCall, ..known };
        }
        role::ACCEPTED if port.get() == policy.dns_port => return Classified { class: Class::Dns, ..known },
        // On its own port, or one that stands for the destination.
        role::ACCEPTED => {
            return Classified { class: Class::Outbound, listener: policy.outbound_port, ..known };
        }
        role::TPROXY_PEER => {
            return Classified { class: Class::InnerTproxy, listener: 0, counts: false, ..known };
        }
        _ => {}
    }
    (record.orig, record.orig_port) = (*local, port);
    let direct = Classified { listener: 0, ..known };
    if on_pod {
        let class = if remote.is_passthrough_source() { Class::InnerEth0 } else { Class::DirectSelf };
        return Classified { class, ..direct };
    }
    let interface = if policy.has(flag::INTERFACES) { me.interface(socket.interface()) } else { 0 };
    let verdict = ingress(me, &Ingress { tcp: true, dst: *local, dport: port.get(), interface });
    // Turned to the sidecar only if the sidecar's listener took it.
    let captured = state.role == role::LISTENER;
    let (class, listener) = match verdict.target {
        Target::Inbound if captured => (Class::Inbound, policy.inbound_port),
        Target::Outbound if captured => (Class::Outbound, policy.outbound_port),
        _ => (Class::DirectIn, 0),
    };
    Classified { class, listener, verdict: Some(verdict), ..direct }
}

/// cgroup/getpeername, which also runs for `accept` with an address: the process has the connection.
#[inline(always)]
pub(crate) fn taken(me: &Workload, sk: *mut bpf_sock) {
    let Some(record) = maps::record(sk) else { return };
    if record.has(flow_flag::CLIENT | flow_flag::LISTENER | flow_flag::TAKEN)
        || !record.has(flow_flag::ESTABLISHED)
    {
        return;
    }
    record.flags |= flow_flag::TAKEN;
    process::calling(record);
    record.uid = owner::recorded(sk).map_or(record.uid, |owner| owner.uid);
    // Who accepts without an address may ask for it whenever it likes: when it accepted is not known then.
    if !process::is_accepting(sk) {
        return;
    }
    record.accepted_at = now();
    if let Some(totals) = maps::totals(me, record.class) {
        // SAFETY: a field of a map value.
        unsafe {
            maps::measure(
                &raw mut (*totals).hand_off,
                record.accepted_at.wrapping_sub(record.established_at),
            );
        }
    }
}
