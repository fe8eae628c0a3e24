//! What a socket in the map remembers.
#![allow(unsafe_code, reason = "a BTF map definition")]

use aya_ebpf::bindings::bpf_sock;
use proxy_common::accel::Record;

use crate::storage::{BPF_F_CLONE, BPF_F_NO_PREALLOC, SkStorage};

/// Written by sock_ops when the socket enters the map, then by sk_msg under the socket's lock.
// SAFETY: the section in which loaders look for BTF map definitions.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "RECORDS")]
static RECORDS: SkStorage<Record, BPF_F_NO_PREALLOC> = SkStorage::new();

/// [`proxy_common::accel::end_flag`] bits of a listener; its accepted sockets start with them. Written by sock_ops
/// when it starts to listen, by userspace for those that already do.
// SAFETY: as above.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "READER_MARKS")]
static READER_MARKS: SkStorage<u32, { BPF_F_NO_PREALLOC | BPF_F_CLONE }> = SkStorage::new();

#[inline(always)]
pub(super) fn marks(sk: *mut bpf_sock) -> u32 {
    READER_MARKS.get(sk, 0).map_or(0, |marks| *marks)
}

#[inline(always)]
pub(super) fn mark(sk: *mut bpf_sock, marks: u32) {
    if let Some(slot) = READER_MARKS.get_or_create(sk) {
        *slot = marks;
    }
}

#[inline(always)]
pub(super) fn get(sk: *mut bpf_sock) -> Option<&'static mut Record> {
    RECORDS.get(sk, 0)
}

#[inline(always)]
pub(super) fn create(sk: *mut bpf_sock) -> Option<&'static mut Record> {
    RECORDS.get_or_create(sk)
}
