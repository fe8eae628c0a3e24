//! Where a connection that was left alone really goes. Addresses and routes are known as they were when somebody looked;
//! in TCP_CONNECT_CB the kernel has chosen the route, and the SYN has not left. What iptables would capture by that route
//! is refused: it is too late to turn it.
#![allow(unsafe_code, reason = "a field of the socket is read by inline assembly")]

use aya_ebpf::bindings::bpf_sock;
use proxy_common::{
    counter::Event,
    egress::{Egress, egress},
    policy::{Table as _, flag, interface_flag},
    verdict::Target,
    wire::{ConnectionKey, Owner, Route},
};

use crate::{
    ctx::load32,
    kernel_memory::{address, pointer, read},
    owner,
    rodata::known,
    sock_ops_call::SockOps,
    uapi::{SOL_SOCKET, SOL_TCP},
    workload::Workload,
};

/// `include/net/flow.h: LOOPBACK_IFINDEX`, in every namespace.
const LO: u32 = 1;
const SO_BINDTODEVICE: i32 = 25;
const SO_BINDTOIFINDEX: i32 = 62;
const TCP_SYNCNT: i32 = 7;

/// Whether clients tell of the calls a workload makes to itself. Without the namespace's cookie anybody could.
#[inline(always)]
pub(crate) fn are_live() -> bool {
    known!(KERNEL.has_sock_ops_cookie) != 0
}

/// A connection that the rules have left alone is about to begin. Whether it is one to the workload itself, of which its
/// lookup has to know.
#[inline(always)]
pub(crate) fn left_alone(me: &Workload, call: SockOps, sk: *mut bpf_sock, key: &ConnectionKey) -> bool {
    let (local, remote) = (key.client, key.sidecar);
    if !are_live() || remote.is_loopback() || !me.captures() || !call.in_netns(me) {
        return false;
    }
    let known_route = me.route(&remote);
    let mut over_lo = known_route.is_some_and(Route::is_local);
    if let Some(interface) = interface(sk) {
        over_lo = interface == LO;
        let excluded =
            me.policy().has(flag::INTERFACES) && me.interface(interface) & interface_flag::EXCLUDED != 0;
        let is_as_known = over_lo == known_route.is_some_and(Route::is_local)
            && excluded == known_route.is_some_and(Route::is_excluded)
            && !known_route.is_some_and(Route::is_unreachable);
        if !is_as_known && captures(me, sk, key, over_lo, excluded) {
            me.count_event(Event::RouteChanged);
            refuse(call);
            return false;
        }
    }
    over_lo && !local.is_loopback() && !local.is_passthrough_source()
}

/// The interface the kernel has chosen. None: where the kernel keeps it is not known.
#[inline(always)]
fn interface(sk: *mut bpf_sock) -> Option<u32> {
    if known!(KERNEL.sk_dst_cache) == 0 || known!(KERNEL.dev_ifindex) == 0 {
        return None;
    }
    let dst = pointer(address(sk)?, known!(KERNEL.sk_dst_cache))?;
    let dev = read::<u64>(dst, known!(KERNEL.dst_dev))?;
    read::<u32>(dev, known!(KERNEL.dev_ifindex))
}

/// What the rules say of the route it takes.
#[inline(always)]
fn captures(me: &Workload, sk: *mut bpf_sock, key: &ConnectionKey, out_lo: bool, out_excluded: bool) -> bool {
    // Who made a socket without a file is not known. It is treated as not the sidecar's.
    let owner = owner::recorded(sk).unwrap_or(Owner { uid: u32::MAX, gid: u32::MAX });
    let verdict = egress(
        me,
        &Egress {
            tcp: true,
            src: key.client,
            dst: key.sidecar,
            dport: key.sidecar_port.get(),
            out_lo,
            out_excluded,
            uid: owner.uid,
            gid: owner.gid,
            mark: load32!(sk, bpf_sock, mark),
        },
    );
    !matches!(verdict.target, Target::Bypass)
}

/// Takes the connection its route: by an interface there is none of, so that connect fails with EHOSTUNREACH (6.1), or
/// else by lo, where nobody answers and the first try is the last.
#[inline(always)]
fn refuse(call: SockOps) {
    if !call.set_option(SOL_SOCKET, SO_BINDTOIFINDEX, &i32::MAX) {
        call.set_option(SOL_SOCKET, SO_BINDTODEVICE, b"lo\0\0");
        call.set_option(SOL_TCP, TCP_SYNCNT, &1i32);
    }
}
