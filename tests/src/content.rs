//! What is sent: bytes that depend on the flow and on their place in it, so that a receiver knows each of them.

use crate::random::Random;

/// A prime, so that no power of two hides a chunk that is out of place.
const BLOCK: usize = 1_048_573;

/// The same random bytes in every process.
#[derive(Debug)]
pub struct Content(Vec<u8>);

impl Default for Content {
    fn default() -> Self {
        let mut random = Random::of(42, 0);
        Self((0..BLOCK).map(|_| (random.number() >> 32) as u8).collect())
    }
}

impl Content {
    /// Bytes of flow `seed` from `offset` on: at most `length`, perhaps fewer.
    pub fn at(&self, seed: u64, offset: u64, length: usize) -> &[u8] {
        let start = ((seed.wrapping_mul(7919) % BLOCK as u64 + offset) % BLOCK as u64) as usize;
        &self.0[start..BLOCK.min(start + length)]
    }

    /// Place of the first byte of `got` that is not the flow's from `offset` on.
    pub fn difference(&self, seed: u64, offset: u64, got: &[u8]) -> Option<u64> {
        let mut done = 0;
        while done < got.len() {
            let expected = self.at(seed, offset + done as u64, got.len() - done);
            let here = &got[done..done + expected.len()];
            if here != expected {
                let at = here.iter().zip(expected).position(|(got, expected)| got != expected)?;
                return Some(offset + (done + at) as u64);
            }
            done += expected.len();
        }
        None
    }

    /// Whether these are bytes of any flow, in a row; it takes some to tell.
    pub fn is_of_a_flow(&self, got: &[u8]) -> bool {
        const TELLING: usize = 16;
        let Some(first) = got.get(..TELLING) else { return false };
        let mut places = (0..BLOCK as u64).filter(|place| self.difference(0, *place, first).is_none());
        places.any(|place| self.difference(0, place, got).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_place_is_seen() {
        let content = Content::default();
        let mut stream = Vec::new();
        while stream.len() < 3 * BLOCK {
            stream.extend_from_slice(content.at(5, stream.len() as u64, 65_536));
        }
        assert_eq!(content.difference(5, 0, &stream), None);
        assert_eq!(content.difference(6, 0, &stream), Some(0));
        stream[2_000_000] ^= 1;
        assert_eq!(content.difference(5, 0, &stream), Some(2_000_000));
        stream[2_000_000] ^= 1;
        assert!(content.is_of_a_flow(&stream[1000..]));
        stream.rotate_left(3);
        assert!(!content.is_of_a_flow(&stream[1000..]));
        assert!(content.difference(5, 0, &stream).is_some());
    }
}
