//! Every connection a real kernel judged under Istio's rules (tests/oracle), asked about on the flags alone.

use std::net::{IpAddr, SocketAddr};

use tests::oracle::{self, Row};

use super::{ask, pod};
use crate::{config::Environment, explain::Outcome};

const POD: [&str; 2] = ["10.244.0.2", "fd00:244::2"];

#[test]
fn the_answer_names_the_port_that_accepted() {
    let mut asked = 0;
    for (name, case) in oracle::cases().unwrap() {
        let args: Vec<&str> = case.args.iter().map(String::as_str).collect();
        let pod = pod(&args, &POD, Environment::from_iter(case.env));
        for row in oracle::rows(&name).unwrap() {
            // An error says nothing about who would have accepted.
            if !row.who.starts_with("ERR") {
                check(&name, &pod, &row);
                asked += 1;
            }
        }
    }
    assert!(asked > 2000, "{asked}");
}

fn check(name: &str, pod: &super::Pod, row: &Row) {
    let to = format!("{}:{}", row.proto, SocketAddr::new(row.dst, row.dport));
    let src = row.src.as_ref().map_or_else(String::new, |src| format!("@{src}"));
    let from = match row.ns.as_str() {
        "peer" => format!("@{}", row.src.unwrap_or_else(|| peer(row.dst))),
        _ => format!("{}:{}{src}", row.uid, row.gid),
    };
    let answer = ask(pod, &from, &to);
    let accepted = match &answer.verdict {
        Outcome::Outbound { port } | Outcome::Inbound { port } | Outcome::Dns { port } => Some(*port),
        // Who asks the sidecar's own port in the pod reaches it without any rule.
        Outcome::Bypass if pod.is_local(row.dst) => Some(row.dport),
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

/// The peer's own address.
fn peer(dst: IpAddr) -> IpAddr {
    if dst.is_ipv4() { "10.244.0.1" } else { "fd00:244::1" }.parse().expect("an address")
}
