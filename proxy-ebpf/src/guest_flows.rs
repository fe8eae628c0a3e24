//! The maps of the tc programs on guests' interfaces. Both directions of a flow are written by its first packet and
//! forgotten when others of the same workload need the room: each workload with guests has two maps of its own.
#![allow(unsafe_code, reason = "map values and the context are raw pointers")]

use aya_ebpf::{
    bindings::__sk_buff,
    btf_maps::{ArrayOfMaps, LruHashMap},
    macros::{btf_map, map},
    maps::{HashMap, PerCpuArray},
    programs::TcContext,
};
use proxy_common::{
    addr::Port,
    guest::{GuestFlow, GuestGateway, GuestKey, InterfaceKey},
    wire::ConnectionKey,
    workload::SLOTS,
};

use crate::uapi::BPF_F_NO_PREALLOC;
use crate::{ctx::load32, packet::Tuple, workload::Workload};

/// One workload's. The loader makes it, with room for more.
type OfWorkload<K, V> = LruHashMap<K, V, 1>;

/// The port the sidecar sees, by slot, then by the connection as the guest has it.
#[btf_map]
static GUEST_PORTS: ArrayOfMaps<OfWorkload<ConnectionKey, [u8; 4]>, { SLOTS as usize }> = ArrayOfMaps::new();

/// Where the guest wanted to go, by slot, then by its address and the port the sidecar sees. sock_ops reads it for the
/// original destination.
#[btf_map]
static GUEST_FLOWS: ArrayOfMaps<OfWorkload<GuestKey, GuestFlow>, { SLOTS as usize }> = ArrayOfMaps::new();

/// Addresses of guests' interfaces, by index. Written by the loader.
#[map]
static GUEST_GATEWAYS: HashMap<InterfaceKey, GuestGateway> =
    HashMap::with_max_entries(SLOTS, BPF_F_NO_PREALLOC);

/// What a program would otherwise have on its stack.
#[map]
static GUEST_WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
pub(crate) struct Work {
    pub(crate) ends: ConnectionKey,
    pub(crate) seen: GuestKey,
    pub(crate) flow: GuestFlow,
    pub(crate) tuple: Tuple,
}

#[inline(always)]
pub(crate) fn work(me: &Workload) -> Option<&'static mut Work> {
    let work = GUEST_WORK.get_ptr_mut(0)?;
    // SAFETY: this CPU's own, and tc programs run with bottom halves off: none interrupts another.
    let work = unsafe { &mut *work };
    work.ends.slot = me.slot;
    Some(work)
}

/// The interface a packet passes.
#[inline(always)]
pub(crate) fn ifindex(ctx: &TcContext) -> u32 {
    load32!(ctx.skb.skb, __sk_buff, ifindex)
}

#[inline(always)]
pub(crate) fn gateway(me: &Workload, ctx: &TcContext) -> Option<&'static GuestGateway> {
    // SAFETY: entries are written once, before the programs run.
    unsafe { GUEST_GATEWAYS.get(InterfaceKey { slot: me.slot, index: ifindex(ctx) }) }
}

#[inline(always)]
pub(crate) fn port(key: &ConnectionKey) -> Option<Port> {
    // SAFETY: an entry is never changed, only replaced by an equal one.
    let [a, b, ..] = unsafe { GUEST_PORTS.get(key.slot)?.get(key) }.copied()?;
    Some(Port([a, b]))
}

#[inline(always)]
pub(crate) fn flow(seen: &GuestKey) -> Option<&'static GuestFlow> {
    // SAFETY: replaced only when the flow it belonged to is gone.
    unsafe { GUEST_FLOWS.get(seen.slot)?.get(seen) }
}

#[inline(always)]
pub(crate) fn remember(key: &ConnectionKey, seen: &GuestKey, flow: &GuestFlow) -> bool {
    let [a, b] = seen.port.0;
    let (Some(flows), Some(ports)) = (GUEST_FLOWS.get(seen.slot), GUEST_PORTS.get(key.slot)) else {
        return false;
    };
    flows.insert(seen, flow, 0).is_ok() && ports.insert(key, [a, b, 0, 0], 0).is_ok()
}

#[inline(always)]
pub(crate) fn forget_flow(seen: &GuestKey) {
    // In most cases there is none.
    let _ = GUEST_FLOWS.get(seen.slot).map(|flows| flows.remove(seen));
}

#[inline(always)]
pub(crate) fn forget_port(key: &ConnectionKey) {
    // Another program may have removed it.
    let _ = GUEST_PORTS.get(key.slot).map(|ports| ports.remove(key));
}
