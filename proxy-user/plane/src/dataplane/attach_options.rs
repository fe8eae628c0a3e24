//! How the user wants a workload to be attached.

use std::path::PathBuf;

use clap::ValueEnum;
use proxy_common::accel::{DEFAULT_LIMIT, Switch, switch_flag};
use proxy_core::config::{Config, PodName};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug)]
pub struct AttachOptions {
    pub config: Config,
    pub acceleration: Acceleration,
    pub observe: Observe,
    /// The pod that the workload is, where the caller knows it.
    pub pod: Option<PodName>,
}

/// Whether connections are recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Observe {
    /// Each connection is recorded; without records where the kernel does not allow it
    #[default]
    On,
    /// Nothing is recorded
    Off,
}

/// Which connections are accelerated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Accelerate {
    /// Event loops (O_NONBLOCK) whose program is known to read what it is sent; without it where the kernel is not safe
    #[default]
    Strict,
    /// Every reader: a blocking recv may return early, splice(2) and on some kernels FIONREAD do not see all data
    Auto,
    /// Redirection only
    Off,
    /// As strict, but fail where the kernel is not safe
    Require,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acceleration {
    pub mode: Accelerate,
    /// Bytes a receiver may have waiting.
    pub inflight_limit: u32,
    /// Programs the user vouches for: they read sockets with recv until nothing is left, whatever their code could.
    #[serde(default)]
    pub trusted: Vec<PathBuf>,
}

impl Default for Acceleration {
    fn default() -> Self {
        Self { mode: Accelerate::default(), inflight_limit: DEFAULT_LIMIT, trusted: Vec::new() }
    }
}

impl Acceleration {
    /// The switch of a workload with this number.
    pub(super) fn switch(&self, number: u32) -> Switch {
        let any = if self.mode == Accelerate::Auto { switch_flag::ANY_READER } else { 0 };
        Switch { enabled: 1, limit: self.inflight_limit, flags: any, number }
    }
}
