//! Open ends, one by one.

use anyhow::Result;
use proxy_common::{flow::ListedEnd, names::program};

use super::{end::End, walk::Walk};
use crate::dataplane::decode;

const WORDS: usize = size_of::<ListedEnd>() / 8;

/// Hands out the ends that are open now, and those TCP is done with while their processes still have them. None where
/// nothing is observed.
pub(super) fn each_live(mut see: impl FnMut(&End)) -> Result<()> {
    let Some(mut walk) = Walk::new(program::FLOW_LIST)? else { return Ok(()) };
    walk.each_batch(|listed, count| {
        for place in 0..count {
            let mut words = [0; WORDS];
            listed.read(place * size_of::<ListedEnd>(), &mut words);
            let end: Option<ListedEnd> = decode(&words);
            // Those that were gone when their turn came were not looked at.
            if let Some(ListedEnd { record, figures, queues }) = end.filter(|end| end.figures.at != 0) {
                see(&End { record, figures, queues });
            }
        }
    })
}
