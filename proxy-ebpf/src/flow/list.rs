//! The iterator over live flows. A reader of its pin gets numbers: where in `LISTED` the ends are.
#![allow(unsafe_code, reason = "an iterator's context is raw pointers")]

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{bpf_sock, seq_file},
    helpers::{bpf_ktime_get_ns, generated::bpf_seq_write},
};
use proxy_common::flow::{FlowFigures, FlowRecord, Tally, flow_flag};

use super::{
    journal, maps,
    socket::{Socket, fin_sent, state},
};
use crate::accel;

/// `struct bpf_iter__bpf_sk_storage_map` (net/core/bpf_sk_storage.c).
#[repr(C)]
struct Context {
    meta: *const Meta,
    map: *const c_void,
    sk: *mut bpf_sock,
    value: *const FlowRecord,
}

/// `struct bpf_iter_meta`.
#[repr(C)]
struct Meta {
    seq: *mut seq_file,
}

// SAFETY: the section names the kernel's iterator; the name clashes with nothing in this object.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
extern "C" fn flow_list(ctx: *const c_void) -> i32 {
    // SAFETY: what the kernel hands to an iterator of this kind.
    let ctx = unsafe { &*ctx.cast::<Context>() };
    // Read once: the verifier knows this copy as checked, not another.
    // SAFETY: a field of the context.
    let value = unsafe { (&raw const ctx.value).read_volatile() };
    // SAFETY: null behind the last element; the value is as large as the map says.
    let Some(record) = (unsafe { value.as_ref() }) else { return 0 };
    // SAFETY: as above.
    let sk = unsafe { (&raw const ctx.sk).read_volatile() };
    if sk.is_null() || record.syn_at == 0 || record.has(flow_flag::LISTENER) {
        return 0;
    }
    let socket = Socket::of(sk);
    let tcp = socket.state();
    // Over already (the journal has it), or never begun.
    if tcp == state::CLOSE && (record.close == 0 || !socket.has_owner()) {
        return 0;
    }
    let Some((index, end)) = maps::next_listed() else { return 0 };
    end.record = *record;
    end.figures = live(sk, socket, record, tcp);
    // SAFETY: pointer and size of a whole value; the kernel repeats an element whose number did not fit.
    unsafe { bpf_seq_write((*ctx.meta).seq, (&raw const index).cast_mut().cast(), size_of::<u32>() as u32) };
    0
}

#[inline(always)]
fn live(sk: *mut bpf_sock, socket: Socket, record: &FlowRecord, tcp: u32) -> FlowFigures {
    let tally = accel::record::tally(sk);
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let mut figures = journal::figures(socket, record, now, u8::from(tally.is_some()));
    if record.close == 0 {
        figures.sent_stacked = socket.sent(record, fin_sent(tcp));
    }
    figures.received_stacked = socket.received(record);
    if let Some(tally) = tally {
        figures.unread = socket.unread();
        figures.tally = *tally;
    } else {
        figures.tally = Tally::default();
    }
    figures.state = tcp as u8;
    figures
}
