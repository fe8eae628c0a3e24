//! Random numbers that a seed repeats, on every machine and with every release of every crate.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of one case among many: each case can be repeated alone.
    pub fn of(seed: u64, case: u64) -> Self {
        let mut random = Self(seed);
        let mixed = random.number();
        Self(mixed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end - 1`; `end` is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// As many small numbers as large ones: even over the digits, from 1 to `end`.
    pub fn size(&mut self, end: usize) -> usize {
        let bits = end.max(1).ilog2() as usize + 1;
        let top = 1 << self.below(bits);
        (top + self.below(top)).min(end)
    }

    /// True once in `n`, on average.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them; there has to be one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// From none to `most` of them, some perhaps twice.
    pub fn some<T: Clone>(&mut self, from: &[T], most: usize) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| self.pick(from).clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_seed_repeats_and_cases_differ() {
        let numbers = |seed, case| {
            let mut random = Random::of(seed, case);
            [random.number(), random.number()]
        };
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(1, 3));
        assert_ne!(numbers(1, 2), numbers(2, 2));
    }

    #[test]
    fn sizes_stay_in_their_bounds() {
        let mut random = Random::of(1, 0);
        let sizes: Vec<usize> = (0..10_000).map(|_| random.size(65_536)).collect();
        assert!(sizes.iter().all(|size| (1..=65_536).contains(size)));
        assert!(sizes.iter().any(|size| *size < 8) && sizes.iter().any(|size| *size > 40_000));
    }
}
