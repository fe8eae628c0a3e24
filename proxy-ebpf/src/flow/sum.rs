//! Adds up live flows. As `flow_list`, but what is found goes to `OPEN_TOTALS`.
#![allow(unsafe_code, reason = "the entry point is exported by name")]

use aya_ebpf::{macros::classifier, programs::TcContext};
use proxy_common::{
    accel::Reason,
    flow::{Carried, Class, FlowRecord, ListedEnd, OpenKey, Stayed, flow_flag},
};

use super::{live::OpenEnd, maps, socket::fin_sent};

#[classifier]
pub(crate) fn flow_sum(_: TcContext) -> i32 {
    if let Some(end) = maps::next_listed() {
        add_end(end);
    }
    0
}

#[inline(always)]
fn add_end(end: &mut ListedEnd) {
    let index = end.record.cookie as u32;
    let Some(open) = OpenEnd::read(index, &mut end.record) else { return };
    let tally = open.tally(&mut end.figures.tally).then_some(&end.figures.tally);
    let record = &end.record;
    let (sent, received) = stacked(&open, record);
    if !open.is_still(record) {
        return;
    }
    let key = OpenKey { cgroup: record.cgroup, netns: record.netns, class: record.class.into() };
    let Some(totals) = maps::open_totals(&key) else { return };
    totals.carried.add(&Carried::of(record, sent, received, tally));
    if let Some(class) = Class::from_index(record.class) {
        let stayed = Stayed::of(record, class, sent, received, tally);
        let reason = usize::from(stayed.reason) & 31;
        if reason < Reason::COUNT {
            totals.stayed[reason] += stayed.bytes;
        }
    }
    totals.active += u64::from(record.has(flow_flag::COUNTS) && record.close == 0);
}

/// Bytes sent and received over the stack. The socket of an end that does not count is not read: there are many of them, and
/// their memory is in no cache.
#[inline(always)]
fn stacked(open: &OpenEnd, record: &FlowRecord) -> (u64, u64) {
    if !record.has(flow_flag::COUNTS) {
        return (0, 0);
    }
    let is_final = record.close != 0;
    let sent = if is_final { record.sent_stacked } else { open.socket.sent(record, fin_sent(open.tcp)) };
    (sent, open.socket.received(record))
}
