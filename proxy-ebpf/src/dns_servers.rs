//! The servers one unconnected UDP socket asks, kept with the socket: `proxy_common::dns`.
//!
//! Written by sendmsg, read by recvmsg; both run under the socket's lock
//! (`include/linux/bpf-cgroup.h: BPF_CGROUP_RUN_SA_PROG_LOCK`).
#![allow(unsafe_code, reason = "the map is found by section and name")]

use aya_ebpf::bindings::bpf_sock;
use proxy_common::{
    addr::Addr,
    dns::{SLOTS, Servers},
};

use crate::storage::OwnStorage;

// SAFETY: the section in which loaders look for BTF map definitions.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "DNS_SERVERS")]
static DNS_SERVERS: OwnStorage<Servers> = OwnStorage::new();

/// The slot of a server, and whether another server lost it. None: there is no memory for slots.
#[inline(always)]
pub(crate) fn slot(sk: *mut bpf_sock, server: &Addr) -> Option<(usize, bool)> {
    DNS_SERVERS.get_or_create(sk).map(|servers| servers.slot(server))
}

/// The server behind a slot.
#[inline(always)]
pub(crate) fn server(sk: *mut bpf_sock, slot: usize) -> Option<Addr> {
    // Tells the verifier the bound.
    if slot >= SLOTS {
        return None;
    }
    DNS_SERVERS.get(sk, 0)?.server(slot)
}
