//! `cargo xtask cluster suite`: Istio's own integration tests, under istio-init and under sidestep. What passes with
//! iptables has to pass with sidestep.

mod build;
mod catalog;
mod compare;
mod install;
mod outcome;
mod page;
mod race;
mod report;
mod run;
mod versions;

use std::{env, fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use self::{
    build::Built,
    outcome::{Cases, Outcome},
    report::Report,
};
use super::{
    binaries, down, interrupt,
    record::{Home, write},
    up,
};
use crate::{build as release, step, workspace::Workspace};

#[derive(clap::Args)]
#[group(skip)]
#[command(after_help = "Examples:\n  cargo xtask cluster suite\n  \
    cargo xtask cluster suite --run 'TestTraffic/sniffing|TestTproxy'\n  \
    cargo xtask cluster suite --run TestUserNamespace --add")]
pub(crate) struct Args {
    /// The tests, as `go test -run` has them [default: all that this cluster can run]
    #[arg(long, value_name = "REGEX")]
    run: Option<String>,
    /// Add to the last result, which is of the same versions, instead of replacing it
    #[arg(long)]
    add: bool,
    /// Under this one alone: nothing is compared, unless --add finds the other's result
    #[arg(long, value_enum)]
    only: Option<Way>,
    /// Pods and services have IPv6 addresses as well, and IPv6 is captured
    #[arg(long)]
    dual_stack: bool,
    /// The sidestep that runs, with sidestep-cni beside it [default: that of the release build]
    #[arg(long, value_name = "PATH")]
    sidestep: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// istio-init
    Iptables,
    /// sidestep's DaemonSet, by Helm
    Sidestep,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Sidestep => "sidestep",
        }
    }
}

/// The whole takes an hour on two processors that have nothing else to do.
const HOURS: u64 = 8;

/// The cluster of `--name`, but not the one people try things in.
pub(crate) fn home(workspace: &Workspace, name: &str) -> Result<Home> {
    Home::new(workspace, if name == "lab" { "suite" } else { name })
}

pub(crate) fn run(workspace: &Workspace, home: &Home, args: &Args) -> Result<()> {
    let begun = Instant::now();
    if args.sidestep.is_none() {
        release::binaries(workspace)?;
    }
    let bin = binaries::ensure(workspace)?;
    let built = build::ensure(workspace, &bin)?;
    catalog::check(&built.module)?;
    interrupt::watch()?;
    let regex = args.run.clone().unwrap_or_else(catalog::regex);
    let mut report = Report { run: regex, dual_stack: args.dual_stack, ..Report::default() };
    let file = beside(home, "json");
    let earlier = args.add.then(|| Report::read(&file)).transpose()?;
    if let Some(earlier) = earlier.as_ref().filter(|_| args.only == Some(Way::Sidestep)) {
        report.iptables = earlier.iptables.clone();
    }
    for way in [Way::Iptables, Way::Sidestep] {
        if args.only.is_none_or(|only| only == way) {
            under(workspace, home, args, &built, way, &mut report)?;
        }
    }
    report.versions = versions::read(workspace, &built, args.sidestep.as_deref())?;
    if let Some(earlier) = earlier {
        report = earlier.and(report)?;
    }
    if env::var_os("SIDESTEP_UPDATE_DOCS").is_some() {
        page::update(workspace, &report)?;
    }
    let text = serde_json::to_string_pretty(&report).context("write the result")?;
    write(&file, &format!("{text}\n"))?;
    println!("{}", report.table());
    step::say("Finished", format!("in {:.0} s; {}", begun.elapsed().as_secs_f64(), file.display()));
    let unexplained = if args.only.is_some() && !args.add { Vec::new() } else { report.unexplained() };
    ensure!(
        unexplained.is_empty(),
        "{} case(s) pass with iptables and not with sidestep, and catalog.rs does not say why",
        unexplained.len()
    );
    Ok(())
}

/// `target/cluster/suite.*`: no cluster can have such a name, and `down` removes what is in the cluster's directory.
fn beside(home: &Home, what: &str) -> PathBuf {
    home.dir.with_extension(what)
}

/// Up, Istio, the tests, down: also when they fail.
fn under(
    workspace: &Workspace,
    home: &Home,
    args: &Args,
    built: &Built,
    way: Way,
    report: &mut Report,
) -> Result<()> {
    let plugin = if way == Way::Iptables { up::Plugin::None } else { up::Plugin::Daemonset };
    let capture =
        up::Capture { plugin, sidestep: args.sidestep.clone(), attach_flags: String::new(), hours: HOURS };
    up::run(workspace, home, &up::Args { nodes: 1, dual_stack: args.dual_stack, capture })?;
    let outcome = tests(home, built, way, report);
    down::run(home)?;
    outcome
}

fn tests(home: &Home, built: &Built, way: Way, report: &mut Report) -> Result<()> {
    let cluster = home.read()?;
    install::images(&cluster, built)?;
    install::istio(&cluster, built, way == Way::Iptables)?;
    let ask = |regex: &str, turn: &str, more: &[&str]| -> Result<Cases> {
        let begun = Instant::now();
        let name = format!("{}{turn}", way.name());
        let (log, work) = (beside(home, &format!("{name}.log")), beside(home, &name));
        let _ = fs::remove_dir_all(&work);
        step::say("Testing", format!("{name}: {regex}"));
        let cases = run::run(&cluster, built, regex, more, &run::Traces { log: &log, work: &work })?;
        let [passed, failed] = [Outcome::Passed, Outcome::Failed].map(|of| cases.count(of));
        let took = begun.elapsed().as_secs_f64();
        step::say(
            "Tested",
            format!("{name}: {passed} passed, {failed} failed in {took:.0} s; {}", log.display()),
        );
        Ok(cases)
    };
    let cases = ask(&report.run, "", &[])?;
    if way == Way::Iptables {
        report.iptables = cases;
        return Ok(());
    }
    report.sidestep = cases;
    // On a busy machine a case fails now and then, under both.
    let worse = report.unexplained();
    let worse: Vec<&str> =
        worse.iter().filter(|of| of.sidestep.is_some()).map(|of| of.case.as_str()).collect();
    if !worse.is_empty() {
        let newer = ask(&outcome::exactly(&worse), ".again", &[])?;
        report.sidestep.ask_again(&newer, &worse);
        let passed = worse.iter().filter(|case| newer.get(case) == Some(Outcome::Passed));
        report.again = passed.map(|case| (*case).to_owned()).collect();
    }
    if report.sidestep.get(race::TEST).is_some() {
        race::rename(&cluster)?;
        report.sidestep.add(ask(&format!("^{}$", race::TEST), ".race", &[race::FLAG])?);
    }
    Ok(())
}
