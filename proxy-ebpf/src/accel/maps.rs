//! Maps shared by all workloads of the node, pinned once.
#![allow(unsafe_code, reason = "map values are reached through raw pointers the verifier has checked")]

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, bpf_sock_ops},
    helpers::generated::bpf_map_delete_elem,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf, SockHash, ring_buf::RingBufEntry},
    programs::SkMsgContext,
};
use proxy_common::{
    accel::{
        ACCEL_COUNTERS as COUNTERS, ACCELERATED, ACTIVITY as CONNECTIONS, ASKS_SIZE, Activity, Asked,
        CAPTURED_SIZE, Capture, Connections, EndEntry, EndKey, Executable, Knowledge, PEER_STAYS, Reason,
        SERVER_SETS, ServerAt, Servers, Switch, counter_index,
    },
    addr::Addr,
    workload::{SLOTS, SOCKETS},
};

use crate::{
    clock::now,
    uapi::{BPF_F_INGRESS, BPF_F_NO_PREALLOC, BPF_NOEXIST},
    workload::Workload,
};

const SK_PASS: i64 = 1;

/// The sockets, by cookie: one that is found is the one that was meant. sock_ops inserts; a socket leaves when it
/// closes. Nobody deletes the key of a connection to which something was redirected: bytes that wait at the socket would be
/// lost (docs/kernel.md: "Leaving the map").
#[map]
static SOCKS: SockHash<u64> = SockHash::with_max_entries(SOCKETS, 0);

/// What the ends know of each other. sock_ops writes and removes, sk_msg reads.
#[map]
static ENDS: HashMap<EndKey, EndEntry> = HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// Switches of the workloads. Userspace writes.
#[map]
static SWITCHES: Array<Switch> = Array::with_max_entries(SLOTS, 0);

/// Addresses of attached workloads, and whose: slot + 1, with [`ACCELERATED`]. Userspace writes; sock_ops reads: another
/// address cannot be local.
#[map]
static LOCAL_ADDRS: HashMap<Addr, u32> = HashMap::with_max_entries(16384, BPF_F_NO_PREALLOC);

/// Programs that were looked at, and whether their code reads sockets in ways that see all bytes. Userspace writes.
#[map]
static READERS: HashMap<Executable, u8> = HashMap::with_max_entries(16384, BPF_F_NO_PREALLOC);

/// When userspace was asked about programs that nobody has looked at, by slot; a race asks twice.
#[map]
static ASKED: Array<Asked> = Array::with_max_entries(SLOTS, 0);

/// The workloads that ask, by tenancy. sock_ops writes, the one who looks reads; where nobody does it fills once.
#[map]
static ASKS: RingBuf = RingBuf::with_byte_size(ASKS_SIZE, 0);

/// What is captured. Userspace writes; sk_msg counts what it loses.
#[map]
static CAPTURE: Array<Capture> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Messages that are captured. sk_msg writes, the one who captures reads.
#[map]
static CAPTURED: RingBuf = RingBuf::with_byte_size(CAPTURED_SIZE, 0);

/// What each workload knows of servers, in sets of its own: whether their side stays out of the map, how long their
/// connections are, and how sockets of unknown programs turned out. A set has one kind of it, all of a size. sock_ops and
/// sk_msg write, userspace clears; an increment lost to a race makes a run one longer.
#[map]
static SERVERS: Array<Servers<Connections>> = Array::with_max_entries(SLOTS * SERVER_SETS, BPF_F_MMAPABLE);

/// Messages sent by the ends of a connection.
#[map]
static ACTIVITY: Array<Activity> = Array::with_max_entries(CONNECTIONS, 0);

/// Sockets, messages and bytes by workload and reason.
#[map]
static ACCEL_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// Entry 0 is the program that chooses paths. A socket keeps the program it was inserted with; this is how it gets a new one.
#[map]
static DISPATCH: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[inline(always)]
pub(super) fn enter(ops: *mut bpf_sock_ops, mut cookie: u64) -> bool {
    // SAFETY: the context of this very call.
    SOCKS.update(&mut cookie, unsafe { &mut *ops }, BPF_NOEXIST).is_ok()
}

/// Takes a socket out, and what waits at it with it: one that is about to begin another connection, on which nobody may
/// read that; or one to which nothing was redirected. Not one whose connection ends: its process may still read.
#[inline(always)]
pub(super) fn leave(cookie: u64) {
    let map: *mut c_void = (&raw const SOCKS).cast_mut().cast();
    // SAFETY: a map of this object and a key of its size. Absent if it never entered.
    let _ = unsafe { bpf_map_delete_elem(map, (&raw const cookie).cast()) };
}

#[inline(always)]
pub(super) fn hand_over(ctx: &SkMsgContext, cookie: &mut u64) -> bool {
    SOCKS.redirect_msg(ctx, cookie, BPF_F_INGRESS) == SK_PASS
}

#[inline(always)]
pub(super) fn end_insert(key: &EndKey, end: &EndEntry) -> bool {
    ENDS.insert(key, end, 0).is_ok()
}

#[inline(always)]
pub(super) fn end(key: &EndKey) -> Option<EndEntry> {
    // SAFETY: an end's entry is written once, before the other end can look for it, but for its place in `LIVE`.
    unsafe { ENDS.get(key) }.copied()
}

/// Tells an end that has entered why its other end does not. It lives as long as the other end's handshake needs it.
#[inline(always)]
pub(super) fn tell_peer(peer: &EndKey, reason: Reason) {
    if let Some(end) = ENDS.get_ptr_mut(peer) {
        // SAFETY: a value of this map; nobody else writes this field once the end is there.
        unsafe { (*end).end.flags |= (reason as u16 + 1) << PEER_STAYS }
    }
}

/// The end has got its place in `LIVE` (index + 1).
#[inline(always)]
pub(super) fn end_listed(key: &EndKey, live: u32) {
    if let Some(end) = ENDS.get_ptr_mut(key) {
        // SAFETY: as above.
        unsafe { (*end).live = live }
    }
}

#[inline(always)]
pub(super) fn end_remove(key: &EndKey) {
    let _ = ENDS.remove(key);
}

#[inline(always)]
pub(super) fn switch(slot: u32) -> Option<&'static Switch> {
    SWITCHES.get(slot)
}

/// The slot of the workload of this node whose address this is, and whether it is accelerated.
#[inline(always)]
pub(crate) fn workload_at(addr: &Addr) -> Option<(u32, bool)> {
    // SAFETY: plain bytes.
    let whose = unsafe { LOCAL_ADDRS.get(addr) }.copied()?;
    Some(((whose & !ACCELERATED).wrapping_sub(1), whose & ACCELERATED != 0))
}

/// None: nobody has looked at the program.
#[inline(always)]
pub(super) fn reader_flags(program: &Executable) -> Option<u32> {
    // SAFETY: plain bytes, which any value is valid for.
    unsafe { READERS.get(program) }.map(|flags| u32::from(*flags))
}

/// Asks userspace to look at the workload's programs, this one among them.
#[inline(always)]
pub(super) fn ask(me: &Workload, program: &Executable) {
    let Some(asked) = ASKED.get_ptr_mut(me.slot) else { return };
    // SAFETY: a value of this map; plain numbers.
    if unsafe { &mut *asked }.is_due(me.number(), program, now()) {
        // A full ring has others that ask. Who goes on connecting asks again.
        let _ = ASKS.output::<u64>(me.tenancy(), 0);
    }
}

/// None: nobody captures.
#[inline(always)]
pub(super) fn capture() -> Option<&'static mut Capture> {
    // SAFETY: a value of this map; plain numbers.
    let capture = unsafe { &mut *CAPTURE.get_ptr_mut(0)? };
    (capture.until != 0).then_some(capture)
}

/// Room for a message.
#[inline(always)]
pub(super) fn captured<T: 'static>() -> Option<RingBufEntry<T>> {
    CAPTURED.reserve(0)
}

#[inline(always)]
pub(super) fn server<T: Knowledge + 'static>(at: ServerAt<T>) -> Option<&'static mut T> {
    servers(at)?.get(at)
}

/// What is known of a server, which is remembered from now on.
#[inline(always)]
pub(super) fn server_or_new<T: Knowledge + 'static>(at: ServerAt<T>) -> Option<&'static mut T> {
    Some(servers(at)?.get_or_place(at))
}

#[inline(always)]
fn servers<T: Knowledge>(at: ServerAt<T>) -> Option<&'static mut Servers<T>> {
    let servers: *mut Servers<T> = SERVERS.get_ptr_mut(at.set)?.cast();
    // SAFETY: a map value, which lives as long as the program runs; plain bytes, which any value of either kind is valid
    // for, and as large.
    Some(unsafe { &mut *servers })
}

/// Counts a message `sk` sends; how many the other end has sent.
#[inline(always)]
pub(super) fn activity(sk: u64, peer: u64) -> u32 {
    let Some(shared) = ACTIVITY.get_ptr_mut(Activity::index(sk, peer)) else { return 0 };
    // SAFETY: a value of this map; plain counters that only have to change; a lost increment does no harm.
    unsafe { &mut *shared }.sent(sk, peer)
}

/// A socket that entered, or stays out.
#[inline(always)]
pub(super) fn count_socket(slot: u32, reason: Reason) {
    add(counter_index(slot, reason), 1);
}

/// A message.
#[inline(always)]
pub(super) fn count(slot: u32, reason: Reason, bytes: u32) {
    let index = counter_index(slot, reason) + 1;
    add(index, 1);
    if bytes != 0 {
        add(index + 1, bytes.into());
    }
}

#[inline(always)]
fn add(index: u32, more: u64) {
    if let Some(counter) = ACCEL_COUNTERS.get_ptr_mut(index) {
        // SAFETY: this CPU's own counter.
        unsafe { *counter += more }
    }
}

/// Runs the program that chooses; comes back only if there is none.
#[inline(always)]
pub(super) fn dispatch(ctx: &SkMsgContext) {
    // SAFETY: a constant index of a program array.
    unsafe { DISPATCH.tail_call(ctx, 0) };
}
