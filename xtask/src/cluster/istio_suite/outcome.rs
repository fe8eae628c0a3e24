//! What a Go test binary says of its cases.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// With `-test.v=test2json` the binary puts this in front of its own lines, whatever the tests print, and says how a
/// case ended when it ends; with `-test.v` alone when the test around it does.
pub(super) const FLAG: &str = "-test.v=test2json";
/// In the place of a number that is another in each run.
const ANY: char = '*';
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

    pub(super) fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Unfinished)
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
            self.0.entry(of_any_run(name.trim())).or_insert(Outcome::Unfinished);
        }
        let ends = [("PASS", Outcome::Passed), ("FAIL", Outcome::Failed), ("SKIP", Outcome::Skipped)];
        for (word, outcome) in ends {
            let rest = said.strip_prefix("--- ").and_then(|rest| rest.strip_prefix(word));
            let Some(rest) = rest.and_then(|rest| rest.strip_prefix(": ")) else { continue };
            if let Some((name, _)) = rest.trim_end().rsplit_once(" (") {
                self.0.insert(of_any_run(name), outcome);
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

    /// Those of another run as well: what it says of a case counts.
    pub(super) fn add(&mut self, newer: Self) {
        self.0.extend(newer.0);
    }

    /// What a second run says of cases of the first counts from here on, and so do the tests around them.
    pub(super) fn ask_again(&mut self, newer: &Self, names: &[&str]) {
        for name in names {
            let Some(outcome) = newer.get(name) else { continue };
            self.0.insert((*name).to_owned(), outcome);
            let mut around = *name;
            while let Some((test, _)) = around.rsplit_once('/') {
                around = test;
                if let Some(outcome) = newer.get(test).filter(|_| !self.fails_below(test)) {
                    self.0.insert(test.to_owned(), outcome);
                }
            }
        }
    }

    /// Whether a case of this test has failed.
    pub(super) fn fails_below(&self, test: &str) -> bool {
        self.0.iter().any(|(name, outcome)| outcome.is_failure() && is_below(name, test))
    }
}

pub(super) fn is_below(name: &str, test: &str) -> bool {
    name.strip_prefix(test).is_some_and(|rest| rest.starts_with('/'))
}

/// Names of cases hold namespaces, which end in a number of the run, and addresses of pods and services: `echo-2-37598`
/// becomes `echo-2-*`, and `10.96.1.2` `10.*`.
fn of_any_run(name: &str) -> String {
    without_addresses(&without_numbers(name))
}

/// The cluster's addresses all begin with 10.
fn without_addresses(name: &str) -> String {
    let (mut text, mut rest) = (String::new(), name);
    while let Some(at) = rest.find("10.") {
        let (before, address) = rest.split_at(at);
        let end = address.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(address.len());
        let (address, after) = address.split_at(end);
        let begins = before.ends_with(['-', '_', '/', ':']) || before.is_empty();
        let whole = begins && address.split('.').filter(|part| !part.is_empty()).count() == 4;
        text.push_str(before);
        text.push_str(if whole { "10.*" } else { address });
        rest = after;
    }
    text + rest
}

fn without_numbers(name: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut words = Vec::new();
    for word in name.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        let end = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-').len();
        let (label, rest) = word.split_at(end);
        let parts: Vec<&str> = label.rsplitn(3, '-').collect();
        match parts[..] {
            [last, number, prefix] if is_number(last) && is_number(number) && !prefix.is_empty() => {
                words.push(format!("{prefix}-{number}-{ANY}{rest}"));
            }
            _ => words.push(word.to_owned()),
        }
    }
    words.concat()
}

/// These cases and no others, as `go test -run` has it.
pub(super) fn exactly(names: &[&str]) -> String {
    let escape = |part: &str| -> String {
        let mut text = String::new();
        for c in part.chars() {
            match c {
                ANY => text.push_str("[0-9.]+"),
                _ => {
                    if !(c.is_ascii_alphanumeric() || "_-".contains(c) || !c.is_ascii()) {
                        text.push('\\');
                    }
                    text.push(c);
                }
            }
        }
        text
    };
    let exact = |name: &&str| -> String {
        let parts: Vec<String> = name.split('/').map(|part| format!("^{}$", escape(part))).collect();
        parts.join("/")
    };
    names.iter().map(exact).collect::<Vec<_>>().join("|")
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

    #[test]
    fn a_case_asked_again_changes_the_tests_around_it() {
        let read = |lines: &[&str]| {
            let mut cases = Cases::default();
            lines.iter().for_each(|line| cases.line(&format!("\u{16}--- {line} (0.00s)")));
            cases
        };
        let newer = read(&["PASS: T/a/one", "PASS: T/a", "PASS: T"]);
        let mut alone = read(&["FAIL: T/a/one", "FAIL: T/a", "FAIL: T"]);
        alone.ask_again(&newer, &["T/a/one"]);
        assert_eq!(alone, newer);
        let mut beside = read(&["FAIL: T/a/one", "FAIL: T/a", "FAIL: T/b", "FAIL: T"]);
        beside.ask_again(&newer, &["T/a/one"]);
        assert_eq!(beside, read(&["PASS: T/a/one", "PASS: T/a", "FAIL: T/b", "FAIL: T"]));
    }

    #[test]
    fn a_number_of_the_run_is_none_of_the_name() {
        for (name, wanted) in [
            (
                "TestTraffic/host/headless.echo-2-37598.svc:81/http",
                "TestTraffic/host/headless.echo-2-*.svc:81/http",
            ),
            (
                "T/sni:outbound|80||naked.echo-2-43674.svc,alpn:h2",
                "T/sni:outbound|80||naked.echo-2-*.svc,alpn:h2",
            ),
            ("T/from_a-1-2", "T/from_a-1-*"),
            ("T/b-alt-2->a_(h2-1)", "T/b-alt-2->a_(h2-1)"),
            ("T/echo-2-9/a_to_10.96.146.142", "T/echo-2-*/a_to_10.*"),
            ("T/ready-10.96.1.2:80/110.1.2.3/v10.1", "T/ready-10.*:80/110.1.2.3/v10.1"),
        ] {
            assert_eq!(of_any_run(name), wanted);
        }
    }

    #[test]
    fn names_are_no_patterns() {
        assert_eq!(exactly(&["T/echo-2-*.svc"]), "^T$/^echo-2-[0-9.]+\\.svc$");
        assert_eq!(exactly(&["T/a.b_(c)", "U"]), "^T$/^a\\.b_\\(c\\)$|^U$");
    }
}
