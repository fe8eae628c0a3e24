//! docs/agent.md has every reason for which a pod is left alone, and every key of the CNI plugin's entry, as the code has
//! them. SIDESTEP_UPDATE_DOCS=1 writes the reasons.

use std::{collections::BTreeMap, fs, iter, path::PathBuf};

use proxy_agent::decide::Reason;
use proxy_cni::entry::Entry;
use proxy_core::config::OptOut;
use serde_json::{Map, Value};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/agent.md")
}

/// In the order in which the agent asks. A reason that is added does not compile here before it has a place.
fn after(reason: &Reason) -> Option<Reason> {
    match reason {
        Reason::HostNetwork => Some(Reason::OptedOut(OptOut::NoEnvoy)),
        Reason::OptedOut(OptOut::NoEnvoy) => Some(Reason::OptedOut(OptOut::NoSidecar)),
        Reason::OptedOut(OptOut::NoSidecar) => Some(Reason::OptedOut(OptOut::InjectFalse)),
        Reason::OptedOut(OptOut::InjectFalse) => Some(Reason::OptedOut(OptOut::NotInjected)),
        Reason::OptedOut(OptOut::NotInjected) => Some(Reason::InjectFalse),
        Reason::InjectFalse => Some(Reason::UnreadableStatus),
        Reason::UnreadableStatus => Some(Reason::IstioInit),
        Reason::IstioInit => Some(Reason::DoesNotWait),
        Reason::DoesNotWait => Some(Reason::Excluded),
        Reason::Excluded => Some(Reason::NotSelected),
        Reason::NotSelected => Some(Reason::LabelsNotKnown),
        Reason::LabelsNotKnown => Some(Reason::Nothing("sidecar.istio.io/interceptionMode is NONE")),
        Reason::Nothing(_) => None,
    }
}

fn reasons() -> String {
    let head = "| reason | says |\n|---|---|\n".to_owned();
    let all = iter::successors(Some(Reason::HostNetwork), after);
    all.fold(head, |table, reason| table + &format!("| `{}` | {reason} |\n", reason.word()))
}

#[test]
fn the_page_has_every_reason() {
    let page = fs::read_to_string(path()).unwrap();
    let (before, rest) = page.split_once("<!-- reasons: begin").expect("the begin mark");
    let (mark, rest) = rest.split_once("-->\n").expect("the begin mark's end");
    let (there, after) = rest.split_once("<!-- reasons: end -->").expect("the end mark");
    let wanted = reasons();
    if std::env::var_os("SIDESTEP_UPDATE_DOCS").is_some() {
        let page = format!("{before}<!-- reasons: begin{mark}-->\n{wanted}<!-- reasons: end -->{after}");
        fs::write(path(), page).unwrap();
        return;
    }
    assert_eq!(there, wanted, "docs/agent.md is behind the code: run this test with SIDESTEP_UPDATE_DOCS=1");
}

#[test]
fn the_page_has_every_key_of_the_plugins_entry() {
    let page = fs::read_to_string(path()).unwrap();
    let (_, table) =
        page.split_once("| key | default | meaning |\n|---|---|---|\n").expect("the table of keys");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let documented: BTreeMap<String, Value> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])).collect();
            let default = serde_json::from_str(cells[1]);
            (cells[0].to_owned(), default.unwrap_or_else(|error| panic!("{row}: {error}")))
        })
        .collect();
    let entry: Map<String, Value> =
        serde_json::from_value(serde_json::to_value(Entry::default()).unwrap()).unwrap();
    assert_eq!(documented, entry.into_iter().collect());
}
