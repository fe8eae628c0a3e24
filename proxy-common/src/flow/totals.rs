//! Sums over flows, kept in the kernel per CPU.

use super::{Class, Close};

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
    /// By [`Close`]; also those that never were established.
    pub closed: [u64; Close::COUNT],
    /// Bytes written by this end's application, of closed flows.
    pub sent_redirected: u64,
    pub sent_stacked: u64,
    /// Bytes redirected to this end by an end of the same workload, of closed ones.
    pub received_redirected: u64,
    /// Bytes read by this end's application from the stack, of closed flows.
    pub received_stacked: u64,
    /// Messages of this end, of closed flows, while in the acceleration's map.
    pub messages_redirected: u64,
    pub messages_stacked: u64,
    /// SYN to established.
    pub connect: Histogram,
    /// Established to taken by the server's process.
    pub hand_off: Histogram,
}

/// Key of a workload's class.
#[inline(always)]
pub const fn totals_key(slot: u32, class: Class) -> u32 {
    slot << 8 | class as u32
}

const _: () = assert!(size_of::<Totals>() == 8 * (1 + Close::COUNT + 6 + 2 * (BUCKETS + 1)));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_at_a_power_of_two() {
        assert_eq!((bucket(0), bucket(1), bucket(2), bucket(3), bucket(4)), (0, 1, 2, 2, 3));
        assert_eq!((bucket((1 << 24) - 1), bucket(1 << 24), bucket(u64::MAX)), (24, 25, 25));
    }
}
