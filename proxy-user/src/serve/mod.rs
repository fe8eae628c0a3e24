//! `sidestep serve`: metrics, readiness and the node's page over HTTP. Figures are read from the pins when they are asked
//! for. What is kept meanwhile, the highest ones shown (`floors`), keeps counters from going back by a moment's difference;
//! nothing is lost with it, so that a server may come and go.

mod app;
mod floors;
pub mod metrics;
mod node;
mod paths;
mod program_log;
mod routes;
pub mod snapshot;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use self::{app::App, program_log::ProgramLog};

/// Where Istio, Kubernetes and the usual exporters listen to nothing; see docs/metrics.md.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:15095";

#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep serve\n  \
    sidestep serve --listen 0.0.0.0:15095 --program-stats\n  \
    curl http://127.0.0.1:15095/metrics")]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,

    /// Have the kernel count runs and time of BPF programs while this runs: costs a few ns a run, of all programs
    #[arg(long)]
    pub program_stats: bool,

    /// How the log is written, on standard error; RUST_LOG says what [default level: info]
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// After SIGTERM or SIGINT, how long open requests may still take
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub drain: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    /// One object a line
    Json,
}

/// Serves until SIGTERM or SIGINT. Prints the bound address (`listening http://127.0.0.1:15095`) and `ready` on stdout.
///
/// # Errors
/// When the address cannot be had or the pins cannot be read; nothing runs then.
pub async fn run(args: ServeArgs) -> Result<()> {
    // Caught from before `ready` on: whoever read that may stop us at once.
    let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
    let app = App::bind(&args).await?;
    announce(app.address()).context("print the address")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let mut log = ProgramLog::default();
    let ended = tokio::select! {
        ended = app.serve(stop, Duration::from_secs(args.drain)) => ended,
        never = log.follow() => match never {},
    };
    log.pass_on();
    ended
}

fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening http://{address}\nready")?;
    stdout.flush()
}
