//! The maps of the redirection, one for all workloads. Private statics behind functions; each says who writes and who
//! reads. Maps in maps would keep workloads apart as well, but each write to an outer map waits for the whole kernel
//! (docs/benchmarks.md): keys begin with the tables or the slot instead.
#![allow(unsafe_code, reason = "map values are reached through raw pointers the verifier has checked")]

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
};
use proxy_common::{
    addr::Addr,
    counter::{COUNTERS as COUNTER_COUNT, Counters},
    wire::{
        ConnectionKey, LISTED_VALUES, ListKey, OriginalDst, PREFIX_HEAD, PREFIXES, PrefixKey, Route, pending,
    },
    workload::{Limits, PENDING as PENDING_COUNT, SLOTS, Shares},
};

use crate::atomic;
use crate::uapi::{BPF_F_NO_PREALLOC, BPF_NOEXIST};

/// Outbound ranges and DNS servers. Written by userspace, read by the decision.
#[map]
static RANGES: LpmTrie<PrefixKey, u8> = LpmTrie::with_max_entries(PREFIXES, BPF_F_NO_PREALLOC);

/// The namespaces' routing tables. Written by userspace.
#[map]
static ROUTES: LpmTrie<PrefixKey, Route> = LpmTrie::with_max_entries(PREFIXES, BPF_F_NO_PREALLOC);

/// Flags of ports, uids, gids and interfaces. Written by userspace.
#[map]
static LISTS: HashMap<ListKey, u8> = HashMap::with_max_entries(LISTED_VALUES, BPF_F_NO_PREALLOC);

/// Redirected connections between SYN and accept. The client's side writes, the sidecar's side takes; a client that
/// closes before that removes its own. Each workload has its share.
#[map]
static PENDING: HashMap<ConnectionKey, OriginalDst> =
    HashMap::with_max_entries(PENDING_COUNT, BPF_F_NO_PREALLOC);

/// What each workload has of what is shared, by slot.
#[map]
static SHARES: Array<Shares> = Array::with_max_entries(SLOTS, 0);

/// How much of that each workload may have. Written by userspace as workloads come and go.
#[map]
static LIMITS: Array<Limits> = Array::with_max_entries(1, 0);

/// One counter per rule and event, by slot, per CPU.
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(SLOTS, 0);

#[inline(always)]
pub(crate) fn range(tables: u32, addr: &Addr) -> u8 {
    RANGES.get(host(tables, addr)).copied().unwrap_or(0)
}

#[inline(always)]
pub(crate) fn route(tables: u32, addr: &Addr) -> Option<&'static Route> {
    ROUTES.get(host(tables, addr))
}

#[inline(always)]
fn host(tables: u32, addr: &Addr) -> Key<PrefixKey> {
    Key { prefix_len: PREFIX_HEAD + 128, data: PrefixKey::new(tables, *addr) }
}

/// Flags of a value; 0: it is not in the list.
#[inline(always)]
pub(crate) fn listed(tables: u32, list: u32, value: u32) -> u8 {
    // SAFETY: entries are written before anybody looks for them.
    unsafe { LISTS.get(ListKey { tables, list, value }) }.copied().unwrap_or(0)
}

/// What a workload has of what is shared, and how much it may have.
#[inline(always)]
pub(crate) fn share(slot: u32) -> Option<(&'static mut Shares, &'static Limits)> {
    let share = SHARES.get_ptr_mut(slot)?;
    // SAFETY: a map value; its words are changed one at a time.
    Some((unsafe { &mut *share }, LIMITS.get(0)?))
}

/// Whether there is room for an entry, also if the other processors are about to make some.
#[inline(always)]
pub(crate) fn has_room_for_pending(slot: u32) -> bool {
    share(slot).is_some_and(|(share, limits)| share.pending < limits.pending - limits.pending / 8)
}

/// False: the workload has its share of them.
#[inline(always)]
pub(crate) fn pending_insert(key: &ConnectionKey, orig: &OriginalDst) -> bool {
    let Some((share, limits)) = share(key.slot) else { return false };
    if share.pending >= limits.pending {
        return false;
    }
    if PENDING.insert(key, orig, BPF_NOEXIST).is_err() {
        // There may be an entry of a client that went while no program looked.
        pending_remove(key);
        if PENDING.insert(key, orig, BPF_NOEXIST).is_err() {
            return false;
        }
    }
    atomic::add(&mut share.pending, 1);
    if orig.kind != pending::REDIRECTED {
        atomic::add(&mut share.looked_up, 1);
    }
    true
}

/// Takes the original destination of a connection that has just been accepted, and what the connection is.
#[inline(always)]
pub(crate) fn pending_take(key: &ConnectionKey) -> Option<OriginalDst> {
    // SAFETY: one connection has one accepted socket, so nobody else writes or removes this entry while it is copied.
    let orig = unsafe { PENDING.get(key) }.copied()?;
    pending_forget(key, &orig);
    (orig.kind != pending::SELF_CALL).then_some(orig)
}

#[inline(always)]
pub(crate) fn pending_remove(key: &ConnectionKey) {
    // Most entries were taken: to look is cheaper than the bucket's lock.
    // SAFETY: as above; what it is never changes.
    if let Some(orig) = unsafe { PENDING.get(key) }.copied() {
        pending_forget(key, &orig);
    }
}

/// What a connection is that arrives under an address and a port of the workload's own: one it makes to itself
/// ([`pending::SELF_CALL`]), or one that is redirected by its port ([`pending::BY_PORT`]). Anything else: neither.
#[inline(always)]
pub(crate) fn pending_kind(key: &ConnectionKey) -> u8 {
    if !has_looked_up(key.slot) {
        return pending::REDIRECTED;
    }
    // SAFETY: as above.
    unsafe { PENDING.get(key) }.map_or(pending::REDIRECTED, |orig| orig.kind)
}

/// Whether such connections of a workload are pending. Most workloads never call themselves by an address that is not
/// loopback, and bind no client to a port.
#[inline(always)]
pub(crate) fn has_looked_up(slot: u32) -> bool {
    share(slot).is_some_and(|(share, _)| share.looked_up != 0)
}

#[inline(always)]
fn pending_forget(key: &ConnectionKey, orig: &OriginalDst) {
    // The other side may have removed it first.
    if PENDING.remove(key).is_ok()
        && let Some((share, _)) = share(key.slot)
    {
        atomic::add(&mut share.pending, u64::MAX);
        if orig.kind != pending::REDIRECTED {
            atomic::add(&mut share.looked_up, u64::MAX);
        }
    }
}

/// How often it has happened now, on this CPU.
#[inline(always)]
pub(crate) fn count(slot: u32, index: usize) -> u64 {
    let Some(counters) = COUNTERS.get_ptr_mut(slot) else { return 0 };
    if index >= COUNTER_COUNT {
        return 0;
    }
    // SAFETY: this CPU's own counter; a program that interrupts another loses at most one increment.
    unsafe {
        let counter = counters.cast::<u64>().add(index);
        *counter += 1;
        *counter
    }
}
