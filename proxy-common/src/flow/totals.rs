//! Sums over flows, kept in the kernel per CPU.

use super::{Class, Close, FlowRecord, PEERS, Tally, flow_flag};
use crate::accel::Reason;

/// Buckets of a latency histogram: bucket `i` counts what took less than 2^i microseconds and not less than 2^(i-1);
/// the last one also what took longer.
pub const BUCKETS: usize = 26;

/// A latency histogram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Histogram {
    pub buckets: [u64; BUCKETS],
    /// Microseconds.
    pub sum: u64,
}

/// The bucket of a duration in microseconds.
#[inline(always)]
pub const fn bucket(us: u64) -> usize {
    let bits = (u64::BITS - us.leading_zeros()) as usize;
    if bits < BUCKETS { bits } else { BUCKETS - 1 }
}

/// Sums over the flows of a class that were opened and closed. Each connection counts once in a workload: at its
/// client's end if that is of the workload, else at its server's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Totals {
    /// Established.
    pub opened: u64,
    /// Closed connections by [`Close`], those that never were established too.
    pub closed: [u64; Close::COUNT],
    /// What the closed ones have carried.
    pub carried: Carried,
    /// See [`Stayed`].
    pub stayed: [u64; Reason::COUNT],
    /// SYN to established.
    pub connect: Histogram,
    /// Established to taken by the server's process.
    pub hand_off: Histogram,
}

/// What connections have carried, at the ends that count for their workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Carried {
    /// Bytes written by this end's application.
    pub sent_redirected: u64,
    pub sent_stacked: u64,
    /// Bytes redirected to this end by an end of the same workload.
    pub received_redirected: u64,
    /// Bytes read by this end's application from the stack.
    pub received_stacked: u64,
    /// Of the stacked ones those of connections whose other end is in no workload of this node.
    pub sent_far: u64,
    pub received_far: u64,
    /// Messages of this end while in the acceleration's map.
    pub messages_redirected: u64,
    pub messages_stacked: u64,
}

impl Carried {
    pub const NONE: Self = Self {
        sent_redirected: 0,
        sent_stacked: 0,
        received_redirected: 0,
        received_stacked: 0,
        sent_far: 0,
        received_far: 0,
        messages_redirected: 0,
        messages_stacked: 0,
    };

    /// What one end adds; `tally`: none if it never was in the acceleration's map. Of an end that does not count it is
    /// what it sent past the stack: the end that counts received that.
    #[inline(always)]
    pub fn of(record: &FlowRecord, sent: u64, received: u64, tally: Option<&Tally>) -> Self {
        let tally = tally.copied().unwrap_or_default();
        if !record.has(flow_flag::COUNTS) {
            return Self { received_redirected: tally.redirected_bytes, ..Self::default() };
        }
        let is_far = !record.has(flow_flag::NEAR);
        Self {
            sent_redirected: tally.redirected_bytes,
            sent_stacked: sent,
            received_redirected: 0,
            received_stacked: received,
            sent_far: if is_far { sent } else { 0 },
            received_far: if is_far { received } else { 0 },
            messages_redirected: tally.redirected_messages,
            messages_stacked: tally.stacked_messages,
        }
    }

    #[inline(always)]
    pub fn add(&mut self, more: &Self) {
        self.sent_redirected += more.sent_redirected;
        self.sent_stacked += more.sent_stacked;
        self.received_redirected += more.received_redirected;
        self.received_stacked += more.received_stacked;
        self.sent_far += more.sent_far;
        self.received_far += more.received_far;
        self.messages_redirected += more.messages_redirected;
        self.messages_stacked += more.messages_stacked;
    }
}

/// Bytes that the acceleration could have carried and that none of its programs has seen, because their sender is not in
/// its map: how many, and why. What a sender in the map leaves to the stack is counted with each message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stayed {
    pub reason: u8,
    pub bytes: u64,
}

impl Stayed {
    /// At the end that counts; each byte once. Within a workload that end stands for both; of two workloads each counts what
    /// it sends.
    #[inline(always)]
    pub fn of(record: &FlowRecord, class: Class, sent: u64, received: u64, tally: Option<&Tally>) -> Self {
        if !record.has(flow_flag::COUNTS) || !record.has(flow_flag::NEAR) {
            return Self { reason: 0, bytes: 0 };
        }
        let received = if class.is_within() { received } else { 0 };
        match tally {
            // The other end is in the map, and counts what it sends.
            Some(tally) if tally.peer_stays == 0 => Self { reason: 0, bytes: 0 },
            Some(tally) => Self { reason: tally.peer_stays - 1, bytes: received },
            None if record.stays != 0 => {
                Self { reason: (record.stays & !PEERS).wrapping_sub(1), bytes: sent + received }
            }
            None if record.has(flow_flag::CLIENT) => {
                Self { reason: Reason::Off as u8, bytes: sent + received }
            }
            None => Self { reason: Reason::NoPeer as u8, bytes: sent + received },
        }
    }
}

/// Sums over the open flows of a workload's class, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct OpenTotals {
    /// How many there are, at the ends that count.
    pub active: u64,
    pub carried: Carried,
    /// See [`Stayed`].
    pub stayed: [u64; Reason::COUNT],
}

impl OpenTotals {
    pub const NONE: Self = Self { active: 0, carried: Carried::NONE, stayed: [0; Reason::COUNT] };
}

impl Default for OpenTotals {
    fn default() -> Self {
        Self::NONE
    }
}

/// What open flows are added up by. Not the workload's slot: a flow may outlive its workload, whose slot is then
/// another's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct OpenKey {
    pub cgroup: u64,
    pub netns: u32,
    /// [`Class`].
    pub class: u32,
}

/// Key of a workload's class.
#[inline(always)]
pub const fn totals_key(slot: u32, class: Class) -> u32 {
    slot << 8 | class as u32
}

const _: () = assert!(size_of::<OpenKey>() == 16);
const _: () = assert!(size_of::<OpenTotals>() == 8 * (9 + Reason::COUNT));
const _: () = assert!(size_of::<Totals>() == 8 * (1 + Close::COUNT + 8 + Reason::COUNT + 2 * (BUCKETS + 1)));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_at_a_power_of_two() {
        assert_eq!((bucket(0), bucket(1), bucket(2), bucket(3), bucket(4)), (0, 1, 2, 2, 3));
        assert_eq!((bucket((1 << 24) - 1), bucket(1 << 24), bucket(u64::MAX)), (24, 25, 25));
    }
}
