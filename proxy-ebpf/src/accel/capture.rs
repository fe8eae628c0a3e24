//! Messages for somebody who looks (`sidestep capture`). It ends by itself: who looks says again and again until when.
#![allow(unsafe_code, reason = "helpers, and memory of the ring")]

use core::{ffi::c_void, mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::sk_msg_md,
    helpers::generated::{bpf_msg_pull_data, bpf_probe_read_kernel},
    maps::ring_buf::RingBufEntry,
    programs::SkMsgContext,
};
use proxy_common::accel::{Capture, Captured, PIECE, Reason, Record, SMALL_PIECE};

use super::{maps, peer};
use crate::{atomic, clock::now, ctx::load64};

/// A piece as it lies in the ring.
#[repr(C)]
struct Piece<const BYTES: usize> {
    head: Captured,
    bytes: [u8; BYTES],
}

/// Before the message counts.
#[inline(always)]
pub(super) fn keep(ctx: &SkMsgContext, capture: &mut Capture, record: &Record, reason: Reason, size: u32) {
    let at = now();
    let sender = tenancy(record.number, record.slot);
    if at >= capture.until
        || !capture.is_of(sender, tenancy(record.peer.number, record.peer.slot.into()))
        || !has_port(capture, record)
    {
        return;
    }
    let Some(written) = peer::write_seq(record.sk) else { return };
    let most = if capture.most < PIECE { capture.most } else { PIECE };
    // Of an empty message, or of none of its bytes, there is a piece as well: it says that there was one.
    let kept = if size < most { size } else { most };
    let head = Captured {
        at,
        tenancy: sender,
        own: record.own,
        sequence: written.wrapping_add(record.tally.redirected_bytes as u32),
        size,
        start: 0,
        kept,
        reason: reason as u32,
        reserved: 0,
    };
    let is_kept = if kept > SMALL_PIECE {
        piece::<{ PIECE as usize }>(ctx, &head, kept)
    } else {
        piece::<{ SMALL_PIECE as usize }>(ctx, &head, kept)
    };
    if !is_kept {
        atomic::add(&mut capture.lost, 1);
    }
}

#[inline(always)]
fn tenancy(number: u32, slot: u32) -> u64 {
    u64::from(number) << 32 | u64::from(slot)
}

#[inline(always)]
fn has_port(capture: &Capture, record: &Record) -> bool {
    let port = capture.port.get();
    port == 0 || record.own.local_port.get() == port || record.own.remote_port.get() == port
}

/// False: there is no room, or no memory to read it.
#[inline(always)]
fn piece<const BYTES: usize>(ctx: &SkMsgContext, head: &Captured, kept: u32) -> bool {
    let Some(mut room) = maps::captured::<Piece<BYTES>>() else { return false };
    if fill(ctx, &mut room, head, kept) {
        room.submit(0);
        true
    } else {
        room.discard(0);
        false
    }
}

#[inline(always)]
fn fill<const BYTES: usize>(
    ctx: &SkMsgContext,
    room: &mut RingBufEntry<Piece<BYTES>>,
    head: &Captured,
    kept: u32,
) -> bool {
    let piece: *mut Piece<BYTES> = MaybeUninit::as_mut_ptr(room);
    // SAFETY: in the room that was reserved.
    unsafe { ptr::write(&raw mut (*piece).head, *head) };
    if kept == 0 {
        return true;
    }
    // In one place: a message lies in as many as it was written from.
    // SAFETY: the context of this very call.
    if unsafe { bpf_msg_pull_data(ctx.msg, 0, kept, 0) } != 0 {
        return false;
    }
    let data = load64!(ctx.msg, sk_msg_md, __bindgen_anon_1) as *const c_void;
    let length = if kept as usize > BYTES { BYTES as u32 } else { kept };
    // SAFETY: not more than there is room for; the helper checks the source itself.
    unsafe { bpf_probe_read_kernel((&raw mut (*piece).bytes).cast(), length, data) == 0 }
}
