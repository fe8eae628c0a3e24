//! The log, on standard error.

use std::{
    fmt,
    io::{self, IsTerminal as _},
};

use clap::{ArgAction, Args, ValueEnum};
use proxy_core::harmless::harmless;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::out::{self, PREFIX};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    /// One object a line
    Json,
}

/// How much is said beside results.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Messages")]
pub(super) struct Verbosity {
    /// Also say what is done; -vv in detail
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// No warnings: results and errors only
    #[arg(long, global = true)]
    quiet: bool,
}

impl Verbosity {
    /// The level, of a verb that logs from `usual` on.
    pub(super) fn level(self, usual: Level) -> Level {
        let more = match self.verbose {
            0 => usual,
            1 => Level::INFO.max(usual),
            _ => Level::DEBUG,
        };
        if self.quiet { Level::ERROR } else { more }
    }
}

/// To standard error. Where nobody reads that any more, the lines are lost: complaining of it there would end the process.
macro_rules! to_standard_error {
    ($default:expr) => {
        tracing_subscriber::fmt()
            .with_env_filter(filter($default))
            .with_writer(io::stderr)
            .log_internal_errors(false)
    };
}

/// Starts it. `RUST_LOG` says what is logged, else `default`. Records of the `log` crate come along.
pub(super) fn start(default: Level, format: LogFormat) {
    let log = to_standard_error!(default);
    let _ = match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// Starts the log of a verb that ends soon: its lines are messages as others are.
pub(super) fn start_for_people(default: Level) {
    let log = to_standard_error!(default);
    let _ = log.event_format(Message).try_init();
}

fn filter(default: Level) -> EnvFilter {
    let filter = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| !text.is_empty());
    filter.map_or_else(
        || EnvFilter::new(default.as_str()),
        |text| {
            EnvFilter::try_new(&text).unwrap_or_else(|error| {
                out::complain(format!("RUST_LOG = {text:?}: {error}; write levels as in RUST_LOG=info"));
                EnvFilter::new(default.as_str())
            })
        },
    )
}

/// `sidestep: warning: what it is about`
struct Message;

impl<S, N> FormatEvent<S, N> for Message
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        let level = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            Level::DEBUG => "debug: ",
            Level::TRACE => "trace: ",
        };
        writeln!(to, "{PREFIX}{level}{}", harmless(&fields))
    }
}
