//! Where a connection that was left alone really goes. Addresses and routes are known as they were when somebody looked;
//! in TCP_CONNECT_CB the kernel has chosen the route, and the SYN has not left. What iptables would capture by that route
//! is refused: it is too late to turn it.
#![allow(unsafe_code, reason = "a field of the socket is read by inline assembly")]

use aya_ebpf::bindings::bpf_sock;
use proxy_common::{
    addr::Addr,
    call::Call,
    counter::Event,
    egress::egress,
    policy::{Table as _, flag, interface_flag},
    verdict::Target,
    wire::{ConnectionKey, Owner, Route, route_flag},
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
    let known = me.route(&remote).map_or(0, |route| route.flags);
    let taken = interface(sk).map_or(known, |interface| flags_of(me, interface));
    if taken != known && captures(me, sk, key, taken) {
        me.count_event(Event::RouteChanged);
        refuse(call);
        return false;
    }
    taken & route_flag::LOCAL != 0 && !local.is_loopback() && !local.is_passthrough_source()
}

/// What a route by this interface is to the rules.
#[inline(always)]
fn flags_of(me: &Workload, interface: u32) -> u8 {
    let excluded =
        me.policy().has(flag::INTERFACES) && me.interface(interface) & interface_flag::EXCLUDED != 0;
    (if interface == LO { route_flag::LOCAL } else { 0 }) | if excluded { route_flag::EXCLUDED } else { 0 }
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

/// Whether the rules capture by the route it takes.
#[inline(always)]
fn captures(me: &Workload, sk: *mut bpf_sock, key: &ConnectionKey, flags: u8) -> bool {
    let asked = Call {
        tcp: true,
        dst: key.sidecar,
        dport: key.sidecar_port.get(),
        bound: key.client,
        mark: load32!(sk, bpf_sock, mark),
    };
    let taken = Route { src: Addr::UNSPECIFIED, flags, reserved: [0; 3] };
    // Who made a socket without a file is not known. It is treated as not the sidecar's.
    let owner = || owner::recorded(sk).unwrap_or(Owner { uid: u32::MAX, gid: u32::MAX });
    asked
        .gather(Some(&taken), owner)
        .is_ok_and(|gathered| !matches!(egress(me, &gathered).target, Target::Bypass))
}

/// Takes the connection its route: by an interface there is none of, so that connect fails with EHOSTUNREACH (6.1), or
/// else by lo, where nobody answers and the first try is the last.
#[inline(always)]
pub(crate) fn refuse(call: SockOps) {
    if !call.set_option(SOL_SOCKET, SO_BINDTOIFINDEX, &i32::MAX) {
        call.set_option(SOL_SOCKET, SO_BINDTODEVICE, b"lo\0\0");
        call.set_option(SOL_TCP, TCP_SYNCNT, &1i32);
    }
}
