//! The context of the sock_ops hooks, as `SockAddr` is the one of the sock_addr hooks.
#![allow(unsafe_code, reason = "helpers take the raw context")]

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_ops},
    helpers::{
        bpf_get_socket_cookie,
        generated::{bpf_get_netns_cookie, bpf_setsockopt, bpf_sock_ops_cb_flags_set},
    },
    programs::SockOpsContext,
};
use proxy_common::addr::{Addr, Port};

use crate::{
    ctx::{load_addr, load32, load64},
    rodata::known,
    uapi::AF_INET,
    workload::Workload,
};

/// One call of a sock_ops program.
#[derive(Clone, Copy)]
pub(crate) struct SockOps {
    ctx: *mut bpf_sock_ops,
}

impl SockOps {
    #[inline(always)]
    pub(crate) fn new(ctx: &SockOpsContext) -> Self {
        Self { ctx: ctx.ops }
    }

    /// For the helpers that put the socket into a map.
    #[inline(always)]
    pub(crate) fn raw(self) -> *mut bpf_sock_ops {
        self.ctx
    }

    /// What has happened: one of `BPF_SOCK_OPS_*_CB`.
    #[inline(always)]
    pub(crate) fn op(self) -> u32 {
        load32!(self.ctx, bpf_sock_ops, op)
    }

    /// The first argument of the event.
    #[inline(always)]
    pub(crate) fn first_arg(self) -> u32 {
        load32!(self.ctx, bpf_sock_ops, __bindgen_anon_1)
    }

    #[inline(always)]
    pub(crate) fn second_arg(self) -> u32 {
        load32!(self.ctx, bpf_sock_ops, __bindgen_anon_1 + 4)
    }

    /// The socket; null where there is none, and where it is not a full one.
    #[inline(always)]
    pub(crate) fn sk(self) -> *mut bpf_sock {
        load64!(self.ctx, bpf_sock_ops, __bindgen_anon_2) as *mut bpf_sock
    }

    /// A number for the socket that no other has. Sockets have none until somebody asks for it
    /// (`net/core/sock_diag.c: __sock_gen_cookie`): read from outside before that it would be 0, and another one later.
    #[inline(always)]
    pub(crate) fn cookie(self) -> u64 {
        // SAFETY: the helper takes the context.
        unsafe { bpf_get_socket_cookie(self.ctx.cast()) }
    }

    /// Whether the socket is in the workload's network namespace, where the kernel can tell.
    #[inline(always)]
    pub(crate) fn in_netns(self, me: &Workload) -> bool {
        if me.netns_cookie() == 0 || known!(KERNEL.has_sock_ops_cookie) == 0 {
            return true;
        }
        // SAFETY: the helper takes the context.
        let cookie = unsafe { bpf_get_netns_cookie(self.ctx.cast()) };
        cookie == me.netns_cookie()
    }

    /// An AF_INET socket. A v4-mapped one is AF_INET6, and carries mapped addresses.
    #[inline(always)]
    pub(crate) fn is_v4(self) -> bool {
        load32!(self.ctx, bpf_sock_ops, family) == u32::from(AF_INET)
    }

    /// Local and remote.
    #[inline(always)]
    pub(crate) fn addresses(self) -> (Addr, Addr) {
        if self.is_v4() {
            return (
                Addr::v4(load32!(self.ctx, bpf_sock_ops, local_ip4).to_ne_bytes()),
                Addr::v4(load32!(self.ctx, bpf_sock_ops, remote_ip4).to_ne_bytes()),
            );
        }
        (load_addr!(self.ctx, bpf_sock_ops, local_ip6), load_addr!(self.ctx, bpf_sock_ops, remote_ip6))
    }

    /// Local and remote.
    #[inline(always)]
    pub(crate) fn ports(self) -> (Port, Port) {
        (Port::new(self.local_port()), self.remote_port())
    }

    #[inline(always)]
    pub(crate) fn local_port(self) -> u16 {
        load32!(self.ctx, bpf_sock_ops, local_port) as u16
    }

    #[inline(always)]
    pub(crate) fn remote_port(self) -> Port {
        // Network order in the upper half of a big-endian word.
        Port::new(u32::from_be(load32!(self.ctx, bpf_sock_ops, remote_port)) as u16)
    }

    /// State of TCP.
    #[inline(always)]
    pub(crate) fn state(self) -> u32 {
        load32!(self.ctx, bpf_sock_ops, state)
    }

    /// The first byte sent that is not acknowledged.
    #[inline(always)]
    pub(crate) fn snd_una(self) -> u32 {
        load32!(self.ctx, bpf_sock_ops, snd_una)
    }

    /// The next byte to be sent, and the next to be received.
    #[inline(always)]
    pub(crate) fn next_bytes(self) -> (u32, u32) {
        (load32!(self.ctx, bpf_sock_ops, snd_nxt), load32!(self.ctx, bpf_sock_ops, rcv_nxt))
    }

    /// Asks for more events of the socket.
    #[inline(always)]
    pub(crate) fn call_back(self, more: u32) {
        self.set_call_backs(load32!(self.ctx, bpf_sock_ops, bpf_sock_ops_cb_flags) | more);
    }

    /// Asks for fewer.
    #[inline(always)]
    pub(crate) fn call_back_no_more(self, less: u32) {
        self.set_call_backs(load32!(self.ctx, bpf_sock_ops, bpf_sock_ops_cb_flags) & !less);
    }

    #[inline(always)]
    fn set_call_backs(self, flags: u32) {
        // What this kernel does not know it leaves out.
        // SAFETY: the helper takes the context.
        let _ = unsafe { bpf_sock_ops_cb_flags_set(self.ctx, flags as i32) };
    }

    /// Sets an option of the socket. False: the kernel refuses it.
    #[inline(always)]
    pub(crate) fn set_option<T>(self, level: i32, name: i32, value: &T) -> bool {
        let value = core::ptr::from_ref(value).cast_mut().cast();
        // SAFETY: the helper takes the context, and reads as many bytes as the value has.
        unsafe { bpf_setsockopt(self.ctx.cast(), level, name, value, size_of::<T>() as i32) == 0 }
    }
}
