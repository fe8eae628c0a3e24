//! A case: one question for both ways, and the answer they give.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::turn;
use super::way::Way;
use super::world::{Part, World};
use crate::requirement::{Requirement, met};

/// Proxies learn of pods a moment after these are ready: until then an answer may be another one.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(700);

/// How a case is tried.
#[derive(Clone, Copy)]
pub enum How {
    /// `app ask` in a pod, with these URLs; `{pod server}` stands for an address.
    Ask(&'static str, &'static [&'static str]),
    /// Anything else; what it returns is compared.
    Do(fn(&World, Way) -> Result<Vec<String>>),
}

/// What is expected.
#[derive(Clone, Copy)]
pub enum Answer {
    Same(&'static [&'static str]),
    /// A difference, and why it is none of ours to mend.
    Differs {
        iptables: &'static [&'static str],
        sidestep: &'static [&'static str],
        why: &'static str,
    },
}

impl Answer {
    pub const fn of(&self, way: Way) -> &'static [&'static str] {
        match (self, way) {
            (Self::Same(lines), _) => lines,
            (Self::Differs { iptables, .. }, Way::Iptables) => iptables,
            (Self::Differs { sidestep, .. }, Way::Sidestep) => sidestep,
        }
    }
}

/// One row of docs/cluster-tests.md.
#[derive(Clone, Copy)]
pub struct Case {
    pub part: Part,
    pub name: &'static str,
    /// What happens, for people.
    pub what: &'static str,
    pub how: How,
    pub answer: Answer,
}

/// Tries the case under both ways at once.
///
/// # Panics
/// When an answer is not the expected one; with both.
pub fn check(case: &Case) {
    if !met(&[Requirement::Cluster]) {
        return;
    }
    let _turn = turn::shared();
    let world = World::of(case.part).unwrap_or_else(|error| panic!("{error:#}"));
    let answers = thread::scope(|scope| {
        Way::ALL
            .map(|way| scope.spawn(move || (way, settled(case, world, way))))
            .map(|asking| asking.join().unwrap())
    });
    let mut wrong = false;
    for (way, (lines, tries)) in &answers {
        let expected = case.answer.of(*way);
        let right = lines.iter().map(String::as_str).eq(expected.iter().copied());
        wrong |= !right;
        println!(
            "{} {way:?} (asked {tries} times): {}",
            case.name,
            if right { "as expected" } else { "OTHER" }
        );
        for line in lines {
            println!("    {line}");
        }
    }
    let same = answers[0].1.0 == answers[1].1.0;
    assert!(
        !wrong,
        "{}: not what is expected ({} under both ways); expected {:#?}",
        case.name,
        if same { "the same" } else { "NOT the same" },
        case.answer.of(Way::Iptables)
    );
}

/// The answer, once it is the expected one, or what it was at last.
fn settled(case: &Case, world: &World, way: Way) -> (Vec<String>, u32) {
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        let lines = answer(case, world, way).unwrap_or_else(|error| vec![format!("failed: {error:#}")]);
        let right = lines.iter().map(String::as_str).eq(case.answer.of(way).iter().copied());
        // What is done once is not done again.
        if right || matches!(case.how, How::Do(_)) || begun.elapsed() > SETTLED_WITHIN {
            return (lines, tries);
        }
        thread::sleep(ASK_AGAIN);
    }
}

fn answer(case: &Case, world: &World, way: Way) -> Result<Vec<String>> {
    let words = world.words(way);
    let lines = match case.how {
        How::Ask(pod, questions) => ask(world, way, pod, questions)?,
        How::Do(work) => work(world, way)?,
    };
    Ok(lines.iter().map(|line| words.plain(line)).collect())
}

/// The answers of `app ask` in a pod.
pub fn ask(world: &World, way: Way, pod: &str, questions: &[&str]) -> Result<Vec<String>> {
    let words = world.words(way);
    let questions = questions.iter().map(|question| words.fill(question)).collect::<Result<Vec<_>>>()?;
    let mut program = vec!["/bin/app", "ask"];
    program.extend(questions.iter().map(String::as_str));
    let text = world.cluster.exec(&world.place(way, pod), &program).context("ask")?;
    Ok(text.lines().map(str::to_owned).collect())
}
