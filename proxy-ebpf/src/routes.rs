//! Where a connection that was left alone really goes. Addresses and routes are known as they were when somebody looked;
//! in TCP_CONNECT_CB the kernel has chosen the route, and the SYN has not left. What iptables would capture by that route
//! is refused: it is too late to turn it.
#![allow(unsafe_code, reason = "helpers take the raw context")]

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_ops},
    helpers::generated::bpf_setsockopt,
    programs::SockOpsContext,
};
use proxy_common::{
    counter::Event,
    egress::{Egress, egress},
    policy::{Table as _, flag, interface_flag},
    verdict::Target,
    wire::{FlowKey, Owner, route_flag},
};

use crate::{ctx::load32, owner, sock_ops::in_netns, table, workload::Workload};

/// `include/net/flow.h: LOOPBACK_IFINDEX`, in every namespace.
const LO: u32 = 1;
const SOL_SOCKET: i32 = 1;
const SO_BINDTODEVICE: i32 = 25;
const SO_BINDTOIFINDEX: i32 = 62;
const SOL_TCP: i32 = 6;
const TCP_SYNCNT: i32 = 7;

/// Whether clients tell of the calls a workload makes to itself. Without the namespace's cookie anybody could.
#[inline(always)]
pub(crate) fn are_live() -> bool {
    table::kernel().has_sock_ops_cookie != 0
}

/// A connection that the rules have left alone is about to begin. Whether it is one to the workload itself, of which its
/// lookup has to know.
#[inline(always)]
pub(crate) fn left_alone(me: &Workload, ctx: &SockOpsContext, sk: *mut bpf_sock, key: &FlowKey) -> bool {
    let (local, remote) = (key.client, key.sidecar);
    if !are_live() || remote.is_loopback() || !me.captures() || !in_netns(me, ctx) {
        return false;
    }
    let known = me.route(&remote).map_or(0, |route| route.flags);
    let mut over_lo = known & route_flag::LOCAL != 0;
    if let Some(interface) = interface(sk) {
        over_lo = interface == LO;
        let excluded =
            me.policy().has(flag::INTERFACES) && me.interface(interface) & interface_flag::EXCLUDED != 0;
        let now =
            if over_lo { route_flag::LOCAL } else { 0 } | if excluded { route_flag::EXCLUDED } else { 0 };
        if now != known && captures(me, sk, key, over_lo, excluded) {
            me.count_event(Event::RouteChanged);
            refuse(ctx);
            return false;
        }
    }
    over_lo && !local.is_loopback() && !local.is_passthrough_source()
}

/// The interface the kernel has chosen. None: it does not tell.
#[inline(always)]
fn interface(sk: *mut bpf_sock) -> Option<u32> {
    let kernel = table::kernel();
    if kernel.sk_dst_cache == 0 || kernel.dev_ifindex == 0 {
        return None;
    }
    // The verifier allows no arithmetic on a socket pointer; read back through the helper it is a number.
    let number = owner::read::<u64>((&raw const sk) as u64, 0)?;
    let dst = owner::read::<u64>(number, kernel.sk_dst_cache).filter(|dst| *dst != 0)?;
    let dev = owner::read::<u64>(dst, kernel.dst_dev)?;
    owner::read::<u32>(dev, kernel.dev_ifindex)
}

/// What the rules say of the route it takes.
#[inline(always)]
fn captures(me: &Workload, sk: *mut bpf_sock, key: &FlowKey, out_lo: bool, out_excluded: bool) -> bool {
    // Of a socket without a file nobody knows who made it: as if it were not the sidecar.
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
fn refuse(ctx: &SockOpsContext) {
    if !set(ctx, SOL_SOCKET, SO_BINDTOIFINDEX, &i32::MAX) {
        set(ctx, SOL_SOCKET, SO_BINDTODEVICE, b"lo\0\0");
        set(ctx, SOL_TCP, TCP_SYNCNT, &1i32);
    }
}

#[inline(always)]
fn set<T>(ctx: &SockOpsContext, level: i32, name: i32, value: &T) -> bool {
    let value = core::ptr::from_ref(value).cast_mut().cast();
    // SAFETY: the helper takes the context, and reads as many bytes as the value has.
    unsafe {
        bpf_setsockopt(ctx.ops.cast::<bpf_sock_ops>().cast(), level, name, value, size_of::<T>() as i32) == 0
    }
}
