//! Turnarounds added up: a histogram for each end of a workload's class.

use super::Class;

/// Eight buckets for each doubling: what is in one lies within an eighth.
const STEPS: u64 = 8;
/// Buckets of a [`Turnarounds`]: up to 67 seconds.
pub const FINE: usize = 192;

/// The bucket of a duration in microseconds; the last one also has what took longer.
#[inline(always)]
pub const fn fine_bucket(us: u64) -> usize {
    if us < STEPS {
        return us as usize;
    }
    // At least 3.
    let exponent = (u64::BITS - 1 - us.leading_zeros()) as u64;
    let at = (exponent - 2) * STEPS + (us >> (exponent - 3) & (STEPS - 1));
    if at < FINE as u64 { at as usize } else { FINE - 1 }
}

/// The first duration in microseconds that is above a bucket.
pub const fn fine_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket + 1;
    }
    (STEPS + bucket % STEPS + 1) << (bucket / STEPS - 1)
}

/// Turnarounds at one end of the connections of a class: each measured one counts for those it stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Turnarounds {
    pub buckets: [u64; FINE],
    /// Microseconds.
    pub sum: u64,
    /// Those that were measured.
    pub measured: u64,
}

impl Turnarounds {
    pub const NONE: Self = Self { buckets: [0; FINE], sum: 0, measured: 0 };

    /// Requests that were answered, as far as those that were measured tell.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration in microseconds that this share of them stays below; none: there were none. Within a bucket they are
    /// taken to lie evenly.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = share * self.count() as f64;
        let mut below = 0.0;
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if below + count >= wanted {
                let begin = if bucket == 0 { 0 } else { fine_end(bucket - 1) } as f64;
                let width = fine_end(bucket) as f64 - begin;
                return Some((begin + width * ((wanted - below) / count).clamp(0.0, 1.0)) as u64);
            }
            below += count;
        }
        None
    }
}

/// Key of the turnarounds at one end of a workload's class.
#[inline(always)]
pub const fn turn_key(slot: u32, class: Class, is_server: bool) -> u32 {
    slot << 8 | (class as u32) << 1 | is_server as u32
}

const _: () = assert!(size_of::<Turnarounds>() == 8 * (FINE + 2));
const _: () = assert!(Class::COUNT <= 1 << 7);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fine_bucket_ends_where_the_next_begins() {
        assert_eq!([0, 7, 8, 15, 16, 17, 18].map(fine_bucket), [0, 7, 8, 15, 16, 16, 17]);
        for bucket in 0..FINE - 1 {
            let end = fine_end(bucket);
            assert_eq!((fine_bucket(end - 1), fine_bucket(end)), (bucket, bucket + 1), "{end} us");
        }
        assert_eq!((fine_end(FINE - 1), fine_bucket(u64::MAX)), (1 << 26, FINE - 1));
        // Powers of two are ends, so that coarser buckets can be made of these.
        assert!((3..=26).all(|power| (0..FINE).any(|bucket| fine_end(bucket) == 1 << power)));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let mut of = Turnarounds::NONE;
        assert_eq!(of.quantile(0.5), None);
        of.buckets[fine_bucket(5_000)] = 98;
        of.buckets[fine_bucket(50_000)] = 2;
        let [median, last] = [0.5, 0.99].map(|share| of.quantile(share).unwrap());
        assert!((4_600..5_200).contains(&median) && (46_000..54_000).contains(&last), "{median} {last}");
    }
}
