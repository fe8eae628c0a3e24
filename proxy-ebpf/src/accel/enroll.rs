//! Which sockets enter the map: those whose other end is proven to be on this node, that can gain, and whose own
//! reads the map does not change. Of a program that nobody knows that holds as long as nothing is redirected to it (`watch`).
//!
//! The client comes first: it is established before the server's side exists. It enters when the address it talks to
//! is a workload of this node; the server's side when the client's entry, sequence numbers included, is there.
#![allow(unsafe_code, reason = "helpers")]

use aya_ebpf::bindings::{BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock};
use proxy_common::{
    accel::{
        Clients, DirectionState, EndEntry, EndKey, Mark, PublishedEnd, Reason, Record, Seen, ServerAt,
        direction_bit, end_flag, switch_flag,
    },
    addr::{Addr, Port},
    flow::{PEERS, Tally},
    workload::tenancy,
};

use super::{maps, peer, reader, record, short, watch};
use crate::{
    atomic,
    clock::now,
    flow, rodata,
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
    let clients = if slot == me.slot { Clients::Own } else { Clients::Others };
    let listener = ServerAt::listener(slot, clients, remote, remote_port);
    let declined = maps::server(listener).and_then(|server| server.declines(now()));
    if let Some(reason) = declined {
        return Some((reason, PEERS));
    }
    if !short::skips_next(me, remote, remote_port) {
        return None;
    }
    maps::count_socket(me.slot, Reason::ShortLived);
    Some((Reason::ShortLived, 0))
}

/// ACTIVE_ESTABLISHED.
#[inline(always)]
pub(crate) fn client(me: &Workload, call: SockOps, sk: *mut bpf_sock) {
    if !rodata::accelerates() {
        return;
    }
    let (local, remote) = call.addresses();
    let Some(mark) = record::mark_of(sk) else { return };
    if !is_own(me, call, &local) {
        return;
    }
    let key = key(me, call, local, remote);
    let entered = admissible(me.slot, sk).and_then(|(number, flags)| {
        let bits = match class(flags, Some(mark))? {
            Class::Any => 0,
            _ if !peer::file(number).is_some_and(peer::is_nonblocking) => {
                return Err(Reason::BlockingSocket);
            }
            Class::Reads => 0,
            // A client is sent more than it sends, and to be in the map costs what goes over the stack.
            Class::Sends => return Err(Reason::UntrustedReader),
        };
        enter(me, call, sk, number, key, bits)
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
    // Somebody else's client has not entered, and teaches nothing that this node's need.
    if slot_of(me, &remote).is_none() {
        return;
    }
    let key = key(me, call, local, remote);
    let is_met = maps::end(&key.reversed()).is_some();
    let mut mark = record::mark_of(sk);
    if let Some(mark) = mark.as_deref_mut() {
        reader::judge(mark);
    }
    let mark = mark.as_deref();
    let entered = admissible(me.slot, sk).and_then(|(number, flags)| {
        // The socket is not accepted yet, and has no file: its listener stands for it, or what that one has accepted before.
        let bits = match class(flags, mark)? {
            Class::Any => 0,
            Class::Reads if !mark.is_some_and(reader::is_event_loop) => return Err(Reason::BlockingSocket),
            Class::Reads => 0,
            Class::Sends => {
                let seen = watch::of_listener(me, &key, flags, mark);
                to_send(seen, is_met, || watch::begin(call, sk))?;
                direction_bit::SENDS
            }
        };
        if !is_met {
            return Err(Reason::NoPeer);
        }
        enter(me, call, sk, number, key, bits | direction_bit::SERVER)
    });
    let Err(reason) = entered else { return };
    if !is_met {
        return;
    }
    stays_out(me, sk, reason);
    maps::tell_peer(&key.reversed(), reason);
    // The listener's next connection will read as this one does. What else keeps one out may be over by then.
    if !matches!(reason, Reason::UntrustedReader | Reason::BlockingSocket) {
        return;
    }
    if let Some(server) = maps::server_or_new(watch::listener_of(me, &key)) {
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
        record.tally.peer_stays = maps::end(&record.own).map_or(0, |own| own.end.peer_stays());
    }
    left(record);
    short::ended(me, record);
}

/// A socket has left the map.
#[inline(always)]
pub(super) fn left(record: &mut Record) {
    maps::end_remove(&record.own);
    uncount(record);
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

/// Whose an address on this node is: of the workload itself, or of another that is accelerated.
#[inline(always)]
fn slot_of(me: &Workload, remote: &Addr) -> Option<u32> {
    if me.is_local(remote) {
        return Some(me.slot);
    }
    maps::workload_at(remote).and_then(|(slot, accelerated)| accelerated.then_some(slot))
}

/// The socket as a number, and the bits of its workload's switch. An error: why it stays out.
#[inline(always)]
fn admissible(slot: u32, sk: *mut bpf_sock) -> Result<(u64, u32), Reason> {
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
    Ok((number, switch.flags))
}

/// What a socket may do in the map.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Whatever it does: in tests.
    Any,
    /// What it is sent is redirected too, if it does not block.
    Reads,
    /// Nothing is redirected to it.
    Sends,
}

/// An error: being in the map is enough to change what it reads, also of what comes over the stack.
#[inline(always)]
fn class(flags: u32, mark: Option<&Mark>) -> Result<Class, Reason> {
    let known = mark.map_or(0, |mark| mark.flags);
    if flags & switch_flag::ANY_READER != 0 {
        Ok(Class::Any)
    } else if known & end_flag::TRUSTED != 0 {
        Ok(Class::Reads)
    } else if known & end_flag::SENDS != 0 || flags & switch_flag::SENDS != 0 {
        Ok(Class::Sends)
    } else {
        Err(Reason::UntrustedReader)
    }
}

/// Whether a socket of a program to which nothing is redirected enters, as those before it turned out; it is watched where
/// that has to be known, and in the map.
#[inline(always)]
fn to_send(seen: Seen, enters: bool, watch: impl FnOnce()) -> Result<(), Reason> {
    if seen.is_blocking() {
        return Err(Reason::BlockingSocket);
    }
    if enters || !seen.is_enough() {
        watch();
    }
    if seen.is_enough() { Ok(()) } else { Err(Reason::UntrustedReader) }
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
    record.live = if rodata::observes() { flow::entry_of(sk) } else { 0 };
    record.peer_live = 0;
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
        &EndEntry {
            end: PublishedEnd { sk: number, cookie, number: me.number(), slot: slot as u16, flags },
            live: record.live,
            reserved: 0,
        },
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
    let to_send = bits & direction_bit::SENDS != 0;
    maps::count_socket(slot, if to_send { Reason::EnrolledToSend } else { Reason::Enrolled });
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
    if let Some(share) = workload::share_of(tenancy(record.number, record.slot)) {
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
