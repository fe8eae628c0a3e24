//! `demo`: the lo/eth0 experiment, live, under sidestep and under the real iptables rules, side by side.

mod experiment;
mod measured;
mod ports;
mod progress;
mod table;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serde_json::json;
use tests::iptables::{self, Backend};
use tests::requirement::Requirement;
use tests::sidecar::{Kind, Sidecar};
use tests::sidestep::DEFAULT_FLAGS;

use experiment::DataPlane;
use measured::Measured;
use progress::Progress;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Sidestep,
    Iptables,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Iptables {
    Legacy,
    Nft,
}

/// Who reaches a server bound to 127.0.0.1 or to the pod's address behind a sidecar, and what each end sees.
///
/// Everything happens between network namespaces that it makes and removes. Needs root.
#[derive(Debug, Parser)]
#[command(name = "demo", after_help = "Example: sudo demo --json | jq .identical")]
struct Options {
    /// Measure one data plane only, and compare with the expected table.
    #[arg(long)]
    only: Option<Only>,
    /// Which iptables loads the rules of the baseline.
    #[arg(long, value_enum, default_value_t = Iptables::Nft)]
    iptables: Iptables,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Also print every address each party saw in each of the four inbound cases.
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when everything is as it should be.
fn run(options: &Options) -> Result<bool> {
    let backend = match options.iptables {
        Iptables::Legacy => Backend::Legacy,
        Iptables::Nft => Backend::Nft,
    };
    let planes = planes(options.only, backend)?;
    let progress = Progress::start();
    let sidecar = Sidecar::available()?;
    if sidecar == Kind::Relay {
        progress.note("no Envoy here: `sidestep relay` stands in for it (`cargo xtask setup` fetches Envoy)");
    }
    let mut all = Vec::new();
    for plane in &planes {
        all.push(experiment::measure(plane, &progress).with_context(|| format!("under {}", plane.name()))?);
    }
    progress.note("done");
    let faults = faults(&all);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&as_json(sidecar, &all, &faults))?);
    } else {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print!("{}", table::render(&all, &faults, sidecar, options.verbose, colour));
    }
    Ok(faults.is_empty())
}

fn planes(only: Option<Only>, backend: Backend) -> Result<Vec<DataPlane>> {
    let mut needs = vec![Requirement::Root, Requirement::Cgroup2];
    let mut planes = Vec::new();
    if only != Some(Only::Iptables) {
        needs.push(Requirement::Sidestep);
        planes.push(DataPlane::Sidestep);
    }
    if only != Some(Only::Sidestep) {
        needs.push(Requirement::Iptables(backend));
    }
    for need in needs {
        if let Some(why) = need.missing() {
            anyhow::bail!(why);
        }
    }
    if only != Some(Only::Sidestep) {
        let ours = iptables::rules_for(&DEFAULT_FLAGS);
        let rules = ours.unwrap_or_else(|_| iptables::default_rules().to_owned());
        planes.push(DataPlane::Iptables { rules, backend });
    }
    Ok(planes)
}

/// Cells that are not what the experiment must show, and observations that differ between the data planes.
fn faults(all: &[Measured]) -> Vec<String> {
    let mut faults: Vec<String> = all.iter().flat_map(Measured::unexpected).collect();
    if let [first, rest @ ..] = all {
        faults.extend(rest.iter().flat_map(|other| first.differences(other)));
    }
    faults
}

fn as_json(sidecar: Kind, all: &[Measured], faults: &[String]) -> serde_json::Value {
    json!({
        "flags": DEFAULT_FLAGS,
        "sidecar": format!("{sidecar:?}").to_lowercase(),
        "measured": all,
        "compared": all.len() > 1,
        "identical": faults.is_empty(),
        "faults": faults,
    })
}
