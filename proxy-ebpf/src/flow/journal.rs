//! Closed flows: one entry each, and what they add to the sums.
#![allow(unsafe_code, reason = "map values are reached through raw pointers the verifier has checked")]

use aya_ebpf::bindings::bpf_sock;
use proxy_common::flow::{
    Close, FlowFigures, FlowRecord, JOURNAL_WORDS, JournalEntry, Tally, Totals, flow_flag, journal_sum, phase,
};

use super::{atomic, maps, socket::Socket};
use crate::accel;

/// Writes the final record; never waits, the oldest goes.
#[inline(always)]
pub(super) fn write(sk: *mut bpf_sock, socket: Socket, record: &FlowRecord) -> Tally {
    let tally = accel::record::tally(sk);
    let mapped = tally.is_some();
    let tally = tally.copied().unwrap_or_default();
    let Some((number, entry)) = maps::next_entry() else { return tally };
    entry.record = *record;
    entry.record.phase = phase::CLOSED | phase::RELEASED;
    entry.figures = figures(socket, record, record.closed_at, u8::from(mapped));
    entry.figures.tally = tally;
    entry.sum = journal_sum(number, words(entry));
    entry.number = number;
    tally
}

/// What is read of the socket besides the record.
#[inline(always)]
pub(super) fn figures(socket: Socket, record: &FlowRecord, at: u64, mapped: u8) -> FlowFigures {
    FlowFigures {
        at,
        sent_stacked: record.sent_stacked,
        received_stacked: record.received_stacked,
        tally: Tally::default(),
        srtt_us: socket.srtt_us(),
        retransmits: socket.retransmits(),
        unread: record.unread,
        state: 0,
        mapped,
        reserved: [0; 2],
    }
}

#[inline(always)]
fn words(entry: &JournalEntry) -> &[u64; JOURNAL_WORDS] {
    // SAFETY: the two structures stand behind one another, without padding, aligned to eight bytes.
    unsafe { &*(&raw const entry.record).cast() }
}

/// Adds a closed end to its class's sums: what it sent is what the end that counts received.
#[inline(always)]
pub(super) fn sum(totals: *mut Totals, record: &FlowRecord, tally: &Tally) {
    // SAFETY: fields of a map value.
    unsafe {
        if !record.has(flow_flag::COUNTS) {
            atomic::add(&raw mut (*totals).received_redirected, tally.redirected_bytes);
            return;
        }
        let reason = usize::from(record.close.wrapping_sub(1)) & 7;
        if reason < Close::COUNT {
            atomic::add((&raw mut (*totals).closed).cast::<u64>().add(reason), 1);
        }
        atomic::add(&raw mut (*totals).sent_stacked, record.sent_stacked);
        atomic::add(&raw mut (*totals).received_stacked, record.received_stacked);
        if tally.redirected_messages | tally.stacked_messages != 0 {
            atomic::add(&raw mut (*totals).sent_redirected, tally.redirected_bytes);
            atomic::add(&raw mut (*totals).messages_redirected, tally.redirected_messages);
            atomic::add(&raw mut (*totals).messages_stacked, tally.stacked_messages);
        }
    }
}
