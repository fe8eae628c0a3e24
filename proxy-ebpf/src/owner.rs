//! Who owns a socket, as xt_owner sees it: the credentials its file was opened with.
//!
//! `net/netfilter/xt_owner.c: owner_mt` compares `sk->sk_socket->file->f_cred->fsuid` and `fsgid`. The loader takes the
//! offsets from the kernel's BTF; without them sock_create's record is used, and without that the caller's ids.
#![allow(unsafe_code, reason = "reads kernel memory through the helper that cannot fault")]

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{bpf_get_current_uid_gid, bpf_probe_read_kernel},
};
use proxy_common::wire::Owner;

use crate::{storage, table};

#[inline(always)]
pub(crate) fn of(sk: *mut bpf_sock) -> Owner {
    recorded(sk).unwrap_or_else(current)
}

/// The creator, as far as the socket itself tells.
#[inline(always)]
pub(crate) fn recorded(sk: *mut bpf_sock) -> Option<Owner> {
    if table::kernel().sk_socket != 0 { creator(sk) } else { storage::owner(sk) }
}

/// Real ids of the calling process.
#[inline(always)]
pub(crate) fn current() -> Owner {
    let ids = bpf_get_current_uid_gid();
    Owner { uid: ids as u32, gid: (ids >> 32) as u32 }
}

#[inline(always)]
fn creator(sk: *mut bpf_sock) -> Option<Owner> {
    let kernel = table::kernel();
    // The verifier allows no arithmetic on a socket pointer; read back through the helper it is a number.
    let number = read::<u64>((&raw const sk) as u64, 0)?;
    let socket = read::<u64>(number, kernel.sk_socket)?;
    let file = read::<u64>(socket, kernel.socket_file)?;
    // io_uring's direct descriptors and kernel sockets have no file.
    if file == 0 {
        return None;
    }
    let cred = read::<u64>(file, kernel.file_cred)?;
    Some(Owner { uid: read(cred, kernel.cred_fsuid)?, gid: read(cred, kernel.cred_fsgid)? })
}

#[inline(always)]
pub(crate) fn read<T>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address itself and fails instead of faulting.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}
