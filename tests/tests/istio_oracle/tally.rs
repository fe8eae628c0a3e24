//! Counting what came of all settings.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use tests::settings::Settings;

use crate::known::{self, KNOWN};
use crate::verdict::Outcome;

#[derive(Default)]
pub(crate) struct Tally {
    both_take: usize,
    both_refuse: usize,
    connections: BTreeMap<&'static str, usize>,
    /// By row of [`KNOWN`].
    known: BTreeMap<usize, usize>,
    faults: BTreeMap<u64, String>,
}

impl Tally {
    pub(crate) fn add(&mut self, number: u64, settings: &Settings, outcome: Result<Outcome>) {
        match outcome {
            Ok(Outcome::BothRefuse) => self.both_refuse += 1,
            Ok(Outcome::BothTake(connections)) => {
                self.both_take += 1;
                connections
                    .into_iter()
                    .for_each(|(who, count)| *self.connections.entry(who).or_default() += count);
            }
            Ok(Outcome::Differ(difference, outputs)) => match known::row(settings, difference) {
                Some(row) => *self.known.entry(row).or_default() += 1,
                None => {
                    let odd = settings.odd;
                    self.faults.insert(number, format!("{difference:?} ({odd:?})\n{settings}\n{outputs}"));
                }
            },
            Err(error) => {
                self.faults.insert(number, format!("the lab failed: {error:#}\n{settings}"));
            }
        }
    }

    /// Panics with every fault. `whole`: enough settings were tried to meet everything.
    pub(crate) fn check(&self, whole: bool, seed: u64) {
        for (number, fault) in &self.faults {
            eprintln!("=== SIDESTEP_SEED={seed} SIDESTEP_SETTING={number}: {fault}\n");
        }
        let numbers: Vec<&u64> = self.faults.keys().collect();
        assert!(numbers.is_empty(), "SIDESTEP_SEED={seed}: settings {numbers:?} differ, see above");
        if !whole {
            return;
        }
        for who in ["left alone", "outbound", "inbound", "dns"] {
            assert!(self.connections.contains_key(who), "{who}: no connection");
        }
        for (number, known) in KNOWN.iter().enumerate() {
            assert!(self.known.contains_key(&number), "no setting shows any more that {}", known.why);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { both_take, both_refuse, connections, known, faults } = self;
        writeln!(f, "both take {both_take}, both refuse {both_refuse}, known differences:")?;
        for (row, count) in known {
            writeln!(f, "  {count:5}  {:?}: {}", KNOWN[*row].difference, KNOWN[*row].why)?;
        }
        let decided: usize = connections.values().sum();
        writeln!(f, "{} unknown differences, {decided} connections decided: {connections:?}", faults.len())
    }
}
