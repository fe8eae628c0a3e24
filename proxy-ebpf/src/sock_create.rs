//! cgroup/sock_create: who creates a socket. Attached only where the kernel has no BTF to read it from later.
#![allow(unsafe_code, reason = "the entry point is exported by name")]

use aya_ebpf::{macros::cgroup_sock, programs::SockContext};

use crate::{owner, storage, uapi::cgroup::ALLOW};

#[cgroup_sock(sock_create)]
pub(crate) fn sock_create(ctx: SockContext) -> i32 {
    storage::set_owner(ctx.sock, owner::current());
    ALLOW
}
