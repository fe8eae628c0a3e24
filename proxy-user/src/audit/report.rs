//! What an audit found, as a table for people.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use proxy_core::harmless::harmless;
use serde::Serialize;

use crate::sheet::Sheet;

use super::{
    finding::{Class, Finding},
    reach::{Forward, Reach},
    server::{Protocol, Server},
};

/// Every server and every finding.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// None: nothing is attached, the rules are those of flags.
    pub workload: Option<String>,
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub addresses: Vec<IpAddr>,
    #[serde(rename = "servers")]
    pub rows: Vec<Row>,
    pub findings: Vec<Finding>,
}

/// One server, with who reaches it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub server: Server,
    /// It is the sidecar's own.
    pub sidecar: bool,
    pub reach: Reach,
}

impl Row {
    pub(super) fn new(server: Server, reach: Reach, sidecar: bool) -> Self {
        Self { server, sidecar, reach }
    }

    fn cells(&self) -> [String; 6] {
        let first = self.server.processes.first();
        let name =
            first.map_or("?".to_owned(), |process| format!("{} {}", harmless(&process.name), process.pid));
        let more = self.server.processes.len().saturating_sub(1);
        let process = if more > 0 { format!("{name} (+{more})") } else { name };
        let sockets =
            if self.server.sockets > 1 { format!(" x{}", self.server.sockets) } else { String::new() };
        [
            format!("{}{sockets}", self.server),
            if self.sidecar { format!("{process}, sidecar") } else { process },
            self.server.uid.to_string(),
            self.rows(),
            self.through(Forward::Lo),
            self.through(Forward::Eth0),
        ]
    }

    fn rows(&self) -> String {
        let mut rows: Vec<&str> = self.reach.captured_by.into_iter().collect();
        rows.extend(self.reach.direct.iter().map(|way| way.row));
        rows.sort_unstable();
        rows.dedup();
        rows.join(", ")
    }

    /// The sidecar's own ports are not forwarded by it.
    fn through(&self, forward: Forward) -> String {
        let words = self.reach.words(forward);
        if self.sidecar && self.reach.direct.is_empty() { "-".to_owned() } else { words.to_owned() }
    }
}

impl Report {
    /// Nothing is exposed, unreachable or in conflict.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Of the workload, with its pod's name where that is known.
    pub(super) fn name(&self) -> Option<String> {
        let workload = self.workload.as_ref()?;
        Some(match (&self.namespace, &self.pod) {
            (Some(namespace), Some(pod)) => format!("{workload} ({namespace}/{pod})"),
            _ => workload.clone(),
        })
    }
}

/// How many findings of each class.
pub(super) fn counts<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    let mut counts: BTreeMap<Class, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.class).or_default() += 1;
    }
    let all: usize = counts.values().sum();
    let noun = if all == 1 { "finding" } else { "findings" };
    let words: Vec<String> = counts.iter().map(|(class, count)| format!("{count} {class}")).collect();
    format!("{all} {noun}: {}", words.join(", "))
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{protocol} {}", self.at())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        match self.name() {
            Some(name) => writeln!(f, "workload {name}, addresses {}", addresses.join(", "))?,
            None => writeln!(f, "nothing attached, as the flags say; addresses {}", addresses.join(", "))?,
        }
        let mut table =
            Sheet::new(&["SERVER", "PROCESS", "UID", "ROW", "FROM OUTSIDE, MODE LO", "MODE ETH0"]);
        for row in &self.rows {
            table.add(row.cells());
        }
        writeln!(f, "{table}")?;
        if self.is_clean() {
            return writeln!(f, "clean: nothing exposed, unreachable or in conflict");
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        writeln!(f, "{}", counts(&self.findings))
    }
}
