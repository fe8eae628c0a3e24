//! The maps. Private statics behind functions; each says who writes and who reads.
#![allow(unsafe_code, reason = "map values are reached through raw pointers the verifier has checked")]

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
};
use proxy_common::{
    addr::Addr,
    counter::{COUNTERS as COUNTER_COUNT, Event},
    verdict::Rule,
    wire::{
        FAMILY_BITS, FlowKey, MetaChunk, OriginalDst, PORT_CHUNK, PORT_CHUNKS, PortChunk, PrefixKey, Route,
    },
};

const BPF_F_NO_PREALLOC: u32 = 1;

/// Outbound ranges and DNS servers. Written by the loader before attach, read by the decision.
#[map]
static RANGES: LpmTrie<PrefixKey, u8> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);

/// The namespace's routing table. Written by the loader, refreshed by `attach` and the agent.
#[map]
static ROUTES: LpmTrie<PrefixKey, Route> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);

/// Flags of all ports. Written by the loader.
#[map]
static PORTS: Array<PortChunk> = Array::with_max_entries(PORT_CHUNKS, 0);

/// Flags of uids and gids. Written by the loader.
#[map]
static IDS: HashMap<u32, u8> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// Flags of interfaces, by index. Written by the loader.
#[map]
static INTERFACES: HashMap<u32, u8> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// Who is attached and how. Written by the loader, read by `status` and `explain`, never by a program.
#[map]
static META: Array<MetaChunk> = Array::with_max_entries(1, 0);

/// Redirected connections between SYN and accept. The client's side writes, the sidecar's side takes; a client that
/// closes before that removes its own.
#[map]
static PENDING: HashMap<FlowKey, OriginalDst> = HashMap::with_max_entries(65536, BPF_F_NO_PREALLOC);

/// One counter per rule and event, per CPU.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_COUNT, 0);

#[inline(always)]
pub(crate) fn range(addr: &Addr) -> u8 {
    let key = Key { prefix_len: FAMILY_BITS + 128, data: PrefixKey::new(*addr) };
    RANGES.get(&key).copied().unwrap_or(0)
}

#[inline(always)]
pub(crate) fn route(addr: &Addr) -> Option<&'static Route> {
    let key = Key { prefix_len: FAMILY_BITS + 128, data: PrefixKey::new(*addr) };
    ROUTES.get(&key)
}

#[inline(always)]
pub(crate) fn port(port: u16) -> u8 {
    let Some(chunk) = PORTS.get(u32::from(port) / PORT_CHUNK as u32) else { return 0 };
    chunk[usize::from(port) % PORT_CHUNK]
}

#[inline(always)]
pub(crate) fn id(id: u32) -> u8 {
    // SAFETY: entries are written once, before the programs run.
    unsafe { IDS.get(id) }.copied().unwrap_or(0)
}

#[inline(always)]
pub(crate) fn interface(index: u32) -> u8 {
    // SAFETY: entries are written once, before the programs run.
    unsafe { INTERFACES.get(index) }.copied().unwrap_or(0)
}

#[inline(always)]
pub(crate) fn pending_insert(key: &FlowKey, orig: &OriginalDst) -> bool {
    PENDING.insert(key, orig, 0).is_ok()
}

/// Takes the original destination of a connection that has just been accepted.
#[inline(always)]
pub(crate) fn pending_take(key: &FlowKey) -> Option<OriginalDst> {
    // SAFETY: one connection has one accepted socket, so nobody else writes or removes this entry while it is copied.
    let orig = unsafe { PENDING.get(key) }.copied();
    if orig.is_some() {
        // It was there: nothing to do if the client's close was faster.
        let _ = PENDING.remove(key);
    }
    orig
}

#[inline(always)]
pub(crate) fn pending_remove(key: &FlowKey) {
    // Most were taken: a look is cheaper than the bucket's lock.
    if PENDING.get_ptr(key).is_some() {
        let _ = PENDING.remove(key);
    }
}

#[inline(always)]
pub(crate) fn count_rule(rule: Rule) {
    let _ = count(rule as u32);
}

/// How often it has happened now, on this CPU.
#[inline(always)]
pub(crate) fn count_event(event: Event) -> u64 {
    count(event.index())
}

#[inline(always)]
fn count(index: u32) -> u64 {
    let Some(counter) = COUNTERS.get_ptr_mut(index) else { return 0 };
    // SAFETY: this CPU's own counter; a program that interrupts another loses at most one increment.
    unsafe {
        *counter += 1;
        *counter
    }
}
