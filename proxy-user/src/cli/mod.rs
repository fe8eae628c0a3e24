//! The command line: one verb per file.

mod acceleration;
mod advice;
mod attach;
mod audit;
mod bench;
mod choice;
mod detach;
mod doctor;
mod explain;
mod flows;
mod flows_table;
mod flows_top;
mod install;
mod istio_args;
mod istio_iptables;
mod log;
mod observation;
mod place;
mod rules;
mod serve;
mod settings;
mod status;
mod status_share;
mod verify;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use proxy_core::exit::Class;

use self::{istio_iptables::IstioIptables, log::LogFormat};
use crate::relay;

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
    /// Show connections, live and recent: who, where to, by which rule, how many bytes by which path
    Flows(flows::FlowsArgs),
    /// Say what becomes of a connection, by which rule, and what the rule stands for
    Explain(explain::ExplainArgs),
    /// Say which servers of a pod clients outside reach, and which they should not or cannot; exit 1 if any
    Audit(audit::AuditArgs),
    /// Check end to end that a workload's traffic is redirected; exit 126 if not
    Verify(verify::VerifyArgs),
    /// Say what this machine can do for sidestep, and what to do about what it cannot; exit 0, 1 or 2
    Doctor(doctor::DoctorArgs),
    /// Print the iptables-restore text the flags stand for; nothing is applied
    Rules(rules::RulesArgs),
    /// attach, detach and validate as istio-init and istio-start.sh call it
    IstioIptables(istio_iptables::IstioIptablesArgs),
    #[command(hide = true)]
    VerifyProbe(verify::ProbeArgs),
    /// Embedded L4 sidecar for the demo and for tests without Envoy
    Relay(relay::RelayArgs),
    /// Serve metrics, readiness and a page of this node over HTTP; log what the BPF programs say
    Serve(serve::ServeArgs),
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
    let args: Vec<OsString> = args.into_iter().collect();
    let verb = if is_istio_iptables(args.first()) {
        IstioIptables::try_parse_from(args).map(|alone| Verb::IstioIptables(alone.args))
    } else {
        Cli::try_parse_from(args).map(|cli| cli.verb)
    };
    let verb = match verb {
        Ok(verb) => verb,
        Err(error) => {
            error.print().ok();
            if let Some(advice) = advice::about(&error) {
                eprintln!("\n  note: {advice}");
            }
            // Help and version are not errors.
            return Ok(ExitCode::from(if error.use_stderr() { Class::Usage.code() } else { 0 }));
        }
    };
    match &verb {
        Verb::Serve(args) => log::start("info", args.log_format),
        _ => log::start("warn", LogFormat::Text),
    }
    match verb {
        Verb::Attach(args) => attach::run(&args),
        Verb::Detach(args) => detach::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Flows(args) => flows::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Audit(args) => audit::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Rules(args) => rules::run(&args),
        Verb::IstioIptables(args) => istio_iptables::run(&args),
        Verb::VerifyProbe(args) => verify::run_probe(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Relay(args) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(relay::run(args)).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// Called by the name of what it replaces.
fn is_istio_iptables(program: Option<&OsString>) -> bool {
    program.and_then(|path| Path::new(path).file_name()) == Some(OsStr::new("istio-iptables"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn clap_accepts_its_own_definition() {
        Cli::command().debug_assert();
        IstioIptables::command().debug_assert();
    }
}
