//! `bench`: sidestep against iptables and against no sidecar, with real Envoy, nginx, wrk and h2load. `sidestep bench` is
//! another one, and `proxy-user/src/bench/mod.rs` says why.

mod agent;
mod app;
mod background;
mod case;
mod client;
mod connect;
mod cpu;
mod enroll;
mod evidence;
mod figures;
mod files;
mod h2load;
mod hook;
mod machine;
mod markdown;
mod measured;
mod mesh;
mod mode;
mod nginx;
mod options;
mod own_bpffs;
mod pinning;
mod plane;
mod progress;
mod rounds;
mod sidecar;
mod spread;
mod stage;
mod summary;
mod svg;
mod turnarounds;
mod wrk;

use std::process::ExitCode;

use ::tests::requirement::Requirement;
use anyhow::{Result, bail, ensure};
use clap::Parser;

use background::Background;
use case::Case;
use figures::{Judged, Verdict};
use machine::Machine;
use measured::Measured;
use mode::Mode;
use options::{Cli, Options, What};
use pinning::Pinning;
use progress::Progress;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.what {
        Some(What::Agent(options)) => agent::run(options),
        Some(What::Connect(options)) => connect::run(options),
        Some(What::Enroll(options)) => enroll::run(options),
        Some(What::Mesh(options)) => mesh::run(options),
        Some(What::Turnarounds(options)) => turnarounds::run(options),
        None => run(&cli.options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False when `--check` was said and a figure is missed.
fn run(options: &Options) -> Result<bool> {
    let cases = rounds::chosen(&options.only, options.apps);
    ensure!(!cases.is_empty(), "no case is called {:?}; there are {}", options.only, names(case::CASES));
    let modes = modes(options)?;
    own_bpffs::mount_over()?;
    let pinning = Pinning::new(options.cpu)?;
    let progress = Progress::start();
    let mut machine = Machine::look()?;
    progress.note(&format!("load average {}", machine.load_before));
    let _looking = modes.contains(&Mode::SidestepInstalled).then(Background::looks).transpose()?;
    let measured = rounds::measure(&cases, &modes, &pinning, options, &progress)?;
    machine.load_after = machine::load();
    let measured = Measured {
        schema: 1,
        machine,
        rounds: options.rounds(),
        seconds: options.seconds(),
        accelerate: options.accelerate.clone(),
        baseline: mode::baseline(&modes),
        cases: measured,
    };
    let judged = figures::judge(&measured);
    write(options, &measured, &judged)?;
    println!("{}", markdown::render(&measured, &judged));
    progress.note(&format!("written to {}", options.out.display()));
    Ok(!options.check || judged.iter().all(|figure| figure.verdict != Verdict::Miss))
}

fn write(options: &Options, measured: &Measured, judged: &[Judged]) -> Result<()> {
    let json = serde_json::json!({ "measured": measured, "figures": judged });
    let json = serde_json::to_string_pretty(&json)?;
    let (table, chart) = (markdown::render(measured, judged), svg::bars(measured));
    files::write(&options.out, [("bench.json", json), ("bench.md", table), ("bench.svg", chart)])
}

/// The modes that were asked for, or all this machine has. One that was asked for has to be there.
fn modes(options: &Options) -> Result<Vec<Mode>> {
    for need in [
        Requirement::Root,
        Requirement::Cgroup2,
        Requirement::Envoy,
        Requirement::Sidestep,
        Requirement::Program("nginx", "nginx-light"),
        Requirement::Program("wrk", "wrk"),
        Requirement::Program("h2load", "nghttp2-client"),
    ] {
        if let Some(why) = need.missing() {
            bail!(why);
        }
    }
    let asked = !options.modes.is_empty();
    let vouched = options.modes.iter().any(|mode| mode.is_vouched());
    if vouched && options.modes.iter().any(|mode| mode.is_unknown()) {
        bail!(
            "who is vouched for is so on the whole node: measure sidestep-installed and sidestep-sends without sidestep"
        );
    }
    let wanted = match (asked, options.apps) {
        (true, _) => options.modes.clone(),
        (false, true) => Mode::OF_APPS.to_vec(),
        (false, false) => Mode::USUAL.to_vec(),
    };
    let mut modes = Vec::new();
    for mode in wanted {
        match mode.requirement().and_then(Requirement::missing) {
            None => modes.push(mode),
            Some(why) if asked => bail!("{}: {why}", mode.name()),
            Some(why) => eprintln!("bench: without {}: {why}", mode.name()),
        }
    }
    Ok(modes)
}

fn names(cases: &[Case]) -> String {
    cases.iter().map(|case| case.name).collect::<Vec<_>>().join(", ")
}
