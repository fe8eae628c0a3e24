//! The properties. `cargo test --release` tries some 560,000 connections; a debug build fewer.

use std::{collections::BTreeSet, ops::Range};

use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{FileFailurePersistence, TestRunner},
};
use proxy_common::verdict::Rule;
use proxy_core::rules;

use crate::{
    comparison::Comparison,
    connection::{Incoming, Outgoing, incoming, outgoing},
    settings::{Settings, settings},
};

const CONFIGURATIONS: u32 = if cfg!(debug_assertions) { 200 } else { 8_000 };
/// Connections tried under each, 70 on average.
const OUTGOING: Range<usize> = 1..100;
const INCOMING: Range<usize> = 1..40;

type Case = (Settings, Vec<Outgoing>, Vec<Incoming>);

fn config() -> ProptestConfig {
    const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/decision/regressions.txt");
    ProptestConfig {
        cases: CONFIGURATIONS,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..ProptestConfig::default()
    }
}

fn case() -> impl Strategy<Value = Case> {
    settings().prop_flat_map(|settings| {
        let calls = vec(outgoing(&settings), OUTGOING);
        let arrivals = vec(incoming(&settings), INCOMING);
        (Just(settings), calls, arrivals)
    })
}

/// The rules that decided.
fn agree((settings, calls, arrivals): &Case) -> Result<Vec<Rule>, TestCaseError> {
    let comparison = Comparison::new(settings);
    let about = |call: &dyn std::fmt::Debug, error| TestCaseError::fail(format!("{call:?}: {error}"));
    let calls = calls.iter().map(|call| comparison.outgoing(call).map_err(|error| about(call, error)));
    let arrivals = arrivals.iter().map(|call| comparison.incoming(call).map_err(|error| about(call, error)));
    calls.chain(arrivals).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_decision_does_what_the_rules_say(case in case()) {
        agree(&case)?;
    }

    #[test]
    fn flags_and_variables_make_the_same_configuration(settings in settings()) {
        let resolved = settings.resolved();
        prop_assert_eq!(&resolved, &settings.config);
        prop_assert_eq!(rules::render(&resolved), rules::render(&settings.config));
    }
}

/// The cases above are worth something: every row is met, but for O7, which quirk 1 makes unreachable.
#[test]
fn every_row_is_met() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..400 {
        let case = case().new_tree(&mut runner).unwrap().current();
        met.extend(agree(&case).unwrap().iter().map(|rule| rule.name()));
    }
    let all: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    let missed: Vec<&str> = all.into_iter().filter(|name| !met.contains(name)).collect();
    assert_eq!(missed, ["O7"]);
}
