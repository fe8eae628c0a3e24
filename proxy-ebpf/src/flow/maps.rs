//! The maps of the flow records, one for all workloads of the node.
#![allow(unsafe_code, reason = "map values are reached through raw pointers the verifier has checked")]

use core::hint::black_box;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, bpf_sock},
    macros::map,
    maps::{Array, HashMap, PerCpuHashMap},
};
use proxy_common::{
    flow::{
        BUCKETS, Class, FlowRecord, FreeList, Histogram, JOURNAL as ENTRIES, JournalEntry, KEPT as KEPT_EACH,
        KILLED_SETS, KilledEnds, LISTED as PAGE, LIVE as LIVE_ENDS, ListedEnd, LiveEnd, OpenKey, OpenTotals,
        PeerKey, ToldPeer, Totals, Turnarounds, bucket, totals_key, turn_key,
    },
    places::{PLACES, place_of, set_of},
    questions::{ASKED_SETS, Asked, AskedSet, Questions, Resolvers, who},
    workload::{PEERS, SLOTS},
};

use crate::{
    atomic,
    storage::InheritedStorage,
    uapi::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    workload::{Workload, share_of},
};

/// Live flows. A listener's record is inherited by what it accepts. Written by connect, getpeername and the programs
/// of this module, by userspace for listeners that were there first.
// SAFETY: the section in which loaders look for BTF map definitions.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "FLOWS")]
static FLOWS: InheritedStorage<FlowRecord> = InheritedStorage::new();

/// What clients say of connections that were not accepted yet. The client's end writes, the server's takes; a client that
/// closes before that removes its own. Each workload has its share.
#[map]
static FLOW_PEERS: HashMap<PeerKey, ToldPeer> = HashMap::with_max_entries(PEERS, BPF_F_NO_PREALLOC);

/// Ends whose process was killed, for the other end to know when it is done, in sets of the killed end's workload. Some are
/// never looked for: where a set is full, a new one takes the place of an older one.
#[map]
static FLOW_KILLED: Array<KilledEnds> = Array::with_max_entries(SLOTS * KILLED_SETS, 0);

/// Open ends. Written by the programs of this module, mapped by readers. Not only with the sockets' storage: to list that
/// takes an iterator, and there are kernels that refuse those. Not in a hash: entering and leaving one took 1.35 us for
/// the two ends of a connection.
#[map]
static LIVE: Array<LiveEnd> = Array::with_max_entries(LIVE_ENDS, BPF_F_MMAPABLE);

/// Which of those are free.
#[map]
static LIVE_PLACES: Array<FreeList> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// What a reader asks for and is told; mapped by readers, one at a time (it holds the lock of the readers' directory).
#[map]
static LISTED: Array<ListedEnd> = Array::with_max_entries(PAGE, BPF_F_MMAPABLE);

/// How many entries of `LISTED` were filled in; the reader begins at zero.
#[map]
static LISTED_HEAD: Array<u64> = Array::with_max_entries(1, 0);

/// Closed flows, the newest over the oldest. Written here, mapped by readers, who never hold anybody up.
#[map]
static JOURNAL: Array<JournalEntry> = Array::with_max_entries(ENTRIES, BPF_F_MMAPABLE);

/// How many entries were begun.
#[map]
static JOURNAL_HEAD: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Each workload's last closed ends once more: what others close does not drive them out.
#[map]
static KEPT: Array<JournalEntry> = Array::with_max_entries(SLOTS * KEPT_EACH, BPF_F_MMAPABLE);

/// How many of a workload's were begun.
#[map]
static KEPT_HEADS: Array<u64> = Array::with_max_entries(SLOTS, 0);

/// Sums by workload and class. Userspace makes and removes a workload's.
#[map]
static FLOW_TOTALS: PerCpuHashMap<u32, Totals> =
    PerCpuHashMap::with_max_entries(SLOTS * Class::COUNT as u32, BPF_F_NO_PREALLOC);

/// Sums over open flows, for one reader at a time (it holds the lock of the readers' directory), which clears them first.
#[map]
static OPEN_TOTALS: HashMap<OpenKey, OpenTotals> =
    HashMap::with_max_entries(SLOTS * Class::COUNT as u32, BPF_F_NO_PREALLOC);

/// Turnarounds by workload, class and end; made here when there is one. Not per CPU: few are measured.
#[map]
static TURNAROUNDS: HashMap<u32, Turnarounds> =
    HashMap::with_max_entries(SLOTS * Class::COUNT as u32 * 2, BPF_F_NO_PREALLOC);

/// What those begin with: too large for the stack.
#[map]
static NO_TURNAROUNDS: Array<Turnarounds> = Array::with_max_entries(1, 0);

/// Questions for names that wait for their answers, in sets of the workload that asks.
#[map]
static DNS_ASKED: Array<AskedSet> = Array::with_max_entries(SLOTS * ASKED_SETS, BPF_F_MMAPABLE);

/// What has come of them; by slot and who was asked, mapped by readers.
#[map]
static DNS_QUESTIONS: Array<Questions> = Array::with_max_entries(SLOTS * who::COUNT as u32, BPF_F_MMAPABLE);

/// The resolvers that are told apart; by slot, mapped by readers.
#[map]
static DNS_RESOLVERS: Array<Resolvers> = Array::with_max_entries(SLOTS, BPF_F_MMAPABLE);

#[inline(always)]
pub(super) fn record(sk: *mut bpf_sock) -> Option<&'static mut FlowRecord> {
    FLOWS.get(sk, 0)
}

#[inline(always)]
pub(super) fn record_or_new(sk: *mut bpf_sock) -> Option<&'static mut FlowRecord> {
    FLOWS.get_or_create(sk)
}

/// The next entry of the list.
#[inline(always)]
pub(super) fn next_listed() -> Option<&'static mut ListedEnd> {
    let head = LISTED_HEAD.get_ptr_mut(0)?;
    let index = (atomic::fetch_add(head, 1) % u64::from(PAGE)) as u32;
    let end = LISTED.get_ptr_mut(index)?;
    // SAFETY: a map value; entries are given out in turn, and a reader asks for no more than there are at once.
    Some(unsafe { &mut *end })
}

/// An entry of `LIVE`.
#[inline(always)]
pub(super) fn live(index: u32) -> Option<&'static mut LiveEnd> {
    // SAFETY: a map value; its words are written and read whole.
    LIVE.get_ptr_mut(index).map(|end| unsafe { &mut *end })
}

#[inline(always)]
pub(super) fn free_list() -> Option<&'static mut FreeList> {
    // SAFETY: as above.
    LIVE_PLACES.get_ptr_mut(0).map(|list| unsafe { &mut *list })
}

/// Tells the server's end of a connection. Where the workload has its share of them, nobody is told of this one.
#[inline(always)]
pub(super) fn tell_peer(me: &Workload, key: &PeerKey, told: u8) -> bool {
    let Some((share, limits)) = me.share() else { return false };
    let is_told = share.peers < limits.peers
        && insert_peer(key, &ToldPeer { tenancy: me.tenancy(), told, reserved: [0; 7] });
    if is_told {
        atomic::add(&mut share.peers, 1);
    }
    is_told
}

/// Of a connection within the workload whose client nobody could be told of.
#[inline(always)]
pub(super) fn count_untold(me: &Workload) {
    if let Some((share, _)) = me.share() {
        atomic::add(&mut share.untold, 1);
    }
}

#[inline(always)]
fn insert_peer(key: &PeerKey, told: &ToldPeer) -> bool {
    if FLOW_PEERS.insert(key, told, BPF_NOEXIST).is_ok() {
        return true;
    }
    // There may be an entry of a client that went while no program looked.
    forget_peer(key);
    FLOW_PEERS.insert(key, told, BPF_NOEXIST).is_ok()
}

/// What the client's end has said of the connection.
#[inline(always)]
pub(super) fn take_peer(key: &PeerKey) -> Option<u8> {
    // SAFETY: written once, before the server's end can look for it.
    let ToldPeer { tenancy, told, .. } = unsafe { FLOW_PEERS.get(key) }.copied()?;
    // Whoever removes it gives it back.
    if FLOW_PEERS.remove(key).is_ok()
        && let Some(share) = share_of(tenancy)
    {
        atomic::add(&mut share.peers, u64::MAX);
    }
    Some(told)
}

/// The client closes. Most entries were taken.
#[inline(always)]
pub(super) fn forget_peer(key: &PeerKey) {
    let _ = take_peer(key);
}

/// The process of this end, of the workload in this slot, is being killed.
#[inline(always)]
pub(super) fn tell_killed(slot: u32, own: u64) {
    let Some(ends) = killed_ends(slot, own) else { return };
    for end in ends.iter_mut() {
        if atomic::exchange(end, 0, own) == 0 {
            return;
        }
    }
    ends[place_of(own as u32)] = own;
}

/// Whether the process of the other end, of the workload in this slot, was killed before.
#[inline(always)]
pub(super) fn take_killed(slot: u32, other: u64) -> bool {
    let Some(ends) = killed_ends(slot, other) else { return false };
    ends.iter_mut().any(|end| *end == other && atomic::exchange(end, other, 0) == other)
}

#[inline(always)]
fn killed_ends(slot: u32, mark: u64) -> Option<&'static mut [u64; PLACES]> {
    let ends = FLOW_KILLED.get_ptr_mut(set_of(slot, KILLED_SETS, mark))?;
    // SAFETY: a map value; its words are written and read whole.
    Some(unsafe { &mut (*ends).0 })
}

/// Whether an accepted connection of which nobody has told may be one that nobody could be told of. Each of those answers
/// for one accepted connection.
#[inline(always)]
pub(super) fn is_untold(me: &Workload) -> bool {
    let Some((share, _)) = me.share() else { return true };
    let any = share.untold != 0;
    if any {
        atomic::add(&mut share.untold, u64::MAX);
    }
    any
}

/// The number of a new entry, from 1, and where it stands.
#[inline(always)]
pub(super) fn next_entry() -> Option<(u64, &'static mut JournalEntry)> {
    let head = JOURNAL_HEAD.get_ptr_mut(0)?;
    let number = atomic::fetch_add(head, 1) + 1;
    let entry = JOURNAL.get_ptr_mut((number % u64::from(ENTRIES)) as u32)?;
    // SAFETY: a map value. Another writer could have the same one only after all other entries were written while
    // this one stood still; the sum tells.
    Some((number, unsafe { &mut *entry }))
}

/// Where the workload's own copy of an entry goes.
#[inline(always)]
pub(super) fn next_kept(slot: u32) -> Option<&'static mut JournalEntry> {
    let head = KEPT_HEADS.get_ptr_mut(slot)?;
    let turn = (atomic::fetch_add(head, 1) % u64::from(KEPT_EACH)) as u32;
    let entry = KEPT.get_ptr_mut(slot * KEPT_EACH + turn)?;
    // SAFETY: a map value. Of two writers with the same one the sum tells.
    Some(unsafe { &mut *entry })
}

#[inline(always)]
pub(super) fn totals(me: &Workload, class: u8) -> Option<*mut Totals> {
    FLOW_TOTALS.get_ptr_mut(totals_key(me.slot, Class::from_index(class)?))
}

#[inline(always)]
pub(super) fn turnarounds(slot: u32, class: u8, is_server: bool) -> Option<*mut Turnarounds> {
    let key = turn_key(slot, Class::from_index(class)?, is_server);
    TURNAROUNDS.get_ptr_mut(key).or_else(|| {
        let _ = TURNAROUNDS.insert(key, NO_TURNAROUNDS.get(0)?, BPF_NOEXIST);
        TURNAROUNDS.get_ptr_mut(key)
    })
}

#[inline(always)]
pub(super) fn questions(slot: u32, whom: usize) -> Option<&'static mut Questions> {
    let index = slot * who::COUNT as u32 + whom as u32;
    // SAFETY: a map value; its words are added to.
    DNS_QUESTIONS.get_ptr_mut(index).map(|sums| unsafe { &mut *sums })
}

#[inline(always)]
pub(super) fn resolvers(slot: u32) -> Option<&'static mut Resolvers> {
    // SAFETY: a map value; its words are written and read whole.
    DNS_RESOLVERS.get_ptr_mut(slot).map(|resolvers| unsafe { &mut *resolvers })
}

/// The places of a question.
#[inline(always)]
pub(super) fn places(slot: u32, mark: u64) -> Option<&'static mut [Asked; PLACES]> {
    let set = DNS_ASKED.get_ptr_mut(set_of(slot, ASKED_SETS, mark))?;
    // SAFETY: a map value; its words are written and read whole.
    Some(unsafe { &mut (*set).0 })
}

#[inline(always)]
pub(super) fn open_totals(key: &OpenKey) -> Option<&'static mut OpenTotals> {
    let found = OPEN_TOTALS.get_ptr_mut(key).or_else(|| {
        let _ = OPEN_TOTALS.insert(key, OpenTotals::NONE, 0);
        OPEN_TOTALS.get_ptr_mut(key)
    })?;
    // SAFETY: a map value; one reader at a time has the program run.
    Some(unsafe { &mut *found })
}

/// Adds a duration in nanoseconds to a histogram of this CPU.
///
/// # Safety
/// A field of a map value.
#[inline(always)]
pub(super) unsafe fn measure(histogram: *mut Histogram, ns: u64) {
    let us = ns / 1000;
    // The mask is for the verifier: buckets end before it. Of a caller that has compared the time LLVM would know that.
    let at = black_box(bucket(us)) & 31;
    if at < BUCKETS {
        // SAFETY: an element of the array.
        atomic::add(unsafe { (&raw mut (*histogram).buckets).cast::<u64>().add(at) }, 1);
    }
    // SAFETY: as above.
    atomic::add(unsafe { &raw mut (*histogram).sum }, us);
}
