//! A switch that users do not have: readers that block, or whose programs nobody knows, are redirected to as well. It is a
//! bit in the map `SWITCHES`; here it is asked for with a word for `--accelerate` that the product does not know.

use std::path::Path;

use anyhow::Result;

/// In the place of the mode.
pub const ANY_READER: &str = "any-reader";

/// `proxy_common::accel::Switch`: enabled, limit, flags, number.
#[cfg(feature = "plane")]
const FLAGS: usize = 2;
/// `proxy_common::accel::switch_flag::ANY_READER`.
#[cfg(any(feature = "plane", test))]
const ANY: u32 = 1;

/// Flags as the product takes them, and whether the switch is wanted.
pub fn of_product<'a>(flags: &[&'a str]) -> (Vec<&'a str>, bool) {
    let known = |word: &&'a str| if *word == ANY_READER { "safe-readers" } else { *word };
    (flags.iter().map(known).collect(), flags.contains(&ANY_READER))
}

/// Sets it for the workload of a slot; `pins`: sidestep's directory. Where nothing is accelerated there is none.
#[cfg(feature = "plane")]
pub fn allow(pins: &Path, slot: u64) -> Result<()> {
    use anyhow::Context as _;
    use aya::maps::{Array, Map, MapData};

    let path = crate::sidestep::node_map_in(pins, "SWITCHES")?;
    let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    let mut switches: Array<MapData, [u32; 4]> = Array::try_from(Map::Array(data))?;
    let slot = u32::try_from(slot)?;
    let mut switch = switches.get(&slot, 0).context("read the switch")?;
    switch[FLAGS] |= ANY;
    switches.set(slot, switch, 0).context("set the switch")
}

/// Without the data plane's crates nothing is attached.
#[cfg(not(feature = "plane"))]
pub fn allow(pins: &Path, slot: u64) -> Result<()> {
    anyhow::bail!("{}, slot {slot}: built without the feature `plane`", pins.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_is_the_products_and_its_word_is_not() {
        assert_eq!(ANY, proxy_common::accel::switch_flag::ANY_READER);
        assert_eq!(of_product(&["--accelerate", ANY_READER]), (vec!["--accelerate", "safe-readers"], true));
        assert_eq!(of_product(&["-i", "*"]), (vec!["-i", "*"], false));
    }
}
