//! The kernel's monotonic times as wall-clock times.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

/// Now, as the programs see it.
pub(crate) fn monotonic_ns() -> Result<u64> {
    ns(ClockId::CLOCK_MONOTONIC)
}

/// So long from now.
pub(crate) fn monotonic_after(span: Duration) -> Result<u64> {
    Ok(monotonic_ns()?.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
}

fn ns(clock: ClockId) -> Result<u64> {
    let time = clock_gettime(clock).context("read the clock")?;
    u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).context("the clock is before 1970")
}

/// How far the two clocks are apart now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    offset_ns: i128,
}

impl Clock {
    pub(crate) fn now() -> Result<Self> {
        Ok(Self { offset_ns: i128::from(ns(ClockId::CLOCK_REALTIME)?) - i128::from(monotonic_ns()?) })
    }

    /// Microseconds since the epoch; none of 0, which stands for never.
    pub(crate) fn wall_us(self, monotonic_ns: u64) -> Option<u64> {
        if monotonic_ns == 0 {
            return None;
        }
        u64::try_from((i128::from(monotonic_ns) + self.offset_ns) / 1000).ok()
    }
}
