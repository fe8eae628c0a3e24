//! Nothing of a workload is redirected for a while: the kernel's programs end it by their own clock.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxy_common::names::map;
use proxy_core::config::Accelerate;

use super::{
    accelerated, bpffs, layout::layout, lock::Lock, meta::Meta, node_pins, pins::WorkloadPins, recorded,
};
use crate::clock::monotonic_after;

/// For this long from now on; none: no longer.
///
/// # Errors
/// Another build's workload, one that is gone, and one of which nothing is redirected anyway.
pub fn pause(pins: &WorkloadPins, span: Duration) -> Result<()> {
    let gone = || format!("workload {} is gone", pins.name());
    let _lock = Lock::take(&bpffs::root())?.with_context(gone)?;
    let meta = Meta::read(&pins.map(map::META)).with_context(gone)?;
    ensure!(meta.layout == layout(), "another version of sidestep attached it: run `sidestep attach` again");
    ensure!(
        meta.acceleration.mode != Accelerate::Off && meta.not_accelerated.is_none(),
        "workload {}: it is not accelerated: nothing of it is redirected, and tcpdump sees all of it",
        pins.name()
    );
    let until = if span.is_zero() { 0 } else { monotonic_after(span)? };
    accelerated::pause(&node_pins::dir(), meta.slot, until)?;
    recorded::paused(pins, &meta, span);
    Ok(())
}
