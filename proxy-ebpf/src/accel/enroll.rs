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
        DirectionState, EndKey, Knowledge, LONG, PublishedEnd, Reason, Record, ServerAt, direction_bit,
        end_flag, switch_flag,
    },
    addr::{Addr, Port},
    flow::{PEERS, Tally},
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
    let whose = if call.in_netns(me) { slot_of(me, &remote) } else { None };
    let stays = match whose {
        // Where the other end is a workload's, that one's acceleration is off.
        None => Some((Reason::Off, PEERS)),
        Some(slot) => reason_to_skip(me, slot, &remote, remote_port),
    };
    match stays {
        None => reader::mark(me, sk),
        Some((reason, whose)) => {
            record::unmark(sk);
            flow::stays(sk, reason, whose);
        }
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

/// Why this connection is not worth entering, if it is not, and whether that is the other end's doing ([`PEERS`]); `slot`: the
/// other end's workload.
#[inline(always)]
fn reason_to_skip(me: &Workload, slot: u32, remote: &Addr, remote_port: Port) -> Option<(Reason, u8)> {
    let listener = listener_at(slot, slot == me.slot, remote, remote_port);
    let declined = maps::server(listener).and_then(|server| server.declines(now()));
    if let Some(reason) = declined {
        return Some((reason, PEERS));
    }
    let server = maps::server(connections_at(me, remote, remote_port))?;
    if !server.skips_next(now()) {
        return None;
    }
    maps::count_socket(me.slot, Reason::ShortLived);
    Some((Reason::ShortLived, 0))
}

/// ACTIVE_ESTABLISHED.
#[inline(always)]
pub(crate) fn client(me: &Workload, call: SockOps, sk: *mut bpf_sock) {
    let (local, remote) = call.addresses();
    if !rodata::accelerates() || record::mark_of(sk).is_none() || !is_own(me, call, &local) {
        return;
    }
    let key = key(me, call, local, remote);
    let entered = admissible(me.slot, sk).and_then(|(number, strict)| {
        reads_alike(sk, strict, || peer::file(number).is_some_and(peer::is_nonblocking))?;
        enter(me, call, sk, number, key, 0)
    });
    if let Err(reason) = entered {
        stays_out(me, sk, reason);
    }
}

/// A socket that could have entered.
#[inline(always)]
fn stays_out(me: &Workload, sk: *mut bpf_sock, reason: Reason) {
    if !matches!(reason, Reason::Off) {
        maps::count_socket(me.slot, reason);
    }
    flow::stays(sk, reason, 0);
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
    let entered = admissible(me.slot, sk).and_then(|(number, strict)| {
        // The socket is not accepted yet, and has no file: its listener stands for it.
        reads_alike(sk, strict, || record::mark_of(sk).is_some_and(|mark| reader::is_event_loop(&mark)))?;
        enter(me, call, sk, number, key, direction_bit::SERVER)
    });
    let Err(reason) = entered else { return };
    stays_out(me, sk, reason);
    maps::tell_peer(&key.reversed(), reason);
    // The listener's next connection will read as this one does. What else keeps one out may be over by then.
    if !matches!(reason, Reason::UntrustedReader | Reason::BlockingSocket) {
        return;
    }
    let inner = is_over_lo(&local, &remote) || me.is_local(&remote);
    if let Some(server) = maps::server_or_new(listener_at(me.slot, inner, &key.local, key.local_port)) {
        server.has_declined(reason, now());
    }
}

/// The socket is gone.
#[inline(always)]
pub(crate) fn closed(me: &Workload, sk: *mut bpf_sock) {
    if !rodata::accelerates() {
        return;
    }
    let Some(record) = record::get(sk) else { return };
    if record.peer.sk == 0 {
        // It may have sent nothing, and not have asked.
        record.tally.peer_stays = maps::end(&record.own).map_or(0, |own| own.peer_stays());
    }
    maps::end_remove(&record.own);
    uncount(record);
    // The client tells: what the server answers in one piece is the same conversation.
    if record.direction.bits & direction_bit::SERVER == 0
        && record.direction.sent < LONG
        && let Some(server) = maps::server_or_new(server_of(me, record))
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
        maps::count_socket(record.slot, Reason::Ktls);
    }
    true
}

/// This end has just sent as many messages as a long connection does.
#[inline(always)]
pub(super) fn long(record: &Record) {
    if let Some(me) = Workload::at(record.slot)
        && let Some(server) = maps::server(server_of(&me, record))
    {
        server.is_long();
    }
}

/// Whose an address on this node is: of the workload itself, or of another that is accelerated.
#[inline(always)]
fn slot_of(me: &Workload, remote: &Addr) -> Option<u32> {
    if me.is_local(remote) {
        return Some(me.slot);
    }
    maps::workload_at(remote).and_then(|(slot, accelerated)| accelerated.then_some(slot))
}

/// The socket as a number, and whether its reader must be one the map changes nothing for. An error: why it stays out.
#[inline(always)]
fn admissible(slot: u32, sk: *mut bpf_sock) -> Result<(u64, bool), Reason> {
    let switch = maps::switch(slot).ok_or(Reason::Off)?;
    if switch.enabled == 0 {
        return Err(Reason::Off);
    }
    let number = peer::number(sk).ok_or(Reason::Off)?;
    if peer::is_made_up(number) {
        return Err(Reason::NotEnrolled);
    }
    if peer::is_mptcp(number) {
        return Err(Reason::Mptcp);
    }
    Ok((number, switch.flags & switch_flag::ANY_READER == 0))
}

/// Whether the socket's own reads stay as they are in the map.
#[inline(always)]
fn reads_alike(sk: *mut bpf_sock, strict: bool, event_loop: impl FnOnce() -> bool) -> Result<(), Reason> {
    // Being in the map is enough to change FIONREAD and splice(2), also for what comes over the stack.
    if strict && record::mark_of(sk).is_none_or(|mark| mark.flags & end_flag::TRUSTED == 0) {
        return Err(Reason::UntrustedReader);
    }
    if strict && !event_loop() {
        return Err(Reason::BlockingSocket);
    }
    Ok(())
}

#[inline(always)]
fn enter(
    me: &Workload,
    call: SockOps,
    sk: *mut bpf_sock,
    number: u64,
    key: EndKey,
    bits: u8,
) -> Result<(), Reason> {
    let slot = me.slot;
    let cookie = peer::cookie(number).ok_or(Reason::NotEnrolled)?;
    if me.share().is_none_or(|(share, limits)| share.sockets >= limits.sockets) {
        return Err(Reason::NotEnrolled);
    }
    let record = record::create(sk).ok_or(Reason::NotEnrolled)?;
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
        return Err(Reason::NotEnrolled);
    }
    if !maps::enter(call.raw(), cookie) {
        maps::end_remove(&record.own);
        return Err(Reason::NotEnrolled);
    }
    count(me, record);
    if rodata::observes() {
        flow::mapped(sk, &record.tally);
    }
    // For the entry's removal.
    call.call_back(BPF_SOCK_OPS_STATE_CB_FLAG);
    maps::count_socket(slot, Reason::Enrolled);
    Ok(())
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

/// Where the client of this connection remembers how long its server's are.
#[inline(always)]
fn server_of(me: &Workload, record: &Record) -> ServerAt {
    let EndKey { local, remote, local_port, remote_port, .. } = record.own;
    if record.direction.bits & direction_bit::SERVER == 0 {
        connections_at(me, &remote, remote_port)
    } else {
        connections_at(me, &local, local_port)
    }
}

/// Where it is remembered how a workload's listener reads; `inner`: for clients of its own.
#[inline(always)]
fn listener_at(slot: u32, inner: bool, addr: &Addr, port: Port) -> ServerAt {
    let what = if inner { Knowledge::OfOwnListener } else { Knowledge::OfListener };
    ServerAt::new(slot, what, addr, port)
}

#[inline(always)]
fn connections_at(me: &Workload, addr: &Addr, port: Port) -> ServerAt {
    ServerAt::new(me.slot, Knowledge::OfConnections, addr, port)
}
