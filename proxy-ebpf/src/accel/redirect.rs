//! sk_msg: each message of a socket in the map, before it is sent. Always SK_PASS: a message that is not handed over
//! goes over the stack. SK_DROP would kill the connection for good (docs/kernel.md: "Verdicts").
#![allow(unsafe_code, reason = "the entry points are exported by name")]

use aya_ebpf::{
    bindings::{bpf_sock, sk_action, sk_msg_md},
    macros::sk_msg,
    programs::SkMsgContext,
};
use proxy_common::accel::{
    DEFAULT_LIMIT, LONG, Path, PathInputs, Reason, Record, choose, direction_bit, end_flag, switch_flag,
};

use super::{
    capture, maps, memory,
    peer::{self, Waits},
    record, short, watch,
};
use crate::{
    clock::now,
    ctx::{load32, load64},
    flow,
};

const PASS: u32 = sk_action::SK_PASS;
const TCP_ESTABLISHED: u32 = 1;
const TCP_CLOSE_WAIT: u32 = 8;

/// The program of the map: stays with each socket for life, so it does nothing but pass on.
#[sk_msg]
pub(crate) fn dispatch(ctx: SkMsgContext) -> u32 {
    maps::dispatch(&ctx);
    PASS
}

#[sk_msg]
pub(crate) fn redirect(ctx: SkMsgContext) -> u32 {
    // The offsets are constants to the verifier: without them it never meets the helper that reads kernel memory, which
    // lockdown `confidentiality` withholds ("program of this type cannot use helper bpf_probe_read").
    if !peer::is_known() {
        return PASS;
    }
    let sk = load64!(ctx.msg, sk_msg_md, __bindgen_anon_3) as *mut bpf_sock;
    if sk.is_null() {
        return PASS;
    }
    let Some(record) = record::get(sk) else { return PASS };
    let Some(own) = maps::switch(record.slot) else { return PASS };
    // A socket stays in the map when its workload is detached. Another one that has got the slot has another number.
    let is_attached = own.number == record.number;
    let size = load32!(ctx.msg, sk_msg_md, size);
    let state = load32!(sk, bpf_sock, state);
    if record.direction.sent < LONG {
        record.direction.sent += 1;
        if record.direction.sent == LONG && is_attached {
            short::long(record);
        }
    }
    let is_small = watch::sends_small(record) && own.flags & switch_flag::ANY_SIZE == 0;
    let off = !is_attached || !own.redirects(now) || is_small;
    let path = if watch::is_blocking(record) {
        if is_attached {
            watch::blocks(record, sk);
        }
        Err(Reason::BlockingSocket)
    } else if record.direction.bits & direction_bit::DONE != 0 {
        Err(Reason::UntrustedReader)
    } else {
        choose_path(record, off, state, size)
    };
    let reason = match path.unwrap_or_else(Path::Stack) {
        // All that was redirected is read, and nothing will be again.
        Path::Stack(Reason::Off) if is_small => {
            record.direction.bits |= direction_bit::DONE;
            Reason::UntrustedReader
        }
        Path::Stack(reason) => reason,
        Path::Redirect if maps::hand_over(&ctx, &mut record.peer.cookie) => Reason::Redirected,
        Path::Redirect => Reason::PeerGone,
    };
    if is_attached {
        maps::count(record.slot, reason, size);
    }
    if matches!(reason, Reason::Redirected) {
        if record.peer_live == 0 && record.direction.sent < LONG {
            // It enters a moment after it can be found.
            record.peer_live = maps::end(&record.own.reversed()).map_or(0, |entry| entry.live);
        }
        flow::handed_over(record.live, record.peer_live, record.peer.cookie);
    }
    if let Some(wanted) = maps::capture() {
        capture::keep(&ctx, wanted, record, reason, size);
    }
    record.tally.add(reason, size);
    if record.tally.first_at == 0 {
        record.tally.first_at = now();
    }
    PASS
}

/// Reads what the path depends on, and chooses it. An error: the message goes over the stack for this reason, whatever
/// the rest would say.
#[inline(always)]
fn choose_path(record: &mut Record, off: bool, state: u32, size: u32) -> Result<Path, Reason> {
    if record.peer.sk == 0 {
        let entry = maps::end(&record.own.reversed()).ok_or_else(|| no_peer(record))?;
        (record.peer, record.peer_live) = (entry.end, entry.live);
    }
    // The memory of a socket that is closed may be in another use by now. What is read there does no harm: the socket is
    // no longer in the map, so that the hand-over fails.
    let sk = record.peer.sk;
    // Also what goes over the stack is an answer to the other end.
    let peer_activity = maps::activity(record.sk, sk);
    let other = maps::switch(record.peer.slot.into()).ok_or(Reason::Off)?;
    let is_attached = other.number == record.peer.number;
    if state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT {
        return Err(Reason::NotOpen);
    }
    if record.peer_file == 0 {
        record.peer_file = peer::file(sk).unwrap_or(0);
    }
    // The settings of a workload that is detached are not known any more. What waits at the receiver has to be followed by
    // redirected bytes until it is read, whatever mode they were sent in; nothing is redirected after that.
    let strict = is_attached && other.flags & switch_flag::ANY_READER == 0;
    let limit = if is_attached { other.limit } else { DEFAULT_LIMIT };
    let peer_flags = u32::from(record.peer.flags);
    if strict && peer_flags & end_flag::TRUSTED == 0 {
        return Err(Reason::UntrustedReader);
    }
    if strict && (record.peer_file == 0 || !peer::is_nonblocking(record.peer_file)) {
        return Err(Reason::BlockingReader);
    }
    let queued = peer::queued(sk).ok_or(Reason::PeerGone)?;
    let inputs = PathInputs {
        size,
        queued,
        limit,
        has_memory: memory::has_room(sk, u32::from(record.peer.slot), queued.saturating_add(size), limit),
        drained: is_drained(record).ok_or(Reason::PeerGone)?,
        peer_activity,
        off: off || !is_attached || !other.redirects(now),
        stops_short: stops_short(record),
        reads_blocking: !strict && record.peer_file != 0 && !peer::is_nonblocking(record.peer_file),
    };
    Ok(choose(&mut record.direction, &inputs))
}

/// Why there is no other end: what its side has said, where it has.
#[inline(always)]
fn no_peer(record: &mut Record) -> Reason {
    if record.tally.peer_stays == 0 {
        record.tally.peer_stays = maps::end(&record.own).map_or(0, |own| own.end.peer_stays());
    }
    Reason::from_index(record.tally.peer_stays.wrapping_sub(1)).unwrap_or(Reason::NoPeer)
}

/// Whether the receiver has read every byte ever given to TCP. Once it has, it stays so until there are more.
#[inline(always)]
fn is_drained(record: &mut Record) -> Option<bool> {
    let written = peer::write_seq(record.sk)?;
    if written == record.drained_at {
        return Some(true);
    }
    let drained = peer::copied_seq(record.peer.sk)? == written;
    // A number that `write_seq` does not have again before the next call, however far sequence numbers wrap.
    record.drained_at = if drained { written } else { written.wrapping_sub(1) };
    Some(drained)
}

/// Whether the receiver may stop reading with bytes left. The kernel is asked until the receiver is in an epoll set; one
/// that never is (poll, select, io_uring) looks at its socket again before it waits.
#[inline(always)]
fn stops_short(record: &mut Record) -> bool {
    const KNOWN: u8 = direction_bit::LEVEL | direction_bit::EDGE;
    if u32::from(record.peer.flags) & end_flag::DRAINS != 0 {
        return false;
    }
    if record.direction.bits & KNOWN == 0 && record.peer_file != 0 {
        record.direction.bits |= match peer::waits(record.peer_file) {
            Waits::Otherwise => 0,
            Waits::Level => direction_bit::LEVEL,
            Waits::Edge => direction_bit::EDGE,
        };
    }
    record.direction.bits & direction_bit::EDGE != 0
}
