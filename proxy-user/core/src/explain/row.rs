//! What a row says. The decision's own rows describe themselves; iptables has a few more, which mark, unmark or keep
//! apart what eBPF never mixes.

use proxy_common::verdict::Rule;

/// Rows of the rules for which the decision has no verdict of its own, with what they are there for.
pub const EXTRA_ROWS: &[(&str, &str)] = &[
    ("T1", "TPROXY: the sidecar's transparent connection to the application, by its mark"),
    ("T2", "TPROXY: from the sidecar's passthrough source, over lo"),
    ("T3", "TPROXY: over lo, not marked as the proxy's call to its own pod"),
    ("T5", "TPROXY: packets of a connection already handed over"),
    ("D1", "DNS: connection tracking zone, agent to server"),
    ("D2", "DNS: connection tracking zone, agent to application"),
    ("D3", "DNS: connection tracking zone, application to server"),
    ("D4", "DNS: connection tracking zone, server to agent"),
];

/// One line about a row; empty for a name that is none.
pub fn describe(row: &str) -> &'static str {
    let of_decision = Rule::ALL.iter().find(|rule| rule.name() == row).map(|rule| rule.describe());
    let extra = || EXTRA_ROWS.iter().find(|(name, _)| *name == row).map(|(_, text)| *text);
    of_decision.or_else(extra).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{DnsCapture, DnsServers, Mode, PortSet},
        rules::{self, Family},
    };

    #[test]
    fn every_row_of_the_rules_is_described() {
        let config = crate::config::Config {
            mode: Mode::Tproxy,
            inbound_include: PortSet::All,
            dns: Some(DnsCapture { servers: DnsServers::All }),
            ..Default::default()
        };
        let rules = rules::program(&config, Family::V4);
        let rows: Vec<&str> = rules.iter().filter_map(|rule| rule.row).collect();
        assert!(rows.contains(&"T3") && rows.contains(&"D4"));
        for row in rows {
            assert!(!describe(row).is_empty(), "{row}");
        }
    }
}
