//! What is remembered of a socket, kept with the socket itself: it goes when the socket goes.
//!
//! `BPF_F_CLONE`: a socket accepted from a marked listener starts with the listener's mark
//! (`net/core/bpf_sk_storage.c: bpf_sk_storage_clone`).
#![allow(unsafe_code, reason = "socket storage is reached through raw pointers the verifier has checked")]

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{bpf_map_type::BPF_MAP_TYPE_SK_STORAGE, bpf_sock},
    helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get},
};
use proxy_common::{
    addr::{Addr, Port},
    wire::{Owner, SocketState, role},
};

use crate::uapi::{BPF_F_CLONE, BPF_F_NO_PREALLOC};

const BPF_SK_STORAGE_GET_F_CREATE: u64 = 1;

/// A socket's own, gone with it.
pub(crate) type OwnStorage<T> = SkStorage<T, { BPF_F_NO_PREALLOC as usize }>;
/// What a listener has, sockets that it accepts start with.
pub(crate) type InheritedStorage<T> = SkStorage<T, { (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize }>;

/// A BTF map definition: aya-ebpf's own `SkStorage` has neither the clone flag nor contexts other than sock_addr.
#[repr(C)]
pub(crate) struct SkStorage<T, const FLAGS: usize> {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: placeholders the loader reads as types; never dereferenced.
unsafe impl<T, const FLAGS: usize> Sync for SkStorage<T, FLAGS> {}

impl<T, const FLAGS: usize> SkStorage<T, FLAGS> {
    pub(crate) const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, sk: *mut bpf_sock, flags: u64) -> Option<&'static mut T> {
        let map: *mut c_void = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: `sk` comes from a context and was checked for null.
        let value = unsafe { bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), flags) };
        // SAFETY: null or a value of this map, which lives as long as the program runs.
        unsafe { value.cast::<T>().as_mut() }
    }

    #[inline(always)]
    pub(crate) fn delete(&self, sk: *mut bpf_sock) {
        let map: *mut c_void = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: as above.
        let _ = unsafe { bpf_sk_storage_delete(map, sk.cast()) };
    }

    #[inline(always)]
    pub(crate) fn get_or_create(&self, sk: *mut bpf_sock) -> Option<&'static mut T> {
        self.get(sk, BPF_SK_STORAGE_GET_F_CREATE)
    }
}

/// Written by connect (clients), sock_ops (accepted sockets) and the loader (listeners that were there first).
// SAFETY: the section in which loaders look for BTF map definitions.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "SOCKETS")]
static SOCKETS: InheritedStorage<SocketState> = InheritedStorage::new();

/// Written by sock_create, read by connect and sendmsg.
// SAFETY: as above.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "OWNERS")]
static OWNERS: OwnStorage<Owner> = OwnStorage::new();

/// The state of a socket, if any is remembered.
#[inline(always)]
pub(crate) fn get(sk: *mut bpf_sock) -> Option<&'static mut SocketState> {
    SOCKETS.get(sk, 0)
}

/// Remembers where a socket wanted to go. False: no memory.
#[inline(always)]
pub(crate) fn set(sk: *mut bpf_sock, orig: Addr, port: Port, role: u8) -> bool {
    let Some(state) = SOCKETS.get_or_create(sk) else { return false };
    *state = SocketState { orig, port, role, reserved: 0 };
    true
}

/// Forgets whatever is remembered, inherited from the listener included.
#[inline(always)]
pub(crate) fn forget(sk: *mut bpf_sock) {
    if !sk.is_null()
        && let Some(state) = get(sk)
    {
        state.role = role::NONE;
    }
}

/// Forgets a redirection: the socket is being connected again, to somewhere that is left alone.
#[inline(always)]
pub(crate) fn clear(sk: *mut bpf_sock) {
    if let Some(state) = get(sk)
        && (state.role == role::CLIENT || state.role == role::SELF_CALL)
    {
        state.role = role::NONE;
    }
}

#[inline(always)]
pub(crate) fn owner(sk: *mut bpf_sock) -> Option<Owner> {
    OWNERS.get(sk, 0).map(|owner| *owner)
}

#[inline(always)]
pub(crate) fn set_owner(sk: *mut bpf_sock, owner: Owner) {
    if let Some(slot) = OWNERS.get_or_create(sk) {
        *slot = owner;
    }
}
