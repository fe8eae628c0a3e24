//! docs/istio-suite.md: the parts of it that are written by a run, and by the catalogue.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};

use super::{
    catalog,
    compare::{Counts, all, differences, groups},
    report::{Report, both},
};
use crate::workspace::Workspace;

const PAGE: &str = "docs/istio-suite.md";
const RESULT: (&str, &str) = ("<!-- result -->", "<!-- end of result -->");
/// The part of the catalogue.
const NOT_RUN: (&str, &str) = ("<!-- not run -->", "<!-- end of not run -->");

/// Writes the result of a run into the page.
pub(super) fn update(workspace: &Workspace, report: &Report) -> Result<()> {
    let path = workspace.root.join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let page =
        between(&page, RESULT, &result(report)).context("docs/istio-suite.md has no place for a result")?;
    let page =
        between(&page, NOT_RUN, &not_run()).context("docs/istio-suite.md has no place for the catalogue")?;
    fs::write(&path, page).with_context(|| format!("write {}", path.display()))
}

fn between(page: &str, marks: (&str, &str), text: &str) -> Option<String> {
    let (before, rest) = page.split_once(marks.0)?;
    let (_, after) = rest.split_once(marks.1)?;
    Some(format!("{before}{}\n\n{text}\n{}{after}", marks.0, marks.1))
}

fn result(report: &Report) -> String {
    let versions = &report.versions;
    let mut text = format!(
        "{}, Linux {}, Kubernetes {}, Envoy {}, Istio's module {}, {}; {}.\n\n\
         | Test | iptables: passed | failed | skipped | sidestep: passed | failed | skipped |\n\
         |---|---|---|---|---|---|---|\n",
        versions.date,
        versions.kernel,
        versions.kubernetes.trim_start_matches('v'),
        versions.envoy,
        versions.istio,
        versions.sidestep,
        if report.dual_stack { "IPv4 and IPv6" } else { "IPv4" }
    );
    let groups = groups(&report.iptables, &report.sidestep);
    let mut row = |name: &str, one: Counts, other: Counts| {
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            one.passed, one.failed, one.skipped, other.passed, other.failed, other.skipped
        );
    };
    for group in &groups {
        row(&format!("`{}`", group.name), group.iptables, group.sidestep);
    }
    let sum = all(&groups);
    row(&sum.name, sum.iptables, sum.sidestep);
    text.push_str(&differing(report));
    text
}

fn differing(report: &Report) -> String {
    let differ = differences(&report.iptables, &report.sidestep);
    if differ.is_empty() && report.again.is_empty() {
        return "\nEvery case ended the same under both.\n".to_owned();
    }
    let mut text = "\n| Case | Ended differently | Why |\n|---|---|---|\n".to_owned();
    for of in &differ {
        let _ = writeln!(text, "| `{}` | {} | {} |", of.case, both(of), of.reason.unwrap_or("not known"));
    }
    for case in &report.again {
        let _ = writeln!(
            text,
            "| `{case}` | failed with sidestep, passed when asked again in the same cluster | [asked again](#asked-again) |"
        );
    }
    text
}

fn not_run() -> String {
    let mut text = "| Test | What is missing |\n|---|---|\n".to_owned();
    for (tests, why) in catalog::not_run() {
        let tests: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
        let _ = writeln!(text, "| {} | {why} |", tests.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../../../../docs/istio-suite.md");

    #[test]
    fn the_page_lists_what_is_not_run() {
        let wanted = between(TEXT, NOT_RUN, &not_run()).unwrap();
        if std::env::var_os("SIDESTEP_UPDATE_DOCS").is_some() {
            fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/istio-suite.md"), wanted).unwrap();
        } else {
            assert_eq!(TEXT, wanted, "SIDESTEP_UPDATE_DOCS=1 writes it");
        }
    }

    #[test]
    fn a_result_has_its_counts_and_what_differs() {
        let mut report = Report::default();
        report.iptables.line("\u{16}--- PASS: TestTraffic/dns/a (0.00s)");
        report.sidestep.line("\u{16}--- FAIL: TestTraffic/dns/a (0.00s)");
        let text = result(&report);
        assert!(text.contains("\n| `TestTraffic/dns` | 1 | 0 | 0 | 0 | 1 | 0 |\n"), "{text}");
        assert!(
            text.contains("\n| `TestTraffic/dns/a` | iptables: passed, sidestep: failed | not known |\n"),
            "{text}"
        );
    }
}
