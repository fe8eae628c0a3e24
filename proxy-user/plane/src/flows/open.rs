//! Sums over the flows that are open now. The kernel adds them up as it walks, so that nothing is copied for a flow.

use std::collections::HashMap;

use anyhow::{Context, Result};
use proxy_common::{
    flow::{Class, OpenTotals},
    names::program,
};

use super::{end, walk::Walk};
use crate::dataplane::{OpenTotalsMap, open_sums};

/// By workload, as `sidestep status` names it, and class.
pub(super) type Open = HashMap<(String, Class), OpenTotals>;

/// None where nothing is observed.
pub(super) fn sums() -> Result<Open> {
    let Some(mut walk) = Walk::new(program::FLOW_SUM)? else { return Ok(Open::new()) };
    let mut map = open_sums()?;
    clear(&mut map)?;
    walk.each_batch(|_, _| ())?;
    let mut sums = Open::new();
    for entry in map.iter() {
        let (key, totals) = entry.context("read the sums of open flows")?;
        let class = Class::from_index(u8::try_from(key.0.class).unwrap_or(u8::MAX));
        if let Some(class) = class {
            sums.insert((end::workload((key.0.netns, key.0.cgroup)), class), totals.0);
        }
    }
    Ok(sums)
}

/// Of the reader before.
fn clear(map: &mut OpenTotalsMap) -> Result<()> {
    let old: Vec<_> = map.keys().collect::<Result<_, _>>().context("read the sums of open flows")?;
    old.iter().try_for_each(|key| map.remove(key)).context("clear the sums of open flows")
}
