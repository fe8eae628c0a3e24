//! The iptables rules a [`Config`] stands for, as istio-iptables would hand them to iptables-restore. Never applied by
//! us: people read them, `explain` quotes them, and the tests hold the decision against them.
//!
//! Istio builds one list of rules for both families and all tables (tools/istio-iptables/pkg/capture/run.go); the
//! order of that list is the order here, file by file: `interfaces`, `inbound`, `outbound`, `dns`, `tproxy`.

mod connection_facts;
mod dns;
mod inbound;
mod interfaces;
mod outbound;
mod program;
mod restore;
mod rule;
mod tproxy;

pub use connection_facts::ConnectionFacts;
pub use rule::{Chain, Family, Match, Position, Protocol, Rule, Table, Target};

use proxy_common::verdict::Row;

use crate::config::Config;
use program::Program;

/// The rules for one family, in the order Istio emits them, tables mixed. An [`Position::Insert`] counts from what
/// stands before it in the same chain.
pub fn program(config: &Config, family: Family) -> Vec<Rule> {
    let mut program = Program::new(config, family);
    interfaces::excluded(&mut program);
    interfaces::kube_virt(&mut program);
    inbound::drop_invalid(&mut program);
    inbound::chains(&mut program);
    inbound::captured(&mut program);
    outbound::before_owners(&mut program);
    outbound::owners(&mut program);
    outbound::owner_groups(&mut program);
    dns::capture(&mut program);
    outbound::destinations(&mut program);
    outbound::included(&mut program);
    tproxy::marks(&mut program);
    program.finish()
}

/// The iptables-restore text: the IPv4 tables, then, with dual stack, the same tables for ip6tables-restore.
pub fn render(config: &Config) -> String {
    let mut text = render_family(config, Family::V4);
    if config.dual_stack {
        text.push_str(&render_family(config, Family::V6));
    }
    text
}

/// The iptables-restore (ip6tables-restore) text of one family.
pub fn render_family(config: &Config, family: Family) -> String {
    restore::text(&program(config, family))
}

/// The rules that implement a row of the decision table for one connection, in evaluation order.
/// `None` as `facts` gives the row's rules for every connection.
///
/// Empty where the row has no rule of its own (`O16`, `I7`: nothing matched) or the configuration has none.
pub fn for_row(
    config: &Config,
    family: Family,
    row: impl Into<Row>,
    facts: Option<&ConnectionFacts>,
) -> Vec<Rule> {
    let row = row.into();
    let mut rules = program(config, family);
    rules.retain(|rule| rule.row == Some(row) && facts.is_none_or(|facts| facts.fits(rule)));
    rules
}

#[cfg(test)]
mod tests;
