//! How the user wants a workload to be attached.

use super::{acceleration::Acceleration, observation::Observe};
use crate::config::{Config, PodName};

#[derive(Clone, Debug)]
pub struct AttachOptions {
    pub config: Config,
    pub acceleration: Acceleration,
    pub observe: Observe,
    /// The pod that the workload is, where the caller knows it.
    pub pod: Option<PodName>,
}
