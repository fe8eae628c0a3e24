//! Places in an array of the node's that are one workload's each: what a workload remembers drives out what it remembered
//! before, and nothing of anybody else's. An entry stands in one place of a set; its mark says which set.

/// Places of a set. At eight bytes each, a set is a cache line.
pub const PLACES: usize = 8;

/// A number for what is said in these words, never 0. Who wants to can find words with the same mark; they are looked for
/// among one workload's entries only.
#[inline(always)]
pub const fn mark<const WORDS: usize>(words: [u64; WORDS]) -> u64 {
    let mut mark = 0u64;
    let mut at = 0;
    while at < WORDS {
        mark = mix(mark ^ words[at]);
        at += 1;
    }
    mark = mix(mark);
    if mark == 0 { 1 } else { mark }
}

/// The upper bits of a product depend on all of its factors' bits, the lower ones do not.
#[inline(always)]
const fn mix(word: u64) -> u64 {
    let product = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

/// The set an entry stands in, of so many that each slot has (a power of two).
#[inline(always)]
pub const fn set_of(slot: u32, sets: u32, mark: u64) -> u32 {
    slot * sets + ((mark >> 40) as u32 & (sets - 1))
}

/// The place that an entry takes where all are taken.
#[inline(always)]
pub const fn place_of(mark: u32) -> usize {
    (mark >> 8) as usize & (PLACES - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_word_makes_another_mark() {
        let words = [7u64; 6];
        let marks: BTreeSet<u64> = (0..6 * 64)
            .map(|bit| {
                let mut other = words;
                other[bit / 64] ^= 1 << (bit % 64);
                mark(other)
            })
            .chain([mark(words)])
            .collect();
        assert_eq!(marks.len(), 6 * 64 + 1);
        assert_ne!(mark([0; 6]), 0);
    }

    /// Ports in a row, and addresses in a row: no set gets many more than its part.
    #[test]
    fn marks_spread() {
        const SETS: u32 = 64;
        for word in 0..6 {
            for shift in [0, 16, 48, 56] {
                let mut filled = [0; SETS as usize];
                for number in 0..256u64 {
                    let mut words = [3u64; 6];
                    words[word] ^= number << shift;
                    filled[set_of(0, SETS, mark(words)) as usize] += 1;
                }
                let most = filled.iter().max().copied().unwrap_or(0);
                assert!(most <= 3 * PLACES, "word {word} << {shift}: {most}");
            }
        }
    }

    #[test]
    fn a_slots_sets_are_its_own() {
        for mark in [1, u64::MAX, 0x1234_5678_9abc_def0] {
            assert_eq!(set_of(3, 16, mark) / 16, 3);
            assert!(place_of(mark as u32) < PLACES);
        }
    }
}
