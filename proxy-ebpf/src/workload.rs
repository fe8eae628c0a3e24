//! The workload a program runs for. The programs are the node's: whose call it is they find by the cgroup they were
//! reached through, and where no cgroup leads to them (sk_lookup, tc) a small program of the workload's own has left its
//! slot.
#![allow(unsafe_code, reason = "map values are reached through raw pointers the verifier has checked")]

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, bpf_map_type::BPF_MAP_TYPE_CGROUP_STORAGE},
    helpers::generated::bpf_get_local_storage,
    macros::map,
    maps::{Array, PerCpuArray, ProgramArray},
};
use proxy_common::{
    addr::Addr,
    counter::Event,
    policy::{Policy, Table},
    verdict::Rule,
    wire::{Route, list},
    workload::{Caller, Limits, SLOTS, Shares, TABLES, Workload as Facts, feature, state},
};

use crate::{log, maps, rodata};

/// A BTF map definition; aya-ebpf has none for this type.
#[repr(C)]
struct CgroupStorage {
    r#type: *const [i32; BPF_MAP_TYPE_CGROUP_STORAGE as usize],
    key: *const u64,
    value: *const u64,
    max_entries: *const [i32; 0],
}

// SAFETY: placeholders the loader reads as types; never dereferenced.
unsafe impl Sync for CgroupStorage {}

/// Slot + 1 of the cgroup the program was reached through; 0: not set up yet. Written by userspace.
// SAFETY: the section in which loaders look for BTF map definitions.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "SLOT")]
static SLOT: CgroupStorage =
    CgroupStorage { r#type: ptr::null(), key: ptr::null(), value: ptr::null(), max_entries: ptr::null() };

/// Written by userspace, which looks for free slots in it.
#[map]
static WORKLOADS: Array<Facts> = Array::with_max_entries(SLOTS, BPF_F_MMAPABLE);

/// Scalars of the rules, by tables. Written by userspace before the workload's `tables` says so.
#[map]
static POLICIES: Array<Policy> = Array::with_max_entries(TABLES, 0);

/// Written by the workload's own small programs.
#[map]
static CALLER: PerCpuArray<Caller> = PerCpuArray::with_max_entries(1, 0);

/// What those pass on to, by slot. Written by userspace.
#[map]
static INBOUND: ProgramArray = ProgramArray::with_max_entries(SLOTS, 0);
#[map]
static GUEST_IN: ProgramArray = ProgramArray::with_max_entries(SLOTS, 0);
#[map]
static GUEST_OUT: ProgramArray = ProgramArray::with_max_entries(SLOTS, 0);

/// What a workload has taken of what is shared. None: it is detached, and its slot is free or another workload's.
#[inline(always)]
pub(crate) fn share_of(tenancy: u64) -> Option<&'static mut Shares> {
    let slot = tenancy as u32;
    if WORKLOADS.get(slot)?.tenancy(slot) != tenancy {
        return None;
    }
    maps::share(slot).map(|(share, _)| share)
}

/// A workload, and the rules it has at this moment.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) slot: u32,
    tables: u32,
    facts: &'static Facts,
    rules: &'static Policy,
}

impl Workload {
    /// The workload of the cgroup. None: it is being set up.
    #[inline(always)]
    pub(crate) fn of_cgroup() -> Option<Self> {
        let map: *mut c_void = (&raw const SLOT).cast_mut().cast();
        // SAFETY: a map of this object; the answer is a value of it.
        let number = unsafe { bpf_get_local_storage(map, 0).cast::<u64>().read_volatile() };
        if number == 0 {
            return None;
        }
        Self::at((number as u32).wrapping_sub(1))
    }

    /// The workload whose small program has passed on to this one, if both saw the same. None: another lookup came in
    /// between on this CPU. That happens to lookups that processes ask for (sock_diag), and to those of no packet.
    #[inline(always)]
    pub(crate) fn of_caller(seen: [u32; 4]) -> Option<Self> {
        // SAFETY: a map value; written and read on this CPU.
        let caller = unsafe { &*CALLER.get_ptr(0)? };
        let slot = caller.slot;
        if caller.seen != seen {
            return None;
        }
        Self::at(slot)
    }

    #[inline(always)]
    pub(crate) fn at(slot: u32) -> Option<Self> {
        let facts = WORKLOADS.get(slot)?;
        // The number is read once: userspace may change it at any moment, and the rules with it.
        // SAFETY: a field of a map value.
        let tables = unsafe { (&raw const facts.tables).read_volatile() };
        Some(Self { slot, tables, facts, rules: POLICIES.get(tables)? })
    }

    /// Whether new connections are turned to the sidecar.
    #[inline(always)]
    pub(crate) fn captures(&self) -> bool {
        self.facts.state == state::CAPTURES
    }

    /// 0: not to be compared.
    #[inline(always)]
    pub(crate) fn netns_cookie(&self) -> u64 {
        self.facts.netns_cookie
    }

    /// A number of this workload, which no workload that has the slot before or after it has.
    #[inline(always)]
    pub(crate) fn tenancy(&self) -> u64 {
        self.facts.tenancy(self.slot)
    }

    /// The half of the tenancy that is not the slot.
    #[inline(always)]
    pub(crate) fn number(&self) -> u32 {
        self.facts.number
    }

    /// What it has of what is shared, and how much it may have.
    #[inline(always)]
    pub(crate) fn share(&self) -> Option<(&'static mut Shares, &'static Limits)> {
        maps::share(self.slot)
    }

    /// Id of the cgroup, inode number of the network namespace.
    #[inline(always)]
    pub(crate) fn identity(&self) -> (u64, u32) {
        (self.facts.cgroup, self.facts.netns)
    }

    #[inline(always)]
    pub(crate) fn route(&self, addr: &Addr) -> Option<&'static Route> {
        maps::route(self.tables, addr)
    }

    /// Whether an address is the workload's own: a loopback one, or one that is delivered on this host.
    #[inline(always)]
    pub(crate) fn is_local(&self, addr: &Addr) -> bool {
        addr.is_loopback() || self.route(addr).is_some_and(Route::is_local)
    }

    /// Flags of an interface, by index.
    #[inline(always)]
    pub(crate) fn interface(&self, index: u32) -> u8 {
        maps::listed(self.tables, list::INTERFACE, index)
    }

    #[inline(always)]
    pub(crate) fn count_rule(&self, rule: Rule) {
        let _ = maps::count(self.slot, rule as usize);
    }

    /// How often it has happened now, on this CPU.
    #[inline(always)]
    pub(crate) fn count_event(&self, event: Event) -> u64 {
        maps::count(self.slot, event.index())
    }

    /// Counts a failure, and says so where it is news.
    #[inline(always)]
    pub(crate) fn failed(&self, event: Event) {
        log::failed(event, self.count_event(event), self.netns_cookie());
    }
}

impl Table for Workload {
    /// Flags that these programs know nothing of are out of the verifier's sight.
    #[inline(always)]
    fn policy(&self) -> Policy {
        Policy { flags: self.rules.flags & (rodata::features() | !feature::OF_POLICY), ..*self.rules }
    }

    #[inline(always)]
    fn port(&self, port: u16) -> u8 {
        maps::listed(self.tables, list::PORT, port.into())
    }

    #[inline(always)]
    fn id(&self, id: u32) -> u8 {
        maps::listed(self.tables, list::ID, id)
    }

    #[inline(always)]
    fn range(&self, addr: &Addr) -> u8 {
        maps::range(self.tables, addr)
    }
}
