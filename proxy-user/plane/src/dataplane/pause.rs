//! Nothing of a workload is redirected for a while: the kernel's programs end it by their own clock.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxy_common::names::map;
use proxy_core::config::Accelerate;

use super::{
    accelerated, bpffs, layout::layout, lock::Lock, meta::Meta, node_pins, pins::WorkloadPins, recorded,
};
use crate::clock::monotonic_ns;

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
    let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let until = if span.is_zero() { 0 } else { monotonic_ns()?.saturating_add(span_ns) };
    accelerated::pause(&node_pins::dir(), meta.slot, until)?;
    recorded::paused(pins, &meta, span);
    Ok(())
}

/// What is left of a pause.
pub(super) fn left(slot: u32) -> Result<Option<Duration>> {
    let until = accelerated::paused_until(&node_pins::dir(), slot)?;
    let left = until.saturating_sub(monotonic_ns()?);
    Ok((left > 0).then(|| Duration::from_nanos(left)))
}
