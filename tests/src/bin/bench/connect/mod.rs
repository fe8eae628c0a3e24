//! `bench connect`: what the decision costs a blocking connect, and how that grows with the exclude list.
//!
//! Every subject is a pod with one process that connects to a listener of its own, so that nothing has to be woken.
//! They take turns of 100 connects; a turn is compared with the turn of the same round without any program.

mod cidrs;
mod report;
mod subject;

use ::tests::iptables::{self, Backend};
use ::tests::requirement::Requirement;
use anyhow::{Context, Result, bail};

use crate::case::Cpus;
use crate::machine::{self, Machine};
use crate::options::ConnectOptions;
use crate::pinning::Pinning;
use crate::progress::Progress;
use report::Report;
use subject::{Decider, Subject, Way};

const CONNECTS: usize = 100;
const LISTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];

/// False when `--check` was said and a figure is missed.
pub(crate) fn run(options: &ConnectOptions) -> Result<bool> {
    for need in [Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep] {
        if let Some(why) = need.missing() {
            bail!(why);
        }
    }
    Pinning::new(options.cpu)?.apply(Cpus::One)?;
    let progress = Progress::start();
    let mut machine = Machine::look()?;
    let mut subjects = Vec::new();
    for (decider, way) in wanted() {
        progress.note(&format!("{} {way:?}", decider.name()));
        let subject = Subject::start(decider, way);
        subjects.push(subject.with_context(|| format!("set up {} {way:?}", decider.name()))?);
    }
    progress.note(&format!("{} turns of {CONNECTS} connects", options.rounds()));
    for _ in 0..options.rounds() {
        for subject in &mut subjects {
            subject.turn(CONNECTS)?;
        }
    }
    machine.load_after = machine::load();
    let report = Report::of(machine, options.rounds(), CONNECTS, &subjects);
    report.write(&options.out)?;
    println!("{}", report.markdown());
    progress.note(&format!("written to {}", options.out.display()));
    Ok(!options.check || report.met())
}

/// Whom to compare, leaving out the iptables this machine does not have.
fn wanted() -> Vec<(Decider, Way)> {
    let mut deciders = vec![Decider::Nothing, Decider::Sidestep, Decider::SidestepAccelerated];
    for (decider, backend) in
        [(Decider::IptablesLegacy, Backend::Legacy), (Decider::IptablesNft, Backend::Nft)]
    {
        match iptables::missing(backend) {
            None => deciders.push(decider),
            Some(why) => eprintln!("bench: without {}: {why}", decider.name()),
        }
    }
    let mut all: Vec<(Decider, Way)> = deciders.iter().map(|decider| (*decider, Way::Sidecar)).collect();
    all.push((Decider::Nothing, Way::Excluded(1)));
    for count in LISTS {
        let listed = deciders.iter().filter(|decider| **decider != Decider::Nothing);
        // The list costs the accelerated the same: one pair of ends is enough.
        let listed = listed.filter(|decider| **decider != Decider::SidestepAccelerated || count == 1);
        all.extend(listed.map(|decider| (*decider, Way::Excluded(count))));
    }
    all
}
