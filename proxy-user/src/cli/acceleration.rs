//! How the acceleration is asked for: flags, environment, and one pod annotation.

use std::path::PathBuf;

use clap::Args;
use proxy_common::accel::DEFAULT_LIMIT;
use proxy_plane::dataplane::{Accelerate, Acceleration};

/// The annotation by which a pod opts out: "false" is `--accelerate off`.
pub(crate) const ANNOTATION: &str = "sidestep.io/accelerate";

#[derive(Args, Debug)]
#[command(next_help_heading = "Acceleration")]
pub(crate) struct AccelerationArgs {
    /// Which local connections skip the TCP/IP stack
    #[arg(long, value_enum, default_value_t, env = "SIDESTEP_ACCELERATE")]
    accelerate: Accelerate,

    /// Bytes that may wait unread at a receiver before its connection goes back to the stack
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_LIMIT, env = "SIDESTEP_INFLIGHT_LIMIT")]
    inflight_limit: u32,

    /// A program that reads sockets with recv until nothing is left, beside those found safe by looking; repeatable
    #[arg(
        long = "trust-program",
        value_name = "PATH",
        env = "SIDESTEP_TRUST_PROGRAMS",
        value_delimiter = ':'
    )]
    trust_programs: Vec<PathBuf>,
}

impl AccelerationArgs {
    /// `opted_out`: the pod's annotation says no.
    pub(crate) fn resolve(&self, opted_out: bool) -> Acceleration {
        Acceleration {
            mode: if opted_out { Accelerate::Off } else { self.accelerate },
            inflight_limit: self.inflight_limit,
            trusted: self.trust_programs.clone(),
        }
    }
}
