//! Closed flows: one entry each, and what they add to the sums.
#![allow(unsafe_code, reason = "map values are reached through raw pointers the verifier has checked")]

use proxy_common::{
    accel::Reason,
    flow::{
        Carried, Class, Close, FlowFigures, FlowRecord, JOURNAL_WORDS, JournalEntry, Stayed, Tally,
        flow_flag, journal_sum, phase,
    },
};

use super::{maps, socket::Socket};
use crate::{atomic, workload::Workload};

/// Writes the final record; never waits, the oldest goes.
#[inline(always)]
pub(super) fn write(me: &Workload, socket: Socket, record: &FlowRecord, tally: Option<&Tally>) {
    let Some((number, entry)) = maps::next_entry() else { return };
    entry.record = *record;
    entry.record.phase = phase::CLOSED | phase::RELEASED;
    entry.figures = figures(socket, record, record.closed_at, u8::from(tally.is_some()));
    entry.figures.tally = tally.copied().unwrap_or_default();
    entry.sum = journal_sum(number, words(entry));
    entry.number = number;
    if let Some(kept) = maps::next_kept(me.slot) {
        *kept = *entry;
    }
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
pub(super) fn sum(me: &Workload, record: &FlowRecord, tally: Option<&Tally>) {
    let counts = record.has(flow_flag::COUNTS);
    if !counts && tally.is_none_or(|tally| tally.redirected_bytes == 0) {
        return;
    }
    let Some(class) = Class::from_index(record.class) else { return };
    let Some(totals) = maps::totals(me, record.class) else { return };
    // SAFETY: fields of a map value.
    unsafe {
        let reason = usize::from(record.close.wrapping_sub(1)) & 7;
        if counts && reason < Close::COUNT {
            atomic::add((&raw mut (*totals).closed).cast::<u64>().add(reason), 1);
        }
        let carried = Carried::of(record, record.sent_stacked, record.received_stacked, tally);
        add(&raw mut (*totals).carried, &carried);
        let stayed = Stayed::of(record, class, record.sent_stacked, record.received_stacked, tally);
        let reason = usize::from(stayed.reason) & 31;
        if stayed.bytes != 0 && reason < Reason::COUNT {
            atomic::add((&raw mut (*totals).stayed).cast::<u64>().add(reason), stayed.bytes);
        }
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
        if more.sent_far | more.received_far != 0 {
            atomic::add(&raw mut (*sum).sent_far, more.sent_far);
            atomic::add(&raw mut (*sum).received_far, more.received_far);
        }
        atomic::add(&raw mut (*sum).messages_redirected, more.messages_redirected);
        atomic::add(&raw mut (*sum).messages_stacked, more.messages_stacked);
    }
}
