//! The iterator that adds up live flows. A reader of its pin gets nothing but an end; the sums are in `OPEN_TOTALS`.
#![allow(unsafe_code, reason = "an iterator's entry")]

use core::ffi::c_void;

use proxy_common::flow::{Carried, OpenKey, flow_flag};

use super::{
    iter::{Context, OpenEnd},
    maps,
    socket::fin_sent,
};
use crate::accel;

// SAFETY: the section names the kernel's iterator; the name clashes with nothing in this object.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
extern "C" fn flow_sum(ctx: *const c_void) -> i32 {
    // SAFETY: what the kernel hands to an iterator of this kind.
    let Some(open) = unsafe { Context::of(ctx) }.open_end() else { return 0 };
    let record = open.record;
    let key = OpenKey { cgroup: record.cgroup, netns: record.netns, class: record.class.into() };
    let Some(totals) = maps::open_totals(&key) else { return 0 };
    totals.carried.add(&carried(&open));
    totals.active += u64::from(record.has(flow_flag::COUNTS) && record.close == 0);
    0
}

/// Of an end that does not count TCP is not asked: its sockets are many and cold.
#[inline(always)]
fn carried(open: &OpenEnd<'_>) -> Carried {
    let &OpenEnd { sk, socket, tcp, record } = open;
    let (sent, received) = if record.has(flow_flag::COUNTS) {
        let is_final = record.close != 0;
        let sent = if is_final { record.sent_stacked } else { socket.sent(record, fin_sent(tcp)) };
        (sent, socket.received(record))
    } else {
        (0, 0)
    };
    Carried::of(record, sent, received, accel::record::tally(sk))
}
