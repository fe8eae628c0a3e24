//! The iterator that lists live flows. A reader of its pin gets numbers: where in `LISTED` the ends are.
#![allow(unsafe_code, reason = "an iterator's entry")]

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use proxy_common::flow::{FlowFigures, Tally};

use super::{
    iter::{Context, OpenEnd},
    journal, maps,
    socket::fin_sent,
};
use crate::accel;

// SAFETY: the section names the kernel's iterator; the name clashes with nothing in this object.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
extern "C" fn flow_list(ctx: *const c_void) -> i32 {
    // SAFETY: what the kernel hands to an iterator of this kind.
    let ctx = unsafe { Context::of(ctx) };
    let Some(open) = ctx.open_end() else { return 0 };
    let Some((index, end)) = maps::next_listed() else { return 0 };
    end.record = *open.record;
    end.figures = live(&open);
    ctx.write(index);
    0
}

#[inline(always)]
fn live(open: &OpenEnd<'_>) -> FlowFigures {
    let &OpenEnd { sk, socket, tcp, record } = open;
    let tally = accel::record::tally(sk);
    // First, while little is known: where it walks a list, the verifier goes through what follows once for each end of
    // the walk, and through the walk once for each way to it (Linux 6.1 gave up after its million instructions).
    let unread = if tally.is_some() { socket.unread() } else { record.unread };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let mut figures = journal::figures(socket, record, now, u8::from(tally.is_some()));
    if record.close == 0 {
        figures.sent_stacked = socket.sent(record, fin_sent(tcp));
    }
    figures.received_stacked = socket.received(record);
    figures.tally = match tally {
        Some(tally) => *tally,
        None => Tally::default(),
    };
    figures.unread = unread;
    figures.state = tcp as u8;
    figures
}
