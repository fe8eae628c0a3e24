//! How the observation is asked for.

use clap::Args;
use proxy_core::config::{Choice as _, Observe, setting::OBSERVE};

use super::choice;

#[derive(Args, Debug)]
#[command(next_help_heading = "Observation")]
pub(crate) struct ObservationArgs {
    #[arg(
        long = OBSERVE.flag,
        help = OBSERVE.summary(),
        env = OBSERVE.env[0],
        value_parser = choice::parser::<Observe>(),
        default_value = Observe::default().word()
    )]
    pub(crate) observe: Observe,
}
