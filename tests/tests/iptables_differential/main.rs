//! Random settings under real iptables and under sidestep, in two pods of the same network: the same sample of
//! connections has to find the same listener, show the same peers and tell the same original destination.
//!
//! The rules are those the real istio-iptables makes, where it is there; else those `sidestep rules` prints, which the
//! test `istio_oracle` proves equal.
//!
//! `SIDESTEP_SEED=<number>` makes other settings, or those of a failed run; `SIDESTEP_RULE_SETS=<number>` more of them.

mod attempts;
mod rule_set;
mod testbed;
mod undecided;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result};
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tests::iptables::Backend;
use tests::requirement::{Requirement, met};
use tests::sample::{Attempt, Observed, observe};
use tests::scale::full_or;

use crate::rule_set::RuleSet;
use crate::testbed::Testbed;

const SEED: u64 = 1;
/// Connections tried under each.
const ATTEMPTS: usize = 160;

#[test]
fn sidestep_does_what_iptables_does() {
    let needs =
        [Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep, Requirement::Iptables(Backend::Nft)];
    if !met(&needs) {
        return;
    }
    let seed = number("SIDESTEP_SEED").unwrap_or(SEED);
    let count = number("SIDESTEP_RULE_SETS").unwrap_or_else(|| full_or(8, 28));
    eprintln!("{count} rule sets from SIDESTEP_SEED={seed}");
    let started = Instant::now();
    let mut runner = runner(seed);
    let (mut tally, mut report) = (BTreeMap::<String, usize>::new(), String::new());
    for index in 0..count {
        let set = pick(&mut runner, rule_set::rule_sets(index));
        let inside = pick(&mut runner, proptest::collection::vec(attempts::inside(&set), ATTEMPTS));
        let outside = pick(&mut runner, proptest::collection::vec(attempts::outside(&set), ATTEMPTS / 4));
        let began = Instant::now();
        let found = differences(&set, &inside, &outside).unwrap_or_else(|error| panic!("{set}: {error:#}"));
        eprintln!("rule set {index}: {} connections in {:?}", found.accepted_by.len(), began.elapsed());
        found.accepted_by.into_iter().for_each(|who| *tally.entry(who).or_default() += 1);
        if !found.lines.is_empty() {
            let _ = writeln!(report, "rule set {index}: {set}\n  {}", found.lines.join("\n  "));
        }
    }
    let compared: usize = tally.values().sum();
    eprintln!("{count} rule sets, {compared} connections compared in {:?}: {tally:?}", started.elapsed());
    for (_, reason) in undecided::REASONS {
        eprintln!("not compared: {reason}");
    }
    for who in ["app", "ext", "sidecar:15001", "sidecar:15006", "agent:15053"] {
        assert!(tally.contains_key(who), "{who} got no connection: {tally:?}");
    }
    assert!(report.is_empty(), "SIDESTEP_SEED={seed}\n{report}");
}

struct Found {
    /// Who got each connection under iptables, or the error.
    accepted_by: Vec<String>,
    lines: Vec<String>,
}

/// Runs one rule set on both testbeds.
fn differences(set: &RuleSet, inside: &[Attempt], outside: &[Attempt]) -> Result<Found> {
    let (expected, actual) = std::thread::scope(|scope| {
        let iptables = scope.spawn(|| judged(Testbed::under_iptables(set)?, inside, outside));
        let sidestep = Testbed::under_sidestep(set).and_then(|testbed| judged(testbed, inside, outside));
        (iptables.join().expect("the iptables side panicked"), sidestep)
    });
    let (expected, actual) = (expected.context("under iptables")?, actual.context("under sidestep")?);
    let mut found = Found { accepted_by: Vec::new(), lines: Vec::new() };
    for (index, attempt) in inside.iter().chain(outside).enumerate() {
        let from_inside = index < inside.len();
        if undecided::applies(set, attempt, from_inside) {
            continue;
        }
        found.accepted_by.push(accepted_by(&expected[index]));
        let [expected, actual] =
            [&expected[index], &actual[index]].map(|seen| comparable(set, attempt, seen));
        if expected != actual {
            let from = if from_inside { "inside" } else { "outside" };
            let attempt = serde_json::to_string(attempt)?;
            found.lines.push(format!("{from} {attempt}\n    iptables {expected}\n    sidestep {actual}"));
        }
    }
    Ok(found)
}

fn judged(testbed: Testbed, inside: &[Attempt], outside: &[Attempt]) -> Result<Vec<Observed>> {
    let mut observed = observe(testbed.pod(), inside)?;
    observed.extend(observe(testbed.outside(), outside)?);
    Ok(observed)
}

/// What a caller of the socket API can see, without ports of the kernel's choice. The accepted socket's own address
/// differs by design: nothing rewrites packets.
fn comparable(set: &RuleSet, attempt: &Attempt, observed: &Observed) -> String {
    let Observed { answer, sockname, peername, reply_from, error } = observed;
    let mut text = match (answer, error) {
        (Some(answer), _) => answer.who.clone(),
        (None, error) => error.clone().unwrap_or_default(),
    };
    if let Some(answer) = answer {
        if !undecided::peer(attempt, &answer.who) {
            let _ = write!(text, " sees {}", answer.peer.ip());
        }
        if let Some(original) = answer.original_dst
            && is_sidecar(&answer.who)
            && !undecided::original_dst(set, attempt)
        {
            let _ = write!(text, " original {:?}/{:?}", original.address, original.length);
        }
    }
    let _ = write!(text, " sockname {sockname:?} peername {peername:?} reply {reply_from:?}");
    text
}

/// The listener, for the application and the outside without its port.
fn accepted_by(observed: &Observed) -> String {
    match (&observed.answer, &observed.error) {
        (Some(answer), _) if is_sidecar(&answer.who) => answer.who.clone(),
        (Some(answer), _) => answer.who.split(':').next().unwrap_or_default().to_owned(),
        (None, error) => error.clone().unwrap_or_default(),
    }
}

fn is_sidecar(who: &str) -> bool {
    who.starts_with("sidecar:") || who.starts_with("agent:")
}

fn pick<S: Strategy>(runner: &mut TestRunner, strategy: S) -> S::Value {
    strategy.new_tree(runner).expect("a value").current()
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
