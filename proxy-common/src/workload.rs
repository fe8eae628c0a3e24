//! What the programs know of a workload. One set of programs serves every workload of a node; whose call, packet or
//! socket it is they find out by its slot.

use crate::policy::flag;

/// Workloads of a node.
pub const SLOTS: u32 = 1024;

/// One workload, by its slot. Written by userspace, a word of eight bytes at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Workload {
    /// Cookie of its network namespace; 0: not checked.
    pub netns_cookie: u64,
    /// Id of its cgroup.
    pub cgroup: u64,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// One of [`state`].
    pub state: u32,
    /// Which tables its decisions are made by: another number is another set of rules, all of them at once.
    pub tables: u32,
    /// The build whose programs it runs, as far as a number tells.
    pub build: u32,
    /// Another number than the workload had that had the slot before, and never 0.
    pub number: u32,
    pub reserved: u32,
}

impl Workload {
    /// This workload in this slot, and nobody before or after it.
    #[inline(always)]
    pub const fn tenancy(&self, slot: u32) -> u64 {
        tenancy(self.number, slot)
    }
}

/// Of a workload with this number in this slot.
#[inline(always)]
pub const fn tenancy(number: u32, slot: u32) -> u64 {
    (number as u64) << 32 | slot as u64
}

/// What becomes of a workload's traffic.
pub mod state {
    /// The slot is free.
    pub const FREE: u32 = 0;
    /// It is being set up or taken down: questions are answered, nothing new is captured.
    pub const ANSWERS: u32 = 1;
    /// Its connections are captured.
    pub const CAPTURES: u32 = 2;
}

/// Sets of rules: each slot has two, one in use and one to be prepared.
pub const TABLES: u32 = 2 * SLOTS;

/// The sets of a slot.
#[inline(always)]
pub const fn tables_of(slot: u32) -> [u32; 2] {
    [2 * slot, 2 * slot + 1]
}

/// The other set of the same slot.
#[inline(always)]
pub const fn other_tables(tables: u32) -> u32 {
    tables ^ 1
}

/// Parts of the programs that are left out where nobody asks for them; the rest are bits of [`flag`].
pub mod feature {
    use super::flag;

    /// splice(2) from sockets that are redirected to is refused.
    pub const GUARD: u32 = 1 << 28;
    /// Turnarounds of recorded connections are measured.
    pub const TIME: u32 = 1 << 29;
    /// Connections are recorded.
    pub const OBSERVE: u32 = 1 << 30;
    /// Sockets may enter the acceleration's map.
    pub const ACCELERATE: u32 = 1 << 31;
    /// Flags that choose programs. Others only choose rules.
    pub const OF_POLICY: u32 = flag::IPV6 | flag::DNS | flag::TPROXY | flag::GUESTS;
    pub const ALL: u32 = OF_POLICY | GUARD | TIME | OBSERVE | ACCELERATE;
}

/// Who has a program run that no cgroup tells of (sk_lookup, tc): a small program of the workload's own leaves its slot
/// here and passes on. What it saw of the packet says that nobody else came in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Caller {
    pub slot: u32,
    pub seen: [u32; 4],
}

/// How much a workload has of what all of them share. Programs count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Shares {
    /// Connections between SYN and accept.
    pub pending: u64,
    /// How many of the pending connections `inbound` has to know: calls of the workload to itself, and those on their way
    /// to a port that stands for the destination.
    pub looked_up: u64,
    /// Sockets in the acceleration's map.
    pub sockets: u64,
    /// Open ends in the list.
    pub live: u64,
    /// Clients of connections that their server's end has to be told of, and that it was not told of yet.
    pub peers: u64,
    /// Those that no server's end can be told of: there was no room for them.
    pub untold: u64,
}

/// How much each may have: what there is, divided by those that are there. Written by userspace. Connections that are
/// looked up, and clients nobody can be told of, have no limit of their own.
pub type Limits = Shares;

/// Connections between SYN and accept, of all workloads.
pub const PENDING: u32 = 1 << 19;
/// One workload has as many as it had when it was alone with them.
const MOST_PENDING: u64 = 1 << 16;
/// Sockets in the acceleration's map.
pub const SOCKETS: u32 = 1 << 16;
/// Clients between SYN and accept that the server's end has to be told of.
pub const PEERS: u32 = 1 << 17;

impl Shares {
    /// For so many workloads.
    pub const fn of(workloads: u32, live: u32) -> Self {
        let n = if workloads == 0 { 1 } else { workloads.next_power_of_two() as u64 };
        let pending = PENDING as u64 / n;
        Self {
            pending: if pending < MOST_PENDING { pending } else { MOST_PENDING },
            looked_up: 0,
            sockets: SOCKETS as u64 / n,
            live: live as u64 / n,
            peers: PEERS as u64 / n,
            untold: 0,
        }
    }
}

const _: () = assert!(size_of::<Workload>() == 40 && size_of::<Caller>() == 20 && size_of::<Shares>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_of_a_slot_is_the_others_other() {
        for slot in [0, 1, SLOTS - 1] {
            let [first, second] = tables_of(slot);
            assert_eq!((other_tables(first), other_tables(second)), (second, first));
        }
    }

    #[test]
    fn no_number_of_workloads_is_promised_more_than_there_is() {
        for n in [0, 1, 2, 3, 4, 110, 500, SLOTS] {
            let share = Shares::of(n, 1 << 18);
            assert!(share.pending * u64::from(n) <= u64::from(PENDING), "{n}: {share:?}");
            assert!(share.sockets * u64::from(n) <= u64::from(SOCKETS) && share.live > 0, "{n}: {share:?}");
            assert!(share.peers * u64::from(n) <= u64::from(PEERS) && share.peers > 0, "{n}: {share:?}");
        }
        assert_eq!(Shares::of(110, 1 << 18).pending, 4096);
    }
}
