//! How the user wants a workload to be attached.

use proxy_common::accel::Switch;
use proxy_core::config::{Acceleration, Config, Observe, PodName};

#[derive(Clone, Debug)]
pub struct AttachOptions {
    pub config: Config,
    pub acceleration: Acceleration,
    pub observe: Observe,
    /// The pod that the workload is, where the caller knows it.
    pub pod: Option<PodName>,
}

/// The switch of a workload with this number.
pub(super) fn switch(wanted: &Acceleration, number: u32) -> Switch {
    Switch { enabled: 1, limit: wanted.inflight_limit, flags: 0, number }
}
