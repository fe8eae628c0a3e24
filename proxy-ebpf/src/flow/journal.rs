//! Closed flows: one entry each, and what they add to the sums.
#![allow(unsafe_code, reason = "map values are reached through raw pointers the verifier has checked")]

use aya_ebpf::bindings::bpf_sock;
use proxy_common::flow::{
    Carried, Close, FlowFigures, FlowRecord, JOURNAL_WORDS, JournalEntry, Tally, flow_flag, journal_sum,
    phase,
};

use super::{maps, socket::Socket};
use crate::{accel, atomic, workload::Workload};

/// Writes the final record; never waits, the oldest goes.
#[inline(always)]
pub(super) fn write(me: &Workload, sk: *mut bpf_sock, socket: Socket, record: &FlowRecord) -> Tally {
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
    if let Some(kept) = maps::next_kept(me.slot) {
        *kept = *entry;
    }
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

/// Adds a closed end to its class's sums.
#[inline(always)]
pub(super) fn sum(me: &Workload, record: &FlowRecord, tally: &Tally) {
    let counts = record.has(flow_flag::COUNTS);
    if !counts && tally.redirected_bytes == 0 {
        return;
    }
    let Some(totals) = maps::totals(me, record.class) else { return };
    // SAFETY: fields of a map value.
    unsafe {
        let reason = usize::from(record.close.wrapping_sub(1)) & 7;
        if counts && reason < Close::COUNT {
            atomic::add((&raw mut (*totals).closed).cast::<u64>().add(reason), 1);
        }
        let carried = Carried::of(record, record.sent_stacked, record.received_stacked, Some(tally));
        add(&raw mut (*totals).carried, &carried);
    }
}

/// # Safety
/// A field of a map value.
#[inline(always)]
unsafe fn add(sum: *mut Carried, more: &Carried) {
    // SAFETY: fields of the field.
    unsafe {
        atomic::add(&raw mut (*sum).sent_redirected, more.sent_redirected);
        atomic::add(&raw mut (*sum).sent_stacked, more.sent_stacked);
        atomic::add(&raw mut (*sum).received_redirected, more.received_redirected);
        atomic::add(&raw mut (*sum).received_stacked, more.received_stacked);
        atomic::add(&raw mut (*sum).messages_redirected, more.messages_redirected);
        atomic::add(&raw mut (*sum).messages_stacked, more.messages_stacked);
    }
}
