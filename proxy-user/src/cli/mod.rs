//! The command line: one verb per file.

mod attach;
mod detach;
mod place;
mod rules;
mod status;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::{bench, exit::Class, relay};

/// Istio sidecar redirection with eBPF in place of iptables.
#[derive(Parser, Debug)]
#[command(name = "sidestep", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Redirect a workload's traffic through its sidecar; again to change the configuration
    Attach(attach::AttachArgs),
    /// Remove every program, map and pin of a workload; live connections survive
    Detach(detach::DetachArgs),
    /// Show attached workloads, their decisions and events
    Status(status::StatusArgs),
    /// Print the iptables-restore text the flags stand for; nothing is applied
    Rules(rules::RulesArgs),
    /// Embedded L4 sidecar for the demo and for tests without Envoy
    Relay(relay::RelayArgs),
    /// Measure this node: redirection and acceleration against iptables, with the embedded sidecar
    Bench(bench::BenchArgs),
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Output {
    #[default]
    Table,
    Json,
}

/// Runs the command line. clap's own errors exit with the usage code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok();
            // Help and version are not errors.
            return Ok(ExitCode::from(if error.use_stderr() { Class::Usage.code() } else { 0 }));
        }
    };
    log();
    match cli.verb {
        Verb::Attach(args) => attach::run(&args),
        Verb::Detach(args) => detach::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Rules(args) => rules::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Relay(args) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(relay::run(args)).map(|()| ExitCode::SUCCESS)
        }
    }
}

fn log() {
    use tracing_subscriber::{EnvFilter, fmt};
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let _ = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).try_init();
}
