//! Every connection a real kernel judged under Istio's rules (../shared/oracle), asked about on the flags alone.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use serde::Deserialize;

use super::{ask, place};
use crate::{config::Environment, explain::Outcome};

const POD: [&str; 2] = ["10.244.0.2", "fd00:244::2"];

#[derive(Deserialize)]
struct Case {
    args: Vec<String>,
    env: BTreeMap<String, String>,
}

/// A line of vectors/*.jsonl; `who` is the port that accepted.
#[derive(Debug, Deserialize)]
struct Row {
    proto: String,
    uid: u32,
    gid: u32,
    dst: String,
    dport: u16,
    src: Option<String>,
    ns: String,
    who: String,
}

#[test]
fn the_answer_names_the_port_that_accepted() {
    let folder = env::var_os("SIDESTEP_ORACLE")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle"), PathBuf::from);
    let Ok(configs) = fs::read_to_string(folder.join("configs.json")) else {
        eprintln!("skipped: no oracle folder ({}; set SIDESTEP_ORACLE)", folder.display());
        return;
    };
    let cases: BTreeMap<String, Case> = serde_json::from_str(&configs).expect("configs.json");
    let mut asked = 0;
    for (name, case) in cases {
        let args: Vec<&str> = case.args.iter().map(String::as_str).collect();
        let place = place(&args, &POD, Environment::from_iter(case.env));
        let rows = fs::read_to_string(folder.join(format!("vectors/{name}.jsonl"))).expect(&name);
        for line in rows.lines() {
            let row: Row = serde_json::from_str(line).expect(line);
            // An error says nothing about who would have accepted.
            if !row.who.starts_with("ERR") {
                check(&name, &place, &row);
                asked += 1;
            }
        }
    }
    assert!(asked > 2000, "{asked}");
}

fn check(name: &str, place: &super::Place, row: &Row) {
    let dst = if row.dst.contains(':') { format!("[{}]", row.dst) } else { row.dst.clone() };
    let to = format!("{}:{dst}:{}", row.proto, row.dport);
    let src = row.src.as_ref().map_or_else(String::new, |src| format!("@{src}"));
    let from = match row.ns.as_str() {
        "peer" => format!(
            "@{}",
            row.src.as_deref().unwrap_or(if row.dst.contains(':') { "fd00:244::1" } else { "10.244.0.1" })
        ),
        _ => format!("{}:{}{src}", row.uid, row.gid),
    };
    let answer = ask(place, &from, &to);
    let accepted = match &answer.verdict {
        Outcome::Outbound { port } | Outcome::Inbound { port } | Outcome::Dns { port } => Some(*port),
        // Who asks the sidecar's own port in the pod reaches it without any rule.
        Outcome::Bypass if place.is_local(row.dst.parse().expect("address")) => Some(row.dport),
        Outcome::Bypass => None,
        Outcome::Refused { reason } => panic!("{name}: {row:?}: {reason}"),
    };
    let sidecar = ["15001", "15006", "15053"].contains(&row.who.as_str());
    let said = accepted
        .map(|port| port.to_string())
        .filter(|port| ["15001", "15006", "15053"].contains(&port.as_str()));
    assert_eq!(said, sidecar.then(|| row.who.clone()), "{name}: {row:?}\n{answer}");
    // Where a rule decided, the walk ends at it; else the chains end. TPROXY has a second chain after nat OUTPUT.
    let at_match = answer.chain.last().is_some_and(|step| step.matched && Some(step.row) == answer.row);
    let falls_off = ["none", "O16", "I7", "T4"].contains(&answer.row.unwrap_or("none"));
    assert!(at_match || falls_off, "{name}: {row:?}\n{answer}");
    assert_eq!(answer.rules.is_empty(), !at_match, "{name}: {row:?}\n{answer}");
}
