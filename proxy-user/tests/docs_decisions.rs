//! docs/decisions.md has every row of the decision, as the code has it. SIDESTEP_UPDATE_DOCS=1 writes them.

use std::{fs, path::PathBuf};

use proxy_common::verdict::Row;
use proxy_core::{
    config::{Config, Environment, Given, NoHost},
    rules::{self, Chain, Family, Target},
};

/// Every setting that makes a row, in as few configurations as there are contradictions among them.
fn samples() -> Vec<Config> {
    const REST: &[&str] =
        &["-u", "1337", "-o", "25", "-q", "9000", "-x", "10.1.0.0/16", "-c", "eth1", "-k", "net1"];
    const ALL: &[&str] = &["-b", "*", "-d", "15021", "-i", "*", "--redirect-dns", "--capture-all-dns"];
    const LISTS: &[&str] = &["-b", "8080", "-i", "10.0.0.0/8"];
    [
        (ALL, "REDIRECT", ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "2000")),
        (LISTS, "REDIRECT", ("ISTIO_OUTBOUND_OWNER_GROUPS", "2000")),
        (ALL, "TPROXY", ("ISTIO_OUTBOUND_OWNER_GROUPS", "*")),
    ]
    .into_iter()
    .map(|(more, mode, variable)| {
        let given = Given::from_words([REST, more, &["-m", mode]].concat()).unwrap();
        given.resolve(&Environment::from_iter([variable]), &NoHost).unwrap().config
    })
    .collect()
}

/// A rule of the row, and what its target comes to.
fn rule_of(row: Row, samples: &[Config]) -> (String, &'static str) {
    let found = samples.iter().find_map(|config| {
        let rule = rules::for_row(config, Family::V4, row, None).into_iter().next()?;
        let verdict = match rule.target {
            Target::Jump(Chain::IstioRedirect) => "outbound",
            Target::Jump(Chain::IstioInRedirect | Chain::IstioTproxy) | Target::Tproxy { .. } => "inbound",
            Target::Redirect { .. } => "dns",
            Target::Return => "bypass",
            _ => "",
        };
        Some((format!("`-t {} {rule}`", rule.table.name()), verdict))
    });
    found.unwrap_or_else(|| ("no rule matched".to_owned(), "bypass"))
}

fn table() -> String {
    let samples = samples();
    let lines = Row::all().map(|row| {
        let (rule, verdict) = rule_of(row, &samples);
        if let Row::Decides(decides) = row {
            assert_eq!(decides.target().name(), verdict, "{}: the decision and {rule}", row.name());
        }
        format!("| {} | {} | {verdict} | {rule} |\n", row.name(), row.describe())
    });
    let head = "| row | says | verdict | a rule of the row |\n|---|---|---|---|\n".to_owned();
    lines.fold(head, |table, line| table + &line)
}

#[test]
fn the_page_has_every_row() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/decisions.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- rows: begin").expect("the begin mark");
    let (mark, rest) = rest.split_once("-->\n").expect("the begin mark's end");
    let (there, after) = rest.split_once("<!-- rows: end -->").expect("the end mark");
    let wanted = table();
    if std::env::var_os("SIDESTEP_UPDATE_DOCS").is_some() {
        let page = format!("{before}<!-- rows: begin{mark}-->\n{wanted}<!-- rows: end -->{after}");
        fs::write(&path, page).unwrap();
        return;
    }
    assert_eq!(
        there, wanted,
        "docs/decisions.md is behind the code: run this test with SIDESTEP_UPDATE_DOCS=1"
    );
}
