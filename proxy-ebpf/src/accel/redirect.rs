//! sk_msg: each message of a socket in the map, before it is sent. Always SK_PASS: a message that is not handed over
//! goes over the stack. SK_DROP would kill the connection for good (docs/kernel.md: "Verdicts").
#![allow(unsafe_code, reason = "the entry points are exported by name")]

use aya_ebpf::{
    bindings::{bpf_sock, sk_action, sk_msg_md},
    helpers::bpf_ktime_get_ns,
    macros::sk_msg,
    programs::SkMsgContext,
};
use proxy_common::accel::{LONG, Path, Reason, Record, Sight, choose, end_flag, flow_bit, switch_flag};

use super::{
    enroll, maps, memory,
    peer::{self, Waits},
    record,
};
use crate::ctx::{load32, load64};

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
    let size = load32!(ctx.msg, sk_msg_md, size);
    let state = load32!(sk, bpf_sock, state);
    if record.flow.sent < LONG {
        record.flow.sent += 1;
        if record.flow.sent == LONG {
            enroll::long(record);
        }
    }
    let reason = match path(record, state, size) {
        Path::Stack(reason) => reason,
        Path::Redirect if maps::hand_over(&ctx, &mut record.peer.cookie) => Reason::Redirected,
        Path::Redirect => Reason::PeerGone,
    };
    maps::count(record.slot, reason, size);
    record.tally.add(reason, size);
    if record.tally.first_at == 0 {
        // SAFETY: no arguments.
        record.tally.first_at = unsafe { bpf_ktime_get_ns() };
    }
    PASS
}

#[inline(always)]
fn path(record: &mut Record, state: u32, size: u32) -> Path {
    look(record, state, size).unwrap_or_else(Path::Stack)
}

#[inline(always)]
fn look(record: &mut Record, state: u32, size: u32) -> Result<Path, Reason> {
    if record.peer.sk == 0 {
        record.peer = maps::end(&record.own.reversed()).ok_or(Reason::NoPeer)?;
    }
    // Once closed it may be anything's memory by now. What is read there then misleads nobody: it is no longer in the
    // map, so that the hand-over fails.
    let sk = record.peer.sk;
    // Also what goes over the stack is an answer to the other end.
    let peer_activity = maps::activity(record.sk, sk);
    let own = maps::switch(record.slot).ok_or(Reason::Off)?;
    let other = maps::switch(record.peer.slot).ok_or(Reason::Off)?;
    if state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT {
        return Err(Reason::NotOpen);
    }
    if record.peer_file == 0 {
        record.peer_file = peer::file(sk).unwrap_or(0);
    }
    let strict = other.flags & switch_flag::ANY_READER == 0;
    if strict && record.peer.flags & end_flag::TRUSTED == 0 {
        return Err(Reason::UntrustedReader);
    }
    if strict && (record.peer_file == 0 || !peer::is_nonblocking(record.peer_file)) {
        return Err(Reason::BlockingReader);
    }
    let queued = peer::queued(sk).ok_or(Reason::PeerGone)?;
    let sight = Sight {
        size,
        queued,
        limit: other.limit,
        room: memory::has_room(sk, queued.saturating_add(size), other.limit),
        drained: is_drained(record).ok_or(Reason::PeerGone)?,
        peer_activity,
        off: own.enabled == 0 || other.enabled == 0,
        stops_short: stops_short(record),
        blocking: !strict && record.peer_file != 0 && !peer::is_nonblocking(record.peer_file),
    };
    Ok(choose(&mut record.flow, &sight))
}

/// Whether the receiver has read every byte ever given to TCP. Once it has, it stays so until there are more.
#[inline(always)]
fn is_drained(record: &mut Record) -> Option<bool> {
    let written = peer::write_seq(record.sk)?;
    if written == record.drained_at {
        return Some(true);
    }
    let drained = peer::copied_seq(record.peer.sk)? == written;
    // Else a number that is not met again before the next look, however far sequence numbers wrap.
    record.drained_at = if drained { written } else { written.wrapping_sub(1) };
    Some(drained)
}

/// Asked until the receiver is in an epoll set; some never are (poll, select, io_uring), and they look again.
#[inline(always)]
fn stops_short(record: &mut Record) -> bool {
    const KNOWN: u8 = flow_bit::LEVEL | flow_bit::EDGE;
    if record.peer.flags & end_flag::DRAINS != 0 {
        return false;
    }
    if record.flow.bits & KNOWN == 0 && record.peer_file != 0 {
        record.flow.bits |= match peer::waits(record.peer_file) {
            Waits::Otherwise => 0,
            Waits::Level => flow_bit::LEVEL,
            Waits::Edge => flow_bit::EDGE,
        };
    }
    record.flow.bits & flow_bit::EDGE != 0
}
