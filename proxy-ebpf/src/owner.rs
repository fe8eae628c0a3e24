//! Who owns a socket, as xt_owner sees it: the credentials its file was opened with.
//!
//! `net/netfilter/xt_owner.c: owner_mt` compares `sk->sk_socket->file->f_cred->fsuid` and `fsgid`. The loader takes the
//! offsets from the kernel's BTF; without them sock_create's record is used, and without that the caller's ids.

use aya_ebpf::{bindings::bpf_sock, helpers::bpf_get_current_uid_gid};
use proxy_common::wire::Owner;

use crate::{
    kernel_memory::{address, pointer, read},
    rodata::known,
    storage,
};

#[inline(always)]
pub(crate) fn of(sk: *mut bpf_sock) -> Owner {
    recorded(sk).unwrap_or_else(current)
}

/// The creator, as far as the socket itself tells.
#[inline(always)]
pub(crate) fn recorded(sk: *mut bpf_sock) -> Option<Owner> {
    if known!(KERNEL.sk_socket) != 0 { creator(sk) } else { storage::owner(sk) }
}

/// Real ids of the calling process.
#[inline(always)]
pub(crate) fn current() -> Owner {
    let ids = bpf_get_current_uid_gid();
    Owner { uid: ids as u32, gid: (ids >> 32) as u32 }
}

#[inline(always)]
fn creator(sk: *mut bpf_sock) -> Option<Owner> {
    let socket = read::<u64>(address(sk)?, known!(KERNEL.sk_socket))?;
    // io_uring's direct descriptors and kernel sockets have no file.
    let file = pointer(socket, known!(KERNEL.socket_file))?;
    let cred = read::<u64>(file, known!(KERNEL.file_cred))?;
    Some(Owner { uid: read(cred, known!(KERNEL.cred_fsuid))?, gid: read(cred, known!(KERNEL.cred_fsgid))? })
}
