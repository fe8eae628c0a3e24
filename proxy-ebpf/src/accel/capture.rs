//! Messages for somebody who looks (`sidestep capture`). It ends by itself: who looks says again and again until when.
#![allow(unsafe_code, reason = "helpers, and memory of the ring")]

use core::{ffi::c_void, mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::sk_msg_md,
    helpers::generated::{bpf_msg_pull_data, bpf_probe_read_kernel},
    maps::ring_buf::RingBufEntry,
    programs::SkMsgContext,
};
use proxy_common::{
    accel::{Capture, Captured, KEPT_SMALL, MOST_KEPT, Reason, Record},
    workload::tenancy,
};

use super::{maps, peer};
use crate::{atomic, clock::now, ctx::load64};

/// A message as it lies in the ring.
#[repr(C)]
struct Message<const BYTES: usize> {
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
    let most = if capture.most < MOST_KEPT { capture.most } else { MOST_KEPT };
    let head = Captured {
        at,
        tenancy: sender,
        own: record.own,
        sequence: written.wrapping_add(record.tally.redirected_bytes as u32),
        size,
        kept: if size < most { size } else { most },
        reason: reason as u32,
    };
    let is_kept = if head.kept > KEPT_SMALL {
        message::<{ MOST_KEPT as usize }>(ctx, &head)
    } else {
        message::<{ KEPT_SMALL as usize }>(ctx, &head)
    };
    if !is_kept {
        atomic::add(&mut capture.lost, 1);
    }
}

#[inline(always)]
fn has_port(capture: &Capture, record: &Record) -> bool {
    let port = capture.port.get();
    port == 0 || record.own.local_port.get() == port || record.own.remote_port.get() == port
}

/// False: there is no room, or no memory to read it.
#[inline(always)]
fn message<const BYTES: usize>(ctx: &SkMsgContext, head: &Captured) -> bool {
    let Some(mut room) = maps::captured::<Message<BYTES>>() else { return false };
    if fill(ctx, &mut room, head) {
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
    room: &mut RingBufEntry<Message<BYTES>>,
    head: &Captured,
) -> bool {
    let message: *mut Message<BYTES> = MaybeUninit::as_mut_ptr(room);
    // SAFETY: in the room that was reserved.
    unsafe { ptr::write(&raw mut (*message).head, *head) };
    // That there was a message is told without its bytes.
    if head.kept == 0 {
        return true;
    }
    // In one place: a message lies in as many as it was written from.
    // SAFETY: the context of this very call.
    if unsafe { bpf_msg_pull_data(ctx.msg, 0, head.kept, 0) } != 0 {
        return false;
    }
    let data = load64!(ctx.msg, sk_msg_md, __bindgen_anon_1) as *const c_void;
    let length = if head.kept as usize > BYTES { BYTES as u32 } else { head.kept };
    // SAFETY: not more than there is room for; the helper checks the source itself.
    unsafe { bpf_probe_read_kernel((&raw mut (*message).bytes).cast(), length, data) == 0 }
}
