//! The log, on standard error.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    /// One object a line
    Json,
}

/// Starts it. `RUST_LOG` says what is logged, else `default`. Records of the `log` crate come along.
pub(super) fn start(default: &str, format: LogFormat) {
    let filter = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| !text.is_empty());
    let filter = filter.map_or_else(
        || EnvFilter::new(default),
        |text| {
            EnvFilter::try_new(&text).unwrap_or_else(|error| {
                eprintln!("sidestep: RUST_LOG = {text:?}: {error}; write levels as in RUST_LOG=info");
                EnvFilter::new(default)
            })
        },
    );
    let log = fmt().with_env_filter(filter).with_writer(io::stderr);
    let _ = match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
