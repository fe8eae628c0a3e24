//! Which sockets enter the map: those whose other end is proven to be on this node, that can gain, and whose own
//! reads the map does not change.
//!
//! The client comes first: it is established before the server's side exists. It enters when the address it talks to
//! is a workload of this node; the server's side when the client's entry, sequence numbers included, is there.
#![allow(unsafe_code, reason = "helpers")]

use aya_ebpf::{
    bindings::{BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock},
    helpers::bpf_ktime_get_ns,
};
use proxy_common::{
    accel::{
        DirectionState, EndKey, LONG, PublishedEnd, Reason, Record, direction_bit, end_flag, switch_flag,
    },
    addr::{Addr, Port},
    flow::Tally,
    ingress::is_over_lo,
};

use super::{maps, peer, reader, record};
use crate::{
    atomic, flow, rodata,
    sock_ops_call::SockOps,
    workload::{self, Workload},
};

/// TCP_LISTEN_CB, in the listening process: how it reads holds for what it accepts.
#[inline(always)]
pub(crate) fn listening(me: &Workload, sk: *mut bpf_sock) {
    if rodata::accelerates() {
        reader::mark(me, sk);
    }
}

/// TCP_CONNECT_CB, in the connecting process. Without a mark the socket stays out.
#[inline(always)]
pub(crate) fn connecting(me: &Workload, call: SockOps, sk: *mut bpf_sock, remote: Addr, remote_port: Port) {
    if !rodata::accelerates() {
        return;
    }
    begin_anew(sk);
    if call.in_netns(me) && is_on_node(me, &remote) && is_worth_entering(me, remote, remote_port) {
        reader::mark(me, sk);
    } else {
        record::unmark(sk);
    }
}

/// A socket may have had another connection before (connect with AF_UNSPEC ends one).
#[inline(always)]
fn begin_anew(sk: *mut bpf_sock) {
    if let Some(record) = record::get(sk)
        && let Some(cookie) = peer::number(sk).and_then(peer::cookie)
    {
        maps::leave(cookie);
        uncount(record);
    }
}

/// Whether this end is the workload's: in its namespace, with an address of its own. A process of the pod with a user
/// namespace can make a network namespace with any addresses; its sockets do not enter.
#[inline(always)]
fn is_own(me: &Workload, call: SockOps, local: &Addr) -> bool {
    call.in_netns(me) && me.is_local(local)
}

#[inline(always)]
fn is_worth_entering(me: &Workload, remote: Addr, remote_port: Port) -> bool {
    let inner = me.is_local(&remote);
    if maps::server(&server_key(me, remote, remote_port, inner)).is_some_and(|server| server.declined != 0) {
        return false;
    }
    let Some(server) = maps::server(&client_key(me, remote, remote_port)) else { return true };
    let skip = server.skips_next(now());
    if skip {
        maps::count(me.slot, Reason::ShortLived, 0);
    }
    !skip
}

/// ACTIVE_ESTABLISHED.
#[inline(always)]
pub(crate) fn client(me: &Workload, call: SockOps, sk: *mut bpf_sock) {
    let (local, remote) = call.addresses();
    if !rodata::accelerates() || record::mark_of(sk).is_none() || !is_own(me, call, &local) {
        return;
    }
    let key = key(me, call, local, remote);
    let Some((number, strict)) = admissible(me.slot, sk) else { return };
    if reads_alike(me.slot, sk, strict, || peer::file(number).is_some_and(peer::is_nonblocking)) {
        enter(me, call, sk, number, key, 0);
    }
}

/// PASSIVE_ESTABLISHED.
#[inline(always)]
pub(crate) fn server(me: &Workload, call: SockOps, sk: *mut bpf_sock) {
    let (local, remote) = call.addresses();
    if !rodata::accelerates() || !is_own(me, call, &local) {
        return;
    }
    let key = key(me, call, local, remote);
    if maps::end(&key.reversed()).is_none() {
        return;
    }
    let Some((number, strict)) = admissible(me.slot, sk) else { return };
    // The socket is not accepted yet, and has no file: its listener stands for it.
    let event_loop = || record::mark_of(sk).is_some_and(|mark| reader::is_event_loop(&mark));
    if reads_alike(me.slot, sk, strict, event_loop) {
        enter(me, call, sk, number, key, direction_bit::SERVER);
        return;
    }
    // The listener's next connection will read as this one does. What else keeps one out may be over by then.
    let inner = is_over_lo(&local, &remote) || me.is_local(&remote);
    if let Some(server) = maps::server_or_new(&server_key(me, key.local, key.local_port, inner)) {
        server.declined = 1;
    }
}

/// The socket is gone.
#[inline(always)]
pub(crate) fn closed(me: &Workload, sk: *mut bpf_sock) {
    if !rodata::accelerates() {
        return;
    }
    let Some(record) = record::get(sk) else { return };
    maps::end_remove(&record.own);
    uncount(record);
    // The client tells: what the server answers in one piece is the same conversation.
    if record.direction.bits & direction_bit::SERVER == 0
        && record.direction.sent < LONG
        && let Some(server) = maps::server_or_new(&server_of(me, record))
    {
        server.was_short(now());
    }
}

/// Whether kernel TLS is refused for a socket: in the map.
#[inline(always)]
pub(crate) fn refuses_tls(sk: *mut bpf_sock) -> bool {
    if !rodata::accelerates() {
        return false;
    }
    let Some(record) = record::get(sk) else { return false };
    if maps::switch(record.slot).is_some_and(|switch| switch.number == record.number) {
        maps::count(record.slot, Reason::Ktls, 0);
    }
    true
}

/// This end has just sent as many messages as a long connection does.
#[inline(always)]
pub(super) fn long(record: &Record) {
    if let Some(me) = Workload::at(record.slot)
        && let Some(server) = maps::server(&server_of(&me, record))
    {
        server.is_long();
    }
}

/// Local to the namespace, or the address of another workload.
#[inline(always)]
fn is_on_node(me: &Workload, remote: &Addr) -> bool {
    me.is_local(remote) || maps::is_local_workload(remote)
}

/// The socket as a number, and whether its reader must be one the map changes nothing for.
#[inline(always)]
fn admissible(slot: u32, sk: *mut bpf_sock) -> Option<(u64, bool)> {
    let switch = maps::switch(slot)?;
    if switch.enabled == 0 {
        return None;
    }
    let number = peer::number(sk)?;
    if peer::is_made_up(number) {
        maps::count(slot, Reason::NotEnrolled, 0);
        return None;
    }
    if peer::is_mptcp(number) {
        maps::count(slot, Reason::Mptcp, 0);
        return None;
    }
    Some((number, switch.flags & switch_flag::ANY_READER == 0))
}

/// Whether the socket's own reads stay as they are in the map.
#[inline(always)]
fn reads_alike(slot: u32, sk: *mut bpf_sock, strict: bool, event_loop: impl FnOnce() -> bool) -> bool {
    // Being in the map is enough to change FIONREAD and splice(2), also for what comes over the stack.
    if strict && record::mark_of(sk).is_none_or(|mark| mark.flags & end_flag::TRUSTED == 0) {
        maps::count(slot, Reason::UntrustedReader, 0);
        return false;
    }
    if strict && !event_loop() {
        maps::count(slot, Reason::BlockingSocket, 0);
        return false;
    }
    true
}

#[inline(always)]
fn enter(me: &Workload, call: SockOps, sk: *mut bpf_sock, number: u64, key: EndKey, bits: u8) {
    let slot = me.slot;
    let Some(cookie) = peer::cookie(number) else { return };
    if me.share().is_none_or(|(share, limits)| share.sockets >= limits.sockets) {
        maps::count(slot, Reason::NotEnrolled, 0);
        return;
    }
    let Some(record) = record::create(sk) else { return };
    record.sk = number;
    record.peer = PublishedEnd::NONE;
    record.peer_file = 0;
    record.direction = DirectionState { bits, ..DirectionState::default() };
    // Behind all that is written: a SYN may have carried data nobody has read.
    record.drained_at = key.snd.wrapping_sub(1);
    record.tally = Tally::default();
    record.slot = slot;
    record.number = me.number();
    record.own = key;
    let flags = record::mark_of(sk).map_or(0, |mark| mark.flags) as u16;
    if !maps::end_insert(
        &key,
        &PublishedEnd { sk: number, cookie, number: me.number(), slot: slot as u16, flags },
    ) {
        maps::count(slot, Reason::NotEnrolled, 0);
        return;
    }
    if !maps::enter(call.raw(), cookie) {
        maps::end_remove(&record.own);
        maps::count(slot, Reason::NotEnrolled, 0);
        return;
    }
    count(me, record);
    if rodata::observes() {
        flow::mapped(sk, &record.tally);
    }
    // For the entry's removal.
    call.call_back(BPF_SOCK_OPS_STATE_CB_FLAG);
    maps::count(slot, Reason::Enrolled, 0);
}

/// Takes one of the workload's share.
#[inline(always)]
fn count(me: &Workload, record: &mut Record) {
    record.direction.bits |= direction_bit::COUNTED;
    if let Some((share, _)) = me.share() {
        atomic::add(&mut share.sockets, 1);
    }
}

#[inline(always)]
fn uncount(record: &mut Record) {
    if record.direction.bits & direction_bit::COUNTED == 0 {
        return;
    }
    record.direction.bits &= !direction_bit::COUNTED;
    let tenancy = u64::from(record.number) << 32 | u64::from(record.slot);
    if let Some(share) = workload::share_of(tenancy) {
        atomic::add(&mut share.sockets, u64::MAX);
    }
}

#[inline(always)]
fn key(me: &Workload, call: SockOps, local: Addr, remote: Addr) -> EndKey {
    let (local_port, remote_port) = call.ports();
    let (snd, rcv) = call.next_bytes();
    EndKey {
        local,
        remote,
        local_port,
        remote_port,
        snd,
        rcv,
        netns: if local.is_loopback() || remote.is_loopback() { netns(me) } else { 0 },
    }
}

/// The lower half of the namespace's cookie, which counts namespaces.
#[inline(always)]
fn netns(me: &Workload) -> u32 {
    me.netns_cookie() as u32
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// The key of the server whose connection this is, as its client remembers it.
#[inline(always)]
fn server_of(me: &Workload, record: &Record) -> EndKey {
    let EndKey { local, remote, local_port, remote_port, .. } = record.own;
    if record.direction.bits & direction_bit::SERVER == 0 {
        client_key(me, remote, remote_port)
    } else {
        client_key(me, local, local_port)
    }
}

/// A server whose side stays out, for all its clients: its address and port, and whether they are of its own pod. From
/// elsewhere it is the sidecar's listener that accepts, whatever the application's at the same address does; and
/// addresses of loopback are every namespace's.
#[inline(always)]
fn server_key(me: &Workload, addr: Addr, port: Port, inner: bool) -> EndKey {
    EndKey {
        local: addr,
        remote: Addr::UNSPECIFIED,
        local_port: port,
        remote_port: Port([0; 2]),
        snd: 0,
        rcv: 0,
        netns: if inner { netns(me) } else { 0 },
    }
}

/// A server as the clients of one workload know it: what they see of it is nobody else's.
#[inline(always)]
fn client_key(me: &Workload, addr: Addr, port: Port) -> EndKey {
    EndKey { snd: 1, ..server_key(me, addr, port, true) }
}
