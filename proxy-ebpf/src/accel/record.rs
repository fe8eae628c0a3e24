//! What a socket in the map remembers.
#![allow(unsafe_code, reason = "a BTF map definition")]

use aya_ebpf::bindings::bpf_sock;
use proxy_common::accel::Record;

use crate::storage::{BPF_F_NO_PREALLOC, SkStorage};

/// Written by sock_ops when the socket enters the map, then by sk_msg under the socket's lock.
// SAFETY: the section in which loaders look for BTF map definitions.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "RECORDS")]
static RECORDS: SkStorage<Record, BPF_F_NO_PREALLOC> = SkStorage::new();

#[inline(always)]
pub(super) fn get(sk: *mut bpf_sock) -> Option<&'static mut Record> {
    RECORDS.get(sk, 0)
}

#[inline(always)]
pub(super) fn create(sk: *mut bpf_sock) -> Option<&'static mut Record> {
    RECORDS.get_or_create(sk)
}
