//! The result: a table to look at, a file for programs, a part of the documentation.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    compare::{Counts, Difference, all, differences, groups},
    outcome::{Cases, Outcome},
};

/// What ran where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Versions {
    pub(super) date: String,
    pub(super) kernel: String,
    pub(super) kubernetes: String,
    /// The module's: Istio publishes no tag of it.
    pub(super) istio: String,
    pub(super) envoy: String,
    pub(super) sidestep: String,
}

/// `target/cluster/suite.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) versions: Versions,
    /// What was asked for, as `go test -run` has it.
    pub(super) run: String,
    pub(super) dual_stack: bool,
    pub(super) iptables: Cases,
    pub(super) sidestep: Cases,
    /// Cases that failed with sidestep alone, and passed when they were asked again.
    pub(super) again: Vec<String>,
}

impl Report {
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file)
            .with_context(|| format!("read {}: there is no result to add to", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))
    }

    /// This result and that of another part of the tests, of the same versions.
    pub(super) fn and(mut self, newer: Self) -> Result<Self> {
        let mut before = self.versions.clone();
        before.date.clone_from(&newer.versions.date);
        if self.sidestep.is_empty() {
            // It had no part in it.
            before.sidestep.clone_from(&newer.versions.sidestep);
        }
        ensure!(
            before == newer.versions && self.dual_stack == newer.dual_stack,
            "the last result is of other versions, and nothing can be added to it"
        );
        self.versions = newer.versions;
        if self.run != newer.run {
            self.run = format!("{}|{}", self.run, newer.run);
        }
        self.iptables.add(newer.iptables);
        self.sidestep.add(newer.sidestep);
        self.again.extend(newer.again);
        Ok(self)
    }

    pub(super) fn table(&self) -> String {
        let groups = groups(&self.iptables, &self.sidestep);
        let width = groups.iter().map(|group| group.name.len()).max().unwrap_or_default();
        let mut text =
            format!("{:width$}  {:>21}  {:>21}\n{:width$}  {HEAD}  {HEAD}\n", "", "iptables", "sidestep", "");
        for group in groups.iter().chain([&all(&groups)]) {
            let _ = writeln!(
                text,
                "{:width$}  {}  {}",
                group.name,
                columns(group.iptables),
                columns(group.sidestep)
            );
        }
        let differ = differences(&self.iptables, &self.sidestep);
        if differ.is_empty() {
            text.push_str("\nevery case ended the same\n");
        }
        for of in &differ {
            let why = of.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let _ = writeln!(text, "\n{}\n    {}{why}", of.case, both(of));
        }
        for case in &self.again {
            let _ = writeln!(text, "\n{case}\n    failed with sidestep, and passed when asked again");
        }
        text
    }

    /// What passes with iptables and not with sidestep, and nobody has said why.
    pub(super) fn unexplained(&self) -> Vec<Difference> {
        let differ = differences(&self.iptables, &self.sidestep).into_iter();
        differ.filter(|of| of.is_worse() && of.reason.is_none()).collect()
    }
}

const HEAD: &str = "pass  fail  skip     ";

fn columns(counts: Counts) -> String {
    format!("{:>4}  {:>4}  {:>4}     ", counts.passed, counts.failed, counts.skipped)
}

pub(super) fn both(of: &Difference) -> String {
    let word = |outcome: Option<Outcome>| outcome.map_or("not run", Outcome::word);
    format!("iptables: {}, sidestep: {}", word(of.iptables), word(of.sidestep))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_a_whole_if_they_are_of_the_same_versions() {
        let of = |line: &str, kernel: &str| {
            let mut report = Report { run: line[11..16].to_owned(), ..Report::default() };
            report.versions.kernel = kernel.to_owned();
            report.iptables.line(line);
            report.sidestep.line(line);
            report
        };
        let one = of("\u{16}--- PASS: TestA (0.00s)", "6.18");
        let whole = one.clone().and(of("\u{16}--- FAIL: TestB (0.00s)", "6.18")).unwrap();
        assert_eq!(whole.run, "TestA|TestB");
        assert_eq!(whole.iptables.names().collect::<Vec<_>>(), ["TestA", "TestB"]);
        assert!(whole.table().contains("every case ended the same"), "{}", whole.table());
        assert!(one.and(of("\u{16}--- PASS: TestB (0.00s)", "6.12")).is_err());
    }
}
