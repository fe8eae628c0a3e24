//! How the acceleration is asked for: flags, environment, and one pod annotation.

use std::path::PathBuf;

use clap::Args;
use proxy_common::accel::DEFAULT_LIMIT;
use proxy_core::config::{
    Accelerate, Acceleration, Choice as _,
    setting::{ACCELERATE, INFLIGHT_LIMIT, TRUST_PROGRAM},
};

use super::choice;

#[derive(Args, Debug)]
#[command(next_help_heading = "Acceleration")]
pub(crate) struct AccelerationArgs {
    #[arg(
        long = ACCELERATE.flag,
        help = ACCELERATE.summary(),
        env = ACCELERATE.env[0],
        value_parser = choice::parser::<Accelerate>(),
        default_value = Accelerate::default().word()
    )]
    accelerate: Accelerate,

    #[arg(
        long = INFLIGHT_LIMIT.flag,
        help = INFLIGHT_LIMIT.summary(),
        env = INFLIGHT_LIMIT.env[0],
        value_name = INFLIGHT_LIMIT.value_name,
        default_value_t = DEFAULT_LIMIT
    )]
    inflight_limit: u32,

    #[arg(
        long = TRUST_PROGRAM.flag,
        help = TRUST_PROGRAM.summary(),
        env = TRUST_PROGRAM.env[0],
        value_name = TRUST_PROGRAM.value_name,
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
