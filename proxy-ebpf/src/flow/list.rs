//! Lists live flows. A reader asks for ends in `LISTED`, and has the program run once for each.
#![allow(unsafe_code, reason = "helpers; the entry point is exported by name")]

use aya_ebpf::{macros::classifier, programs::TcContext};
use proxy_common::flow::{ListedEnd, Tally};

use super::{journal, live::OpenEnd, maps, socket::fin_sent};
use crate::clock;

/// The type is one that every kernel lets userspace run; the program is never attached.
#[classifier]
pub(crate) fn flow_list(_: TcContext) -> i32 {
    if let Some(end) = maps::next_listed() {
        list_end(end);
    }
    0
}

#[inline(always)]
fn list_end(end: &mut ListedEnd) {
    let index = end.record.cookie as u32;
    let Some(open) = OpenEnd::read(index, &mut end.record) else { return };
    let now = clock::now();
    let mapped = open.tally(&mut end.figures.tally);
    // This comes first, while little is known: where it walks a list, the verifier goes through what follows once for each end of
    // the walk, and through the walk once for each way to it (Linux 6.1 gave up after its million instructions).
    let unread = if mapped { open.socket.unread() } else { end.record.unread };
    let record = &end.record;
    let mut figures = journal::figures(open.socket, record, now, u8::from(mapped));
    if record.close == 0 {
        figures.sent_stacked = open.socket.sent(record, fin_sent(open.tcp));
    }
    figures.received_stacked = open.socket.received(record);
    figures.tally = if mapped { end.figures.tally } else { Tally::default() };
    figures.unread = unread;
    figures.state = open.tcp as u8;
    let queues = open.socket.queues(record, fin_sent(open.tcp));
    if open.is_still(&end.record) {
        (end.figures, end.queues) = (figures, queues);
    }
}
