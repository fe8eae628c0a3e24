//! cgroup/getsockopt: SO_ORIGINAL_DST. Every other option of every other level passes untouched.
#![allow(unsafe_code, reason = "context fields and the option's buffer are raw pointers")]

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sockopt},
    macros::cgroup_sockopt,
    programs::SockoptContext,
};
use proxy_common::{
    addr::{Addr, Port},
    counter::Event,
    wire::role,
};

use crate::{
    ctx::{load_addr, load32, load64, store32},
    storage,
    uapi::{AF_INET, AF_INET6, SOL_IP, SOL_IPV6, cgroup::ALLOW},
    workload::Workload,
};

/// SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST.
const ORIGINAL_DST: i32 = 80;
/// Beyond this the hook's buffer holds only part of the value.
const PAGE: i32 = 4096;

#[cgroup_sockopt(getsockopt)]
pub(crate) fn getsockopt(ctx: SockoptContext) -> i32 {
    let opt = ctx.sockopt;
    let level = load32!(opt, bpf_sockopt, level) as i32;
    let name = load32!(opt, bpf_sockopt, optname) as i32;
    if name != ORIGINAL_DST || (level != SOL_IP && level != SOL_IPV6) {
        pass(opt);
        return ALLOW;
    }
    let sk = load64!(opt, bpf_sockopt, __bindgen_anon_1) as *mut bpf_sock;
    if sk.is_null() {
        return ALLOW;
    }
    let Some((orig, port)) = original_dst(sk) else { return ALLOW };
    // A v4-mapped socket has its answer at SOL_IP only, a native IPv6 one at SOL_IPV6 only.
    let written = if level == SOL_IP {
        orig.is_v4() && write_v4(opt, &orig, port)
    } else {
        !orig.is_v4() && write_v6(opt, &orig, port)
    };
    if !written {
        pass(opt);
        return ALLOW;
    }
    if load32!(opt, bpf_sockopt, optlen) as i32 > PAGE {
        // No more than the buffer goes back (`kernel/bpf/cgroup.c: __cgroup_bpf_run_filter_getsockopt`).
        store32!(opt, bpf_sockopt, optlen, PAGE as u32);
    }
    // optlen stays as the caller gave it, as the kernel leaves it (`net/netfilter/nf_conntrack_proto.c: getorigdst`).
    store32!(opt, bpf_sockopt, retval, 0);
    if let Some(me) = Workload::of_cgroup() {
        me.count_event(Event::OriginalDst);
    }
    ALLOW
}

#[inline(always)]
fn original_dst(sk: *mut bpf_sock) -> Option<(Addr, Port)> {
    let state = storage::get(sk)?;
    match state.role {
        role::CLIENT | role::ACCEPTED => Some((state.orig, state.port)),
        // Nothing was rewritten on the way in: the socket's own address is where the client wanted to go.
        role::LISTENER => Some(local(sk)),
        _ => None,
    }
}

#[inline(always)]
fn local(sk: *mut bpf_sock) -> (Addr, Port) {
    let addr = if load32!(sk, bpf_sock, family) == u32::from(AF_INET) {
        Addr::v4(load32!(sk, bpf_sock, src_ip4).to_ne_bytes())
    } else {
        load_addr!(sk, bpf_sock, src_ip6)
    };
    let port = load32!(sk, bpf_sock, src_port);
    (addr, Port::new(port as u16))
}

/// `struct sockaddr_in`.
#[inline(always)]
fn write_v4(opt: *mut bpf_sockopt, orig: &Addr, port: Port) -> bool {
    let value = [u32_of(family_bytes(AF_INET), port.0), u32::from_ne_bytes(orig.octets4()), 0, 0];
    write_words(opt, &value)
}

/// `struct sockaddr_in6`.
#[inline(always)]
fn write_v6(opt: *mut bpf_sockopt, orig: &Addr, port: Port) -> bool {
    let a = &orig.0;
    let word = |i: usize| u32::from_ne_bytes([a[i], a[i + 1], a[i + 2], a[i + 3]]);
    let value = [u32_of(family_bytes(AF_INET6), port.0), 0, word(0), word(4), word(8), word(12), 0];
    write_words(opt, &value)
}

#[inline(always)]
fn write_words<const N: usize>(opt: *mut bpf_sockopt, value: &[u32; N]) -> bool {
    let start = load64!(opt, bpf_sockopt, __bindgen_anon_2) as *mut u8;
    let end = load64!(opt, bpf_sockopt, __bindgen_anon_3) as *mut u8;
    // SAFETY: compared with the end before use.
    if unsafe { start.add(N * 4) } > end {
        return false;
    }
    for (i, word) in value.iter().enumerate() {
        // SAFETY: inside the N words just checked.
        unsafe { start.cast::<u32>().add(i).write_volatile(*word) };
    }
    true
}

#[inline(always)]
fn family_bytes(family: u16) -> [u8; 2] {
    family.to_ne_bytes()
}

#[inline(always)]
fn u32_of(a: [u8; 2], b: [u8; 2]) -> u32 {
    u32::from_ne_bytes([a[0], a[1], b[0], b[1]])
}

/// The caller keeps what the kernel gave it. Linux 5.10 gives a call that failed its buffer back too, zeroed.
#[inline(always)]
fn pass(opt: *mut bpf_sockopt) {
    if load32!(opt, bpf_sockopt, retval) != 0 {
        store32!(opt, bpf_sockopt, optlen, 0);
    } else {
        pass_large(opt);
    }
}

/// "Use the kernel's value": Linux 5.10 fails the caller with EFAULT otherwise.
#[inline(always)]
pub(crate) fn pass_large(opt: *mut bpf_sockopt) {
    if load32!(opt, bpf_sockopt, optlen) as i32 > PAGE {
        store32!(opt, bpf_sockopt, optlen, 0);
    }
}
