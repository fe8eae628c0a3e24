//! The interpreter itself, against what a real kernel did under Istio's own rule sets (tests/oracle).

use std::net::IpAddr;

use tests::interpreter::{Fate, Groups, Packet, Protocol, Ruleset, arriving, locally_generated};
use tests::oracle::{self, Row};

use crate::settings::GROUPS;

/// The pod's addresses in the oracle's network.
const POD: [&str; 2] = ["10.244.0.2", "fd00:244::2"];

#[test]
fn the_interpreter_does_what_a_kernel_did() {
    let (mut compared, mut wrong) = (0, Vec::new());
    for name in oracle::cases().unwrap().into_keys() {
        let [v4, v6] = families(&oracle::rules(&name).unwrap());
        for row in oracle::rows(&name).unwrap() {
            // A connection that failed says little about who would have got it.
            if row.who.starts_with("ERR") {
                continue;
            }
            compared += 1;
            let accepted = accepted_by(if row.dst.is_ipv4() { &v4 } else { &v6 }, &row);
            if accepted != row.who {
                wrong.push(format!("{name}: {row:?}: the interpreter says {accepted}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 2_000, "only {compared} rows");
}

fn accepted_by(ruleset: &Ruleset, row: &Row) -> String {
    let here = is_local(row.dst);
    let packet = Packet {
        protocol: if row.proto == "tcp" { Protocol::Tcp } else { Protocol::Udp },
        src: row.src.unwrap_or_else(|| chosen_source(row.dst)),
        dst: row.dst,
        sport: 40_000,
        dport: row.dport,
        in_interface: (row.ns == "peer").then(|| "eth0".into()),
        out_interface: (row.ns == "pod").then(|| if here { "lo" } else { "eth0" }.into()),
        owner: (row.ns == "pod").then_some((row.uid, row.gid)),
        mark: 0,
        connmark: 0,
        zone: None,
    };
    let walk = if row.ns == "peer" { arriving } else { locally_generated };
    match walk(ruleset, packet).fate {
        Fate::Port(port) => port.to_string(),
        Fate::Dropped => "nobody".into(),
        Fate::Untouched if !here => format!("ext:{}", row.dport),
        Fate::Untouched if matches!(row.dport, 15001 | 15006 | 15053) => row.dport.to_string(),
        Fate::Untouched => format!("app:{}", row.dport),
    }
}

fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || POD.iter().chain(&["::6"]).any(|own| *own == ip.to_string())
}

fn chosen_source(dst: IpAddr) -> IpAddr {
    let text = match dst {
        IpAddr::V4(v4) if v4.is_loopback() => "127.0.0.1",
        IpAddr::V6(_) if is_local(dst) => return dst,
        IpAddr::V4(_) => POD[0],
        IpAddr::V6(_) => POD[1],
    };
    text.parse().expect("an address")
}

/// The rule set's text per family: a table that comes a second time is IPv6's.
fn families(rules: &str) -> [Ruleset; 2] {
    let groups: Groups = GROUPS.iter().map(|(name, gid)| ((*name).to_owned(), *gid)).collect();
    let (mut texts, mut seen, mut family) = ([String::new(), String::new()], Vec::new(), 0);
    for line in rules.lines().filter(|line| !line.ends_with("tables-save")) {
        if line.starts_with('*') {
            if seen.contains(&line) {
                family = 1;
            }
            seen.push(line);
        }
        texts[family].push_str(line);
        texts[family].push('\n');
    }
    texts.map(|text| Ruleset::parse(&text, &groups).unwrap_or_else(|error| panic!("{error}\n{text}")))
}
