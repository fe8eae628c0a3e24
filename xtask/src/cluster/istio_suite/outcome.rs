//! What a Go test binary says of its cases.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// With `-test.v=test2json` the binary puts this in front of its own lines, whatever the tests print, and says how a
/// case ended when it ends; with `-test.v` alone when the test around it does.
pub(super) const FLAG: &str = "-test.v=test2json";
const MARK: char = '\u{16}';

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped,
    /// It began, and the binary ended before it did.
    Unfinished,
}

impl Outcome {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Unfinished => "unfinished",
        }
    }
}

/// Every test and subtest of a run, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Cases(BTreeMap<String, Outcome>);

impl Cases {
    /// Takes one line of output; most are none of ours.
    pub(super) fn line(&mut self, line: &str) {
        // What a test prints last may have no end of line.
        let Some((_, said)) = line.rsplit_once(MARK) else { return };
        if let Some(name) = said.strip_prefix("=== RUN") {
            self.0.entry(name.trim().to_owned()).or_insert(Outcome::Unfinished);
        }
        let ends = [("PASS", Outcome::Passed), ("FAIL", Outcome::Failed), ("SKIP", Outcome::Skipped)];
        for (word, outcome) in ends {
            let rest = said.strip_prefix("--- ").and_then(|rest| rest.strip_prefix(word));
            let Some(rest) = rest.and_then(|rest| rest.strip_prefix(": ")) else { continue };
            if let Some((name, _)) = rest.trim_end().rsplit_once(" (") {
                self.0.insert(name.to_owned(), outcome);
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Outcome> {
        self.0.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of them have ended so.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.0.values().filter(|of| **of == outcome).count()
    }

    /// Cases asked again: what they say now counts.
    pub(super) fn replace(&mut self, newer: &Self, names: &[String]) {
        for name in names {
            if let Some(outcome) = newer.get(name) {
                self.0.insert(name.clone(), outcome);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_lines_say_how_cases_end() {
        let mut cases = Cases::default();
        for line in [
            "\u{16}=== RUN   TestTraffic",
            "\u{16}=== RUN   TestTraffic/sniffing",
            "\u{16}=== RUN   TestTraffic/sniffing/a->b_(http)",
            "a log without an end of line\u{16}--- PASS: TestTraffic/sniffing/a->b_(http) (0.05s)",
            "\u{16}=== RUN   TestTraffic/dns",
            "\u{16}--- SKIP: TestTraffic/dns (0.00s)",
            "\u{16}=== NAME  TestTraffic/sniffing",
            "\u{16}--- FAIL: TestTraffic/sniffing (1.20s)",
            "    --- FAIL: what a test printed of another (0.00s)",
            "--- FAIL: and without indentation (0.00s)",
            "\u{16}--- BENCH: none of ours (0.00s)",
            "\u{16}PASS",
        ] {
            cases.line(line);
        }
        let all: Vec<_> = cases.names().map(|name| (name, cases.get(name).unwrap())).collect();
        assert_eq!(
            all,
            [
                ("TestTraffic", Outcome::Unfinished),
                ("TestTraffic/dns", Outcome::Skipped),
                ("TestTraffic/sniffing", Outcome::Failed),
                ("TestTraffic/sniffing/a->b_(http)", Outcome::Passed),
            ]
        );
    }
}
