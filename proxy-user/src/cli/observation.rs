//! How the observation is asked for.

use clap::Args;
use proxy_plane::dataplane::Observe;

#[derive(Args, Debug)]
#[command(next_help_heading = "Observation")]
pub(crate) struct ObservationArgs {
    /// Whether connections are recorded for `sidestep flows` and the metrics
    #[arg(long, value_enum, default_value_t, env = "SIDESTEP_OBSERVE")]
    pub(crate) observe: Observe,
}
