//! An answer for people.

use std::fmt;

use super::answer::{Answer, Connection, Outcome};

const LABEL: usize = 10;

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        label(f, "connection", &self.connection.to_string())?;
        label(f, "verdict", &self.verdict.to_string())?;
        let row = self.row.map_or_else(String::new, |row| format!("{row}: "));
        label(f, "row", &format!("{row}{}", self.description))?;
        match self.rules.split_first() {
            Some((first, rest)) => {
                label(f, "iptables", &format!("-t {} {}", first.table, first.rule))?;
                for rule in rest {
                    label(f, "", &format!("-t {} {}", rule.table, rule.rule))?;
                }
            }
            None if self.chain.is_empty() => {}
            None => label(f, "iptables", "none: the chains end without a match")?,
        }
        self.write_chain(f)?;
        for note in &self.notes {
            label(f, "note", note)?;
        }
        Ok(())
    }
}

impl Answer {
    fn write_chain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pod = ("", "");
        for (index, step) in self.chain.iter().enumerate() {
            if pod != (step.table, step.chain) {
                pod = (step.table, step.chain);
                label(f, if index == 0 { "walked" } else { "" }, &format!("{} {}", step.table, step.chain))?;
            }
            let mark = if step.matched { "->" } else { "  " };
            let count = if step.rules > 1 { format!(" ({} rules)", step.rules) } else { String::new() };
            label(f, "", &format!("{mark} {:<4}{}{count}", step.row, step.description))?;
        }
        if let (Some(row), false) = (self.row, self.chain.last().is_none_or(|step| step.matched)) {
            label(f, "", &format!("-> {row:<4}{}", self.description))?;
        }
        Ok(())
    }
}

fn label(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "{name:<LABEL$}  {text}")
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.protocol)?;
        match (self.source, self.uid, self.gid) {
            (Some(source), ..) => write!(f, "{source}")?,
            (None, ..) if self.inbound => f.write_str("outside")?,
            (None, ..) => f.write_str("the pod's address")?,
        }
        if let (Some(uid), Some(gid)) = (self.uid, self.gid) {
            write!(f, " (uid {uid}, gid {gid})")?;
        }
        write!(f, " -> {}", std::net::SocketAddr::new(self.destination, self.port))?;
        f.write_str(match (self.inbound, self.local) {
            (true, _) => ", arriving from outside",
            (false, true) => ", over lo",
            (false, false) => ", leaving the pod",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Bypass => f.write_str("bypass: left alone"),
            Outcome::Outbound { port } => {
                write!(f, "outbound: to the sidecar's outbound listener, port {port}")
            }
            Outcome::Inbound { port } => write!(f, "inbound: to the sidecar's inbound listener, port {port}"),
            Outcome::Dns { port } => write!(f, "dns: to the agent's DNS listener, port {port}"),
            Outcome::Refused { reason } => write!(f, "refused: {reason}"),
        }
    }
}
