//! One run held against the other.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    catalog,
    outcome::{Cases, Outcome, is_below},
};

/// How many cases of a group ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

/// A test, or a group of TestTraffic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) iptables: Counts,
    pub(super) sidestep: Counts,
}

/// Over all groups.
pub(super) fn all(groups: &[Group]) -> Group {
    let sum = |of: fn(&Group) -> Counts| groups.iter().map(of).fold(Counts::default(), Counts::plus);
    Group {
        name: "all".to_owned(),
        iptables: sum(|group| group.iptables),
        sidestep: sum(|group| group.sidestep),
    }
}

/// A case that ended in two ways.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) case: String,
    /// `None` where there was no such case.
    pub(super) iptables: Option<Outcome>,
    pub(super) sidestep: Option<Outcome>,
    pub(super) reason: Option<&'static str>,
}

impl Difference {
    /// It passes with iptables, or is not asked there, and with sidestep it does not.
    pub(super) fn is_worse(&self) -> bool {
        self.iptables == Some(Outcome::Passed) || catalog::is_of_plugins(&self.case)
    }
}

/// Counts by group. A case is what has no cases of its own; a test that fails by itself, and none of its cases do, counts
/// as one more.
pub(super) fn groups(iptables: &Cases, sidestep: &Cases) -> Vec<Group> {
    let mut groups: BTreeMap<&str, (Counts, Counts)> = BTreeMap::new();
    let inner = inner(iptables, sidestep);
    for name in iptables.names() {
        count(&mut groups.entry(group(name)).or_default().0, iptables, name, &inner);
    }
    for name in sidestep.names() {
        count(&mut groups.entry(group(name)).or_default().1, sidestep, name, &inner);
    }
    let groups = groups.into_iter();
    groups
        .map(|(name, (iptables, sidestep))| Group { name: name.to_owned(), iptables, sidestep })
        .filter(|group| group.iptables != Counts::default() || group.sidestep != Counts::default())
        .collect()
}

/// Cases that ended differently; of a test that did because a case of it did, only the case.
pub(super) fn differences(iptables: &Cases, sidestep: &Cases) -> Vec<Difference> {
    let names: BTreeSet<&str> = iptables.names().chain(sidestep.names()).collect();
    let differ: Vec<&str> = names
        .into_iter()
        .filter(|name| iptables.get(name) != sidestep.get(name))
        .filter(|name| !(catalog::is_of_plugins(name) && sidestep.get(name) == Some(Outcome::Passed)))
        .collect();
    differ
        .iter()
        .filter(|name| !differ.iter().any(|other| is_below(other, name)))
        .map(|name| Difference {
            case: (*name).to_owned(),
            iptables: iptables.get(name),
            sidestep: sidestep.get(name),
            reason: catalog::reason(name),
        })
        .collect()
}

/// Tests that hold other cases, in either run.
fn inner<'a>(iptables: &'a Cases, sidestep: &'a Cases) -> BTreeSet<&'a str> {
    let names = iptables.names().chain(sidestep.names());
    names.flat_map(|name| name.match_indices('/').map(|(at, _)| &name[..at])).collect()
}

fn count(counts: &mut Counts, cases: &Cases, name: &str, inner: &BTreeSet<&str>) {
    let Some(outcome) = cases.get(name) else { return };
    if inner.contains(name) {
        counts.failed += usize::from(outcome.is_failure() && !cases.fails_below(name));
        return;
    }
    match outcome {
        Outcome::Passed => counts.passed += 1,
        Outcome::Skipped => counts.skipped += 1,
        Outcome::Failed | Outcome::Unfinished => counts.failed += 1,
    }
}

/// `TestTraffic/sniffing` of a case of TestTraffic, of others the test.
fn group(name: &str) -> &str {
    let parts = if name.starts_with("TestTraffic/") { 2 } else { 1 };
    name.match_indices('/').nth(parts - 1).map_or(name, |(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(lines: &[&str]) -> Cases {
        let mut cases = Cases::default();
        lines.iter().for_each(|line| cases.line(&format!("\u{16}--- {line} (0.00s)")));
        cases
    }

    #[test]
    fn only_the_case_that_differs_is_named() {
        let iptables = cases(&[
            "PASS: TestTraffic",
            "PASS: TestTraffic/dns",
            "PASS: TestTraffic/dns/tcp",
            "FAIL: TestTraffic/host",
            "PASS: TestTproxy",
        ]);
        let sidestep = cases(&[
            "FAIL: TestTraffic",
            "FAIL: TestTraffic/dns",
            "FAIL: TestTraffic/dns/tcp",
            "PASS: TestTraffic/host",
            "PASS: TestTproxy",
        ]);
        let found = differences(&iptables, &sidestep);
        let names: Vec<_> = found.iter().map(|of| (of.case.as_str(), of.is_worse())).collect();
        assert_eq!(names, [("TestTraffic/dns/tcp", true), ("TestTraffic/host", false)]);
        let counted: Vec<_> = groups(&iptables, &sidestep)
            .iter()
            .map(|of| format!("{} {}:{}", of.name, of.iptables.passed, of.sidestep.passed))
            .collect();
        assert_eq!(counted, ["TestTproxy 1:1", "TestTraffic/dns 1:0", "TestTraffic/host 0:1"]);
    }

    #[test]
    fn a_case_that_did_not_run_differs() {
        let found = differences(&cases(&["PASS: TestTproxy"]), &Cases::default());
        assert_eq!((found.len(), found[0].sidestep, found[0].is_worse()), (1, None, true));
    }

    #[test]
    fn a_test_that_fails_by_itself_counts() {
        let both = cases(&["FAIL: TestGateway", "PASS: TestGateway/one"]);
        let groups = groups(&both, &both);
        assert_eq!(groups[0].iptables, Counts { passed: 1, failed: 1, skipped: 0 });
    }

    #[test]
    fn what_istio_init_is_not_asked_has_to_pass() {
        let iptables = cases(&["SKIP: TestCNIRaceRepair"]);
        assert_eq!(differences(&iptables, &cases(&["PASS: TestCNIRaceRepair"])), []);
        assert!(differences(&iptables, &cases(&["FAIL: TestCNIRaceRepair"]))[0].is_worse());
    }
}
