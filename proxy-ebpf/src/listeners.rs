//! The sidecar's listeners, by group. sock_ops adds them as they start to listen, the loader those that already do;
//! a listener that closes leaves its entry by itself. Kept apart from the sockets of the acceleration, and without
//! programs, so that accepted sockets are plain TCP ones.
#![allow(unsafe_code, reason = "the map update takes the raw context")]

use aya_ebpf::{bindings::bpf_sock_ops, macros::map, maps::SockMap, programs::SkLookupContext};
use proxy_common::wire::{LISTENERS as CAPACITY, LISTENERS_OF_GROUP, ListenerGroup};

use crate::uapi::BPF_NOEXIST;
use crate::workload::Workload;

/// -EEXIST.
const TAKEN: i32 = -17;

#[map]
static LISTENERS: SockMap = SockMap::with_max_entries(CAPACITY, 0);

/// What became of a listener.
#[derive(Clone, Copy)]
pub(crate) enum Added {
    Yes,
    /// Every entry of its group is taken.
    Full,
    /// No socket for a sockmap: the TCP socket below an MPTCP one has an upper layer protocol of its own
    /// (`net/core/skmsg.c: sk_psock_init`).
    Refused,
}

/// Puts a listener into the first free entry of its group.
#[inline(always)]
pub(crate) fn add(me: &Workload, ops: *mut bpf_sock_ops, group: ListenerGroup) -> Added {
    for entry in 0..LISTENERS_OF_GROUP {
        // SAFETY: the context of this very call.
        match unsafe { LISTENERS.update(group.first_entry(me.slot) + entry, ops, BPF_NOEXIST) } {
            Ok(()) => return Added::Yes,
            Err(TAKEN) => {}
            Err(_) => return Added::Refused,
        }
    }
    Added::Full
}

/// Hands the connection to a listener of the group. One is enough: the kernel chooses among the members of its
/// SO_REUSEPORT group (`net/core/filter.c: bpf_sk_lookup_assign` without NO_REUSEPORT).
#[inline(always)]
pub(crate) fn assign(me: &Workload, ctx: &SkLookupContext, group: ListenerGroup) -> bool {
    for entry in 0..LISTENERS_OF_GROUP {
        if LISTENERS.redirect_sk_lookup(ctx, group.first_entry(me.slot) + entry, 0).is_ok() {
            return true;
        }
    }
    false
}
