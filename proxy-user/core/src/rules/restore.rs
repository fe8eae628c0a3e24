//! The iptables-restore text of a list of rules.

use std::fmt::Write;

use super::rule::{Chain, Rule, Table, Target};

/// Tables in Istio's order, empty ones left out. Within one: the new chains, then the rules.
pub(super) fn text(rules: &[Rule]) -> String {
    let mut text = String::new();
    for table in [Table::Mangle, Table::Nat, Table::Raw] {
        if !rules.iter().any(|rule| rule.table == table) {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "*{}", table.name());
        for chain in new_chains(rules, table) {
            let _ = writeln!(text, "-N {}", chain.name());
        }
        for rule in rules.iter().filter(|rule| rule.table == table) {
            let _ = writeln!(text, "{rule}");
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// Chains in the order rules are put into them, then those that are only jumped to (istio: buildRestore).
fn new_chains(rules: &[Rule], table: Table) -> Vec<Chain> {
    let mut chains = Vec::new();
    let mut add = |chain: Chain| {
        if !chain.is_builtin() && !chains.contains(&chain) {
            chains.push(chain);
        }
    };
    rules.iter().filter(|rule| rule.table == table).for_each(|rule| add(rule.chain));
    for rule in rules.iter().filter(|rule| rule.table == table) {
        if let Target::Jump(chain) = rule.target {
            add(chain);
        }
    }
    chains
}
