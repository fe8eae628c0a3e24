//! Switches that users do not have. They are bits in the map `SWITCHES`; here they are asked for with words for
//! `--accelerate` that the product does not know.

use std::path::Path;

use anyhow::Result;

/// Readers that block, or whose programs nobody knows, are redirected to as well.
pub const ANY_READER: &str = "any-reader";
/// Programs that nobody knows send in the map, also where the kernel's FIONREAD is wrong: for those that do not ask it.
pub const UNKNOWN_SENDS: &str = "unknown-sends";
/// The same, from their first sockets on.
pub const UNKNOWN_SENDS_AT_ONCE: &str = "unknown-sends-at-once";
/// The same, for as long as what they send is large.
pub const UNKNOWN_SENDS_WHILE_LARGE: &str = "unknown-sends-while-large";

/// Each in the place of the mode, with its bits of `proxy_common::accel::switch_flag`.
const WORDS: [(&str, u32); 4] = [
    (ANY_READER, 1),
    (UNKNOWN_SENDS, 2 | 8),
    (UNKNOWN_SENDS_AT_ONCE, 2 | 4 | 8),
    (UNKNOWN_SENDS_WHILE_LARGE, 2 | 4),
];

/// `proxy_common::accel::Switch`, in words: enabled, limit, flags, number, and until when it is paused.
#[cfg(feature = "plane")]
const FLAGS: usize = 2;
/// Flags as the product takes them, and the bits that are wanted.
pub fn of_product<'a>(flags: &[&'a str]) -> (Vec<&'a str>, u32) {
    let of = |word: &str| WORDS.iter().find(|(known, _)| *known == word).map_or(0, |(_, bits)| *bits);
    let known = |word: &&'a str| if of(word) == 0 { *word } else { "safe-readers" };
    (flags.iter().map(known).collect(), flags.iter().map(|word| of(word)).fold(0, |all, bits| all | bits))
}

/// Sets these bits for the workload of a slot; `pins`: sidestep's directory. Where nothing is accelerated there are none.
#[cfg(feature = "plane")]
pub fn allow(pins: &Path, slot: u64, bits: u32) -> Result<()> {
    use anyhow::Context as _;
    use aya::maps::{Array, Map, MapData};

    let path = crate::sidestep::node_map_in(pins, "SWITCHES")?;
    let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    let mut switches: Array<MapData, [u32; 6]> = Array::try_from(Map::Array(data))?;
    let slot = u32::try_from(slot)?;
    let mut switch = switches.get(&slot, 0).context("read the switch")?;
    switch[FLAGS] |= bits;
    switches.set(slot, switch, 0).context("set the switch")
}

/// Without the data plane's crates nothing is attached.
#[cfg(not(feature = "plane"))]
pub fn allow(pins: &Path, slot: u64, bits: u32) -> Result<()> {
    anyhow::bail!("{}, slot {slot}, {bits:#x}: built without the feature `plane`", pins.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_the_products_and_their_words_are_not() {
        use proxy_common::accel::switch_flag;
        let of = [
            (ANY_READER, switch_flag::ANY_READER),
            (UNKNOWN_SENDS, switch_flag::SENDS | switch_flag::ANY_SIZE),
            (UNKNOWN_SENDS_WHILE_LARGE, switch_flag::SENDS | switch_flag::AT_ONCE),
            (UNKNOWN_SENDS_AT_ONCE, switch_flag::SENDS | switch_flag::AT_ONCE | switch_flag::ANY_SIZE),
        ];
        for (word, bits) in of {
            assert_eq!(of_product(&["--accelerate", word]), (vec!["--accelerate", "safe-readers"], bits));
        }
        assert_eq!(of_product(&["-i", "*"]), (vec!["-i", "*"], 0));
    }
}
