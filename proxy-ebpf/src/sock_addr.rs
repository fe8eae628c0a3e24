//! The context of the sock_addr hooks (connect, sendmsg, recvmsg, getpeername), one code path for both families.
//!
//! A v4-mapped destination on an AF_INET6 socket arrives in the v6 hook only and stays v4-mapped.
#![allow(unsafe_code, reason = "helpers take raw pointers")]

use core::mem;

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2},
    helpers::generated::{bpf_bind, bpf_get_netns_cookie, bpf_sk_lookup_udp, bpf_sk_release},
    programs::SockAddrContext,
};
use proxy_common::addr::{Addr, Port};

use crate::{
    ctx::{load_addr, load32, load64, store32, to_words},
    uapi::{AF_INET, AF_INET6, BPF_F_CURRENT_NETNS, IPPROTO_TCP, IPPROTO_UDP},
};

/// The hook's address family.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    V4,
    V6,
}

pub(crate) struct SockAddr {
    ctx: *mut bpf_sock_addr,
    hook: Hook,
}

/// `struct sockaddr_in6`, large enough for both families.
#[repr(C)]
struct SockAddrIn6 {
    family: u16,
    port: [u8; 2],
    flow: u32,
    addr: [u8; 16],
    scope: u32,
}

/// `struct sockaddr_in`.
#[repr(C)]
struct SockAddrIn {
    family: u16,
    port: [u8; 2],
    addr: [u8; 4],
    zero: [u8; 8],
}

impl SockAddr {
    #[inline(always)]
    pub(crate) fn new(ctx: &SockAddrContext, hook: Hook) -> Self {
        Self { ctx: ctx.sock_addr, hook }
    }

    /// Whether the caller acts in the workload's network namespace.
    #[inline(always)]
    pub(crate) fn in_netns(&self, cookie: u64) -> bool {
        // SAFETY: the helper takes the context.
        cookie == 0 || unsafe { bpf_get_netns_cookie(self.ctx.cast()) } == cookie
    }

    #[inline(always)]
    pub(crate) fn sk(&self) -> *mut bpf_sock {
        load64!(self.ctx, bpf_sock_addr, __bindgen_anon_1) as *mut bpf_sock
    }

    #[inline(always)]
    pub(crate) fn is_tcp(&self) -> bool {
        load32!(self.ctx, bpf_sock_addr, protocol) == IPPROTO_TCP
    }

    /// Protocols other than TCP and UDP are not ours.
    #[inline(always)]
    pub(crate) fn is_tcp_or_udp(&self) -> bool {
        let protocol = load32!(self.ctx, bpf_sock_addr, protocol);
        protocol == IPPROTO_TCP || protocol == IPPROTO_UDP
    }

    /// The address in the call: destination in connect and sendmsg, source in recvmsg, peer in getpeername.
    #[inline(always)]
    pub(crate) fn addr(&self) -> Addr {
        match self.hook {
            Hook::V4 => Addr::v4(load32!(self.ctx, bpf_sock_addr, user_ip4).to_ne_bytes()),
            Hook::V6 => load_addr!(self.ctx, bpf_sock_addr, user_ip6),
        }
    }

    #[inline(always)]
    pub(crate) fn port(&self) -> Port {
        Port((load32!(self.ctx, bpf_sock_addr, user_port) as u16).to_ne_bytes())
    }

    #[inline(always)]
    pub(crate) fn set(&self, addr: &Addr, port: Port) {
        let words = to_words(addr);
        if self.hook == Hook::V4 {
            store32!(self.ctx, bpf_sock_addr, user_ip4, words[3]);
        } else {
            store32!(self.ctx, bpf_sock_addr, user_ip6, words[0]);
            store32!(self.ctx, bpf_sock_addr, user_ip6 + 4, words[1]);
            store32!(self.ctx, bpf_sock_addr, user_ip6 + 8, words[2]);
            store32!(self.ctx, bpf_sock_addr, user_ip6 + 12, words[3]);
        }
        store32!(self.ctx, bpf_sock_addr, user_port, u32::from(u16::from_ne_bytes(port.0)));
    }

    /// The address the socket is bound to; unspecified if it is not.
    #[inline(always)]
    pub(crate) fn bound(&self, sk: *mut bpf_sock) -> Addr {
        if self.hook == Hook::V4 {
            return Addr::v4(load32!(sk, bpf_sock, src_ip4).to_ne_bytes());
        }
        load_addr!(sk, bpf_sock, src_ip6)
    }

    #[inline(always)]
    pub(crate) fn has_bound_port(&self, sk: *mut bpf_sock) -> bool {
        load32!(sk, bpf_sock, src_port) != 0
    }

    #[inline(always)]
    /// 0: none yet.
    pub(crate) fn bound_port(&self, sk: *mut bpf_sock) -> u32 {
        load32!(sk, bpf_sock, src_port)
    }

    #[inline(always)]
    pub(crate) fn is_connected(&self, sk: *mut bpf_sock) -> bool {
        load32!(sk, bpf_sock, dst_port) & 0xffff != 0
    }

    /// The source of the datagram (sendmsg only): bound, or given with IP_PKTINFO; unspecified if the route decides.
    #[inline(always)]
    pub(crate) fn source(&self) -> Addr {
        match self.hook {
            Hook::V4 => Addr::v4(load32!(self.ctx, bpf_sock_addr, msg_src_ip4).to_ne_bytes()),
            Hook::V6 => load_addr!(self.ctx, bpf_sock_addr, msg_src_ip6),
        }
    }

    /// Gives the datagram another source (sendmsg only).
    #[inline(always)]
    pub(crate) fn set_source(&self, addr: &Addr) {
        let words = to_words(addr);
        if self.hook == Hook::V4 {
            store32!(self.ctx, bpf_sock_addr, msg_src_ip4, words[3]);
            return;
        }
        store32!(self.ctx, bpf_sock_addr, msg_src_ip6, words[0]);
        store32!(self.ctx, bpf_sock_addr, msg_src_ip6 + 4, words[1]);
        store32!(self.ctx, bpf_sock_addr, msg_src_ip6 + 8, words[2]);
        store32!(self.ctx, bpf_sock_addr, msg_src_ip6 + 12, words[3]);
    }

    /// Whether a UDP socket of this namespace hears what is sent to an IPv6 address and port.
    #[inline(always)]
    pub(crate) fn udp_listens(&self, addr: &Addr, port: u16) -> bool {
        let words = to_words(addr);
        let mut tuple = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: words,
            daddr: words,
            sport: 0,
            dport: u16::from_ne_bytes(Port::new(port).0),
        };
        const SIZE: u32 = mem::size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>() as u32;
        // SAFETY: the IPv6 form of a tuple, and its size.
        let found = unsafe {
            bpf_sk_lookup_udp(self.ctx.cast(), (&raw mut tuple).cast(), SIZE, BPF_F_CURRENT_NETNS, 0)
        };
        if found.is_null() {
            return false;
        }
        // SAFETY: the reference the lookup took.
        unsafe { bpf_sk_release(found.cast()) };
        true
    }

    #[inline(always)]
    pub(crate) fn mark(&self, sk: *mut bpf_sock) -> u32 {
        load32!(sk, bpf_sock, mark)
    }

    /// Binds the socket to a source address, the port left for connect to choose.
    #[inline(always)]
    pub(crate) fn bind(&self, addr: &Addr) -> bool {
        let ret = if self.hook == Hook::V4 {
            let mut sa = SockAddrIn { family: AF_INET, port: [0; 2], addr: addr.octets4(), zero: [0; 8] };
            // SAFETY: a sockaddr on the stack and its length.
            unsafe { bpf_bind(self.ctx, (&raw mut sa).cast(), mem::size_of::<SockAddrIn>() as i32) }
        } else {
            let mut sa = SockAddrIn6 { family: AF_INET6, port: [0; 2], flow: 0, addr: addr.0, scope: 0 };
            // SAFETY: as above.
            unsafe { bpf_bind(self.ctx, (&raw mut sa).cast(), mem::size_of::<SockAddrIn6>() as i32) }
        };
        ret == 0
    }
}
