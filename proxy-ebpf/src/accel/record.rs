//! What a socket in the map remembers.
#![allow(unsafe_code, reason = "a BTF map definition")]

use aya_ebpf::bindings::bpf_sock;
use proxy_common::{
    accel::{Mark, Record},
    flow::Tally,
};

use super::maps;
use crate::storage::{InheritedStorage, OwnStorage};

/// Written by sock_ops when the socket enters the map, then by sk_msg under the socket's lock.
// SAFETY: the section in which loaders look for BTF map definitions.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "RECORDS")]
static RECORDS: OwnStorage<Record> = OwnStorage::new();

/// Marks of listeners, inherited by what they accept, and of connecting sockets. Written by sock_ops, by userspace for
/// listeners that are there first.
// SAFETY: as above.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "READER_MARKS")]
static READER_MARKS: InheritedStorage<Mark> = InheritedStorage::new();

#[inline(always)]
pub(super) fn mark_of(sk: *mut bpf_sock) -> Option<&'static mut Mark> {
    READER_MARKS.get(sk, 0)
}

/// Its mark, empty if it had none.
#[inline(always)]
pub(super) fn mark_or_new(sk: *mut bpf_sock) -> Option<&'static mut Mark> {
    READER_MARKS.get_or_create(sk)
}

/// Takes the mark of an earlier connection of the same socket away.
#[inline(always)]
pub(super) fn unmark(sk: *mut bpf_sock) {
    if READER_MARKS.get(sk, 0).is_some() {
        READER_MARKS.delete(sk);
    }
}

#[inline(always)]
pub(super) fn get(sk: *mut bpf_sock) -> Option<&'static mut Record> {
    RECORDS.get(sk, 0)
}

/// What sk_msg has seen of its sends; none: it never was in the map.
#[inline(always)]
pub(crate) fn tally(sk: *mut bpf_sock) -> Option<&'static Tally> {
    get(sk).map(|record| &record.tally)
}

/// Whether it is in the map, or was.
#[inline(always)]
pub(crate) fn is_mapped(sk: *mut bpf_sock) -> bool {
    get(sk).is_some()
}

/// An accepted socket has got its place in `LIVE` (index + 1): the programs that redirect to it find it there.
#[inline(always)]
pub(crate) fn listed(sk: *mut bpf_sock, live: u32) {
    if let Some(record) = get(sk) {
        record.live = live;
        maps::end_listed(&record.own, live);
    }
}

#[inline(always)]
pub(super) fn create(sk: *mut bpf_sock) -> Option<&'static mut Record> {
    RECORDS.get_or_create(sk)
}
