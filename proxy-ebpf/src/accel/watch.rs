//! What programs accept to which nothing is redirected. It may send in the map, but only if it does not block: a wake-up
//! without data, as for room to write, ends a blocking recv in the map with EAGAIN (docs/kernel.md: "A socket in the map").
//! What a socket will do is not known when it could enter, it has no file yet. So the ones before it tell: each is looked at
//! when something it has sent is acknowledged, which on one node is nearly always within that call of send.
//! Small answers gain nothing by it: who sends only such leaves again.

use aya_ebpf::bindings::{BPF_SOCK_OPS_RTT_CB_FLAG, bpf_sock};
use proxy_common::{
    accel::{
        Clients, EndKey, Listener, Mark, Reason, Record, Seen, ServerAt, direction_bit, end_flag,
        sends_little, switch_flag,
    },
    ingress::is_over_lo,
};

use super::{enroll, maps, peer, record};
use crate::{clock::now, rodata, sock_ops_call::SockOps, workload::Workload};

/// Looks at a socket when its next message is acknowledged, and while it is in the map.
#[inline(always)]
pub(super) fn begin(call: SockOps, sk: *mut bpf_sock) {
    let Some(mark) = record::mark_or_new(sk) else { return };
    mark.flags |= end_flag::WATCHED;
    call.call_back(BPF_SOCK_OPS_RTT_CB_FLAG);
}

/// Whether a socket still is: its round trips are wanted.
#[inline(always)]
pub(crate) fn is_watched(sk: *mut bpf_sock) -> bool {
    rodata::accelerates() && record::mark_of(sk).is_some_and(|mark| mark.flags & end_flag::WATCHED != 0)
}

/// `flags`: of the workload's switch. How the sockets turned out that the listener of an accepted socket has accepted before.
#[inline(always)]
pub(super) fn of_listener(me: &Workload, key: &EndKey, flags: u32, mark: Option<&Mark>) -> Seen {
    let known = mark.map_or(0, |mark| mark.flags);
    if known & end_flag::NONBLOCKING != 0 || flags & switch_flag::AT_ONCE != 0 {
        return Seen::ENOUGH;
    }
    let cookie = mark.map_or(0, |mark| mark.cookie);
    maps::server(listener_of(me, key)).map_or(Seen::NONE, |listener| listener.seen(cookie))
}

/// RTT_CB: what a socket has sent is acknowledged.
#[inline(always)]
pub(crate) fn acknowledged(me: &Workload, call: SockOps, sk: *mut bpf_sock) {
    if !rodata::accelerates() {
        return;
    }
    let Some(mark) = record::mark_of(sk) else { return };
    if mark.flags & end_flag::WATCHED == 0 {
        return;
    }
    let Some(number) = peer::number(sk) else { return };
    // Not accepted yet, or closed.
    let Some(file) = peer::file(number) else { return };
    let blocking = !peer::is_nonblocking(file);
    let counted = record::get(sk).filter(|it| it.direction.bits & direction_bit::COUNTED != 0);
    if let Some(record) = counted {
        if !blocking {
            if record.direction.bits & direction_bit::DONE == 0 {
                return;
            }
            leave_together(record);
        }
        // Nothing is redirected to it, so that nothing is lost.
        if let Some(cookie) = peer::cookie(number) {
            maps::leave(cookie);
        }
        enroll::left(record);
        maps::count_socket(me.slot, if blocking { Reason::BlockingSocket } else { Reason::UntrustedReader });
    }
    let (local, remote) = call.addresses();
    let (local_port, remote_port) = call.ports();
    let key = EndKey { local, remote, local_port, remote_port, snd: 0, rcv: 0, netns: 0 };
    turned_out(me, &key, mark, blocking);
    mark.flags &= !end_flag::WATCHED;
    // The observation asks for it as well, and no more once it has had what this was.
    if !rodata::observes() {
        call.call_back_no_more(BPF_SOCK_OPS_RTT_CB_FLAG);
    }
}

/// A socket in the map sends, and is blocking by now: the next ones stay out. It leaves when this message is acknowledged,
/// which goes over the stack.
#[inline(always)]
pub(super) fn blocks(record: &Record, sk: *mut bpf_sock) {
    let Some(me) = Workload::at(record.slot) else { return };
    let Some(mark) = record::mark_of(sk) else { return };
    turned_out(&me, &record.own, mark, true);
}

/// Whether a socket in the map to send has turned blocking.
#[inline(always)]
pub(super) fn is_blocking(record: &Record) -> bool {
    record.direction.bits & direction_bit::SENDS != 0
        && !peer::file(record.sk).is_some_and(peer::is_nonblocking)
}

/// Whether a socket in the map to send has sent too little a time: it goes on over the stack once all is read that was
/// redirected, and leaves when that is acknowledged.
#[inline(always)]
pub(super) fn sends_small(record: &Record) -> bool {
    let tally = &record.tally;
    record.direction.bits & direction_bit::SENDS != 0
        && sends_little(tally.redirected_messages, tally.redirected_bytes)
}

/// The other end has read all that was redirected to it, and gains nothing in the map either.
#[inline(always)]
fn leave_together(record: &Record) {
    if record.peer.sk != 0 && peer::cookie(record.peer.sk) == Some(record.peer.cookie) {
        maps::leave(record.peer.cookie);
    }
}

#[inline(always)]
fn turned_out(me: &Workload, key: &EndKey, mark: &Mark, blocking: bool) {
    if let Some(listener) = maps::server_or_new(listener_of(me, key)) {
        listener.add(mark.cookie, blocking, now());
    }
}

/// Where the listener of an accepted socket is remembered.
#[inline(always)]
pub(super) fn listener_of(me: &Workload, key: &EndKey) -> ServerAt<Listener> {
    let inner = is_over_lo(&key.local, &key.remote) || me.is_local(&key.remote);
    let clients = if inner { Clients::Own } else { Clients::Others };
    ServerAt::listener(me.slot, clients, &key.local, key.local_port)
}
