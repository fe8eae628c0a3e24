//! Open ends, and how readers ask for them.

use super::{FlowFigures, FlowRecord, Turn};

/// Open ends of a node that can be listed.
pub const LIVE: u32 = 262_144;

/// An entry for an open end: where the kernel keeps its socket, its record, and what sk_msg has seen of its sends (0:
/// never in the map). The addresses are believed as long as socket and record carry the end's cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct LiveEnd {
    /// 0: the entry is free.
    pub cookie: u64,
    pub socket: u64,
    pub record: u64,
    pub tally: u64,
    /// Of a free entry: the index of the next free one + 1; 0: there is none.
    pub next: u64,
    /// The workload whose share it counts in ([`crate::workload::Workload::tenancy`]).
    pub tenancy: u64,
    /// The other end's programs find it here: they know an entry's index, and have no way to another socket's storage.
    pub turn: Turn,
}

/// Which entries are free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct FreeList {
    /// The index of the first free entry + 1 in the lower half; the upper half counts changes, so that no two values are the same.
    pub free: u64,
    /// Entries that were ever in use; those behind are free, and in no list.
    pub used: u64,
}

impl FreeList {
    pub const CHANGE: u64 = 1 << 32;

    /// The value of `free` after this one, with another first entry (its index + 1).
    #[inline(always)]
    pub const fn changed(free: u64, first: u64) -> u64 {
        (free & !(Self::CHANGE - 1)).wrapping_add(Self::CHANGE) | first & (Self::CHANGE - 1)
    }
}

/// Entries of the list: as many ends as a reader asks for at once.
pub const LISTED: u32 = 8192;

/// One open end: a reader writes the index of its entry into `record.cookie`, and 0 into `figures.at`; a program fills in
/// the rest, unless the end is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct ListedEnd {
    pub record: FlowRecord,
    pub figures: FlowFigures,
    pub queues: Queues,
}

/// What waits at an open end, in the queues of TCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Queues {
    /// When TCP sent or received last; monotonic, microseconds; 0: not known.
    pub active_at: u64,
    /// Bytes the other side has not acknowledged.
    pub send: u32,
    /// Bytes the process has not read.
    pub receive: u32,
}

const _: () = assert!(size_of::<LiveEnd>() == 64);
const _: () = assert!(size_of::<Queues>() == 16);
const _: () = assert!(size_of::<ListedEnd>() == 296);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_heads_of_the_free_list_are_the_same() {
        let first = FreeList::changed(0, 7);
        assert_eq!((first as u32, first >> 32), (7, 1));
        assert_eq!(FreeList::changed(u64::MAX, 0), 0);
        assert_ne!(FreeList::changed(FreeList::changed(first, 9), 7), first);
    }
}
