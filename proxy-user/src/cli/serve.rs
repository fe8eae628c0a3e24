//! `sidestep serve`.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;

use super::{flow_log::FlowLogArgs, log::LogFormat, stop};
use crate::{
    out,
    serve::{self, DEFAULT_LISTEN, Listen},
};

#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    sidestep serve\n  \
    sidestep serve --listen 0.0.0.0:15095 --program-stats\n  \
    sidestep serve --listen unix:/run/sidestep.sock\n  \
    sidestep serve --flow-log /var/log/sidestep/flows.json\n  \
    curl http://127.0.0.1:15095/metrics")]
pub(crate) struct ServeArgs {
    /// Where to listen: ADDR:PORT, HOST:PORT, PORT alone for 127.0.0.1, or unix:/PATH; port 0 takes a free one
    #[arg(long, value_name = "WHERE", default_value = DEFAULT_LISTEN)]
    listen: Listen,

    /// Metrics and readiness here as well, and nothing else: the same forms
    #[arg(long, value_name = "WHERE")]
    listen_metrics: Option<Listen>,

    /// Name under which clients call it, besides its addresses and localhost; repeatable
    #[arg(long, value_name = "NAME")]
    host_name: Vec<String>,

    /// Have the kernel count runs and time of BPF programs while this runs: costs a few ns a run, of all programs
    #[arg(long)]
    program_stats: bool,

    /// For how many seconds bytes wait that nobody takes before a connection counts as stuck
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    stuck_after: u64,

    #[command(flatten)]
    flow_log: FlowLogArgs,

    /// How the log is written, on standard error; RUST_LOG says what [default level: info]
    #[arg(long, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,

    /// After SIGTERM or SIGINT, how long open requests may still take
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    drain: u64,
}

/// Serves until SIGTERM or SIGINT. Prints the bound address (`listening http://127.0.0.1:15095`) and `ready` on stdout.
pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode> {
    let options = serve::Options {
        listen: args.listen.clone(),
        listen_metrics: args.listen_metrics.clone(),
        hosts: args.host_name.clone(),
        program_stats: args.program_stats,
        drain: Duration::from_secs(args.drain),
        stuck_after: Duration::from_secs(args.stuck_after),
        flow_log: args.flow_log.resolve()?,
        agent: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let stop = stop::by_signal()?;
        let server = serve::bind(&options).await?;
        out::text(server.said() + "ready\n")?;
        server.run(stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}
