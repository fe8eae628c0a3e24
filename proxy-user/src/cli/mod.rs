//! The command line: one verb per file.

mod acceleration;
mod advice;
mod attach;
mod audit;
mod bench;
mod capture;
mod choice;
mod cluster;
mod detach;
mod doctor;
mod explain;
mod explain_pid;
mod flow_log;
mod flows;
mod flows_callers;
mod flows_follow;
mod flows_print;
mod flows_stuck;
mod flows_table;
mod flows_top;
mod help;
mod history;
mod install;
mod istio_args;
mod istio_iptables;
mod log;
mod netns_cgroup;
mod observation;
mod pages;
mod pause;
mod pods;
mod port;
mod prune;
mod report;
mod report_history;
mod rules;
mod run;
mod serve;
mod settings;
mod status;
mod status_share;
mod stop;
mod uninstall;
mod verify;
mod version;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::ExitCode,
};

use anyhow::Result;
use clap::{
    Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum, error::ErrorKind,
};
use proxy_core::exit::Class;
use tracing::Level;

use self::istio_iptables::IstioIptables;
use crate::{out, relay, span, yaml};

/// Istio sidecar redirection with eBPF in place of iptables.
#[derive(Parser, Debug)]
#[command(name = "sidestep", version = version::version(), propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,

    #[command(flatten)]
    verbosity: log::Verbosity,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Redirect a workload's traffic through its sidecar; again to change the configuration
    Attach(attach::AttachArgs),
    /// Remove every program, map and pin of a workload; live connections survive
    Detach(detach::DetachArgs),
    /// Remove what is left of workloads whose network namespaces are gone
    Prune(prune::PruneArgs),
    /// Show attached workloads, their decisions and events
    Status(status::StatusArgs),
    /// Show connections, live and recent: who, where to, by which rule, how many bytes by which path
    Flows(flows::FlowsArgs),
    /// Write what is redirected, which tcpdump does not see, as pcapng, or show it; ends by itself
    Capture(capture::CaptureArgs),
    /// Redirect nothing of a workload for a while, so that tcpdump and others see all of it; ends by itself
    Pause(pause::PauseArgs),
    /// Show what was done to the workloads of this node: when, by whom, which settings changed
    History(history::HistoryArgs),
    /// Say what becomes of a connection, by which rule, and what the rule stands for
    Explain(explain::ExplainArgs),
    /// Say which servers of a pod clients outside reach, and which they should not or cannot; exit 1 if any
    Audit(audit::AuditArgs),
    /// Check end to end that a workload's traffic is redirected; exit 126 if not
    Verify(verify::VerifyArgs),
    /// Say what this machine can do for sidestep, and what to do about what it cannot; exit 0, 1 or 2
    Doctor(doctor::DoctorArgs),
    /// Write what a report of a fault needs of this node into one archive: no connection, no payload, no environment
    Report(report::ReportArgs),
    /// Print the iptables-restore text the flags stand for; nothing is applied
    Rules(rules::RulesArgs),
    /// attach, detach and validate as istio-init and istio-start.sh call it
    IstioIptables(istio_iptables::IstioIptablesArgs),
    #[command(hide = true)]
    VerifyProbe(verify::ProbeArgs),
    /// Embedded L4 sidecar for the demo and for tests without Envoy
    Relay(relay::RelayArgs),
    /// Be the agent of this node: enrol its sidecar pods, and serve metrics, readiness and a page of it
    Run(Box<run::RunArgs>),
    /// Show the pods of this node as its agent has decided: enrolled, left alone and why; exit 1 if one failed
    Pods(pods::PodsArgs),
    /// Show and check each node of a cluster, through kubectl; exit 1 if something is not as it should be
    Cluster(cluster::ClusterArgs),
    /// Take the agent's CNI plugin off this node; pods that run stay captured
    Uninstall(uninstall::UninstallArgs),
    /// Serve metrics, readiness and a page of this node over HTTP; log what the BPF programs say
    Serve(serve::ServeArgs),
    /// Measure this node: redirection and acceleration against iptables, with the embedded sidecar
    Bench(bench::BenchArgs),
    /// Print a shell's completions of this command line
    Completions(pages::CompletionsArgs),
    /// Print the manual page of a verb, or write all of them
    Man(pages::ManArgs),
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Output {
    #[default]
    /// For people: columns that fit the terminal; in a pipe tabs between them
    Table,
    Json,
    Yaml,
}

impl Output {
    /// Prints what is for programs.
    /// False: nobody reads any more.
    pub(crate) fn document(self, value: &serde_json::Value) -> Result<bool> {
        match self {
            Self::Yaml => out::json_lines(&yaml::document(value)),
            Self::Table | Self::Json => out::json_lines(&format!("{value}\n")),
        }
    }
}

/// Runs the command line. An error is said, and its class becomes the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run(args).unwrap_or_else(|error| {
        out::complain(format!("{error:#}"));
        ExitCode::from(Class::of(&error).code())
    })
}

/// The same, and an error is the caller's to say. clap's own errors are said, and exit with the usage code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let args: Vec<OsString> = args.into_iter().collect();
    let verb = if is_istio_iptables(args.first()) {
        let found = help::arrange_verb(IstioIptables::command(), false).try_get_matches_from(args);
        found
            .and_then(|found| IstioIptables::from_arg_matches(&found))
            .map(|alone| (Verb::IstioIptables(alone.args), log::Verbosity::default()))
            .inspect(|_| acting_as("istio-iptables"))
    } else {
        let found = command().try_get_matches_from(args);
        found.and_then(|found| {
            acting_as(found.subcommand_name().unwrap_or_default());
            Cli::from_arg_matches(&found).map(|cli| (cli.verb, cli.verbosity))
        })
    };
    let (verb, verbosity) = match verb {
        Ok(found) => found,
        // Help and version are not errors.
        Err(error) if !error.use_stderr() => {
            error.print().ok();
            return Ok(ExitCode::SUCCESS);
        }
        // The whole help, to who said nothing.
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print().ok();
            return Ok(ExitCode::from(Class::Usage.code()));
        }
        Err(error) => {
            let text = error.to_string();
            let mut text = text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned();
            if let Some(advice) = advice::about(&error) {
                text.push_str(&format!("\n\n  note: {advice}"));
            }
            out::complain(text);
            return Ok(ExitCode::from(Class::Usage.code()));
        }
    };
    match &verb {
        Verb::Run(args) => log::start(verbosity.level(Level::INFO), args.log_format),
        Verb::Serve(args) => log::start(verbosity.level(Level::INFO), args.log_format),
        _ => log::start_for_people(verbosity.level(Level::WARN)),
    }
    match verb {
        Verb::Attach(args) => attach::run(&args),
        Verb::Detach(args) => detach::run(&args),
        Verb::Prune(args) => prune::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Flows(args) => flows::run(&args),
        Verb::Capture(args) => capture::run(&args),
        Verb::Pause(args) => pause::run(&args),
        Verb::History(args) => history::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Audit(args) => audit::run(&args),
        Verb::Verify(args) => verify::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Report(args) => report::run(&args),
        Verb::Rules(args) => rules::run(&args),
        Verb::IstioIptables(args) => istio_iptables::run(&args),
        Verb::VerifyProbe(args) => verify::run_probe(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Pods(args) => pods::run(&args),
        Verb::Cluster(args) => cluster::run(&args),
        Verb::Uninstall(args) => uninstall::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Completions(args) => pages::completions(&args, command()),
        Verb::Man(args) => pages::man(&args, command()),
        Verb::Relay(args) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(relay::run(args)).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// What the history of a workload says of who it was.
fn acting_as(verb: &str) {
    let who = if verb == "run" { "agent" } else { verb };
    proxy_plane::history::acting_as(who, env!("SIDESTEP_COMMIT"));
}

fn command() -> Command {
    help::arrange(Cli::command())
}

/// Called by the name of what it replaces.
fn is_istio_iptables(program: Option<&OsString>) -> bool {
    program.and_then(|path| Path::new(path).file_name()) == Some(OsStr::new("istio-iptables"))
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn clap_accepts_its_own_definition() {
        Cli::command().debug_assert();
        IstioIptables::command().debug_assert();
    }

    fn help(verb: &str, long: bool) -> String {
        let mut all = command();
        let verb = all.find_subcommand_mut(verb).unwrap();
        if long { verb.render_long_help().to_string() } else { verb.render_help().to_string() }
    }

    #[test]
    fn help_shows_what_has_a_meaning_and_the_usual_first() {
        for verb in ["attach", "istio-iptables", "rules", "explain", "audit"] {
            for long in [false, true] {
                let text = help(verb, long);
                assert!(!text.contains("no-op") && !text.contains("--force-apply"), "{verb}: {text}");
                let acts = matches!(verb, "attach" | "istio-iptables");
                assert_eq!(text.contains("--cleanup-only"), acts && long, "{verb}: {text}");
                assert_eq!(text.contains("--dry-run"), acts, "{verb}: {text}");
                assert_eq!(text.contains("--istio-inbound-tproxy-mark"), long, "{verb}: {text}");
            }
            let text = help(verb, true);
            let at = |flag: &str| text.find(flag).unwrap_or_else(|| panic!("{verb} has no {flag}"));
            assert!(at("--istio-inbound-ports") < at("--inbound-tunnel-port"), "{verb}: {text}");
            assert!(at("--dual-stack") < at("--kube-virt-interfaces"), "{verb}: {text}");
        }
    }

    /// What is not shown is taken all the same.
    #[test]
    fn every_flag_of_istio_is_taken_by_each_verb() {
        for verb in ["attach", "istio-iptables", "rules"] {
            let line = [
                "sidestep",
                verb,
                "--force-apply",
                "--reconcile",
                "--cni-mode",
                "--log_as_json",
                "--cleanup-only",
            ];
            assert!(command().try_get_matches_from(line).is_ok(), "{verb}");
        }
    }

    #[test]
    fn every_verb_has_a_page_and_completions() {
        let mut all = command();
        all.build();
        for verb in all.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
            let page = pages::page(verb).unwrap();
            let name = verb.get_name();
            assert!(page.contains(&format!(".TH sidestep-{name} 1")), "{name}: {page}");
            assert!(name == "relay" || page.contains("Example"), "{name}: {page}");
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "sidestep", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["attach", "prune", "--netns", "istio-service-cidr"] {
                let word = if shell == Shell::Fish { word.trim_start_matches('-') } else { word };
                assert!(script.contains(word), "{shell} does not know {word}");
            }
        }
    }

    #[test]
    fn the_version_says_where_it_is_from() {
        let text = command().render_version();
        let rest = text.strip_prefix(concat!("sidestep ", env!("CARGO_PKG_VERSION"), " (")).unwrap();
        let layout = format!("layout {})\n", proxy_plane::dataplane::LAYOUT);
        assert!(rest.contains(env!("SIDESTEP_COMMIT")) && rest.ends_with(&layout), "{text}");
    }
}
