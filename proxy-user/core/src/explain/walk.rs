//! The way of a first packet through the chains, row by row.

use proxy_common::verdict::{Row, Rule as Decides};
use serde::Serialize;

use crate::{
    config::{Config, Mode},
    rules::{self, Chain, ConnectionFacts, Family, Match, Position, Rule, Table, Target},
};

/// The rules of one row in one chain, as one step of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub table: &'static str,
    pub chain: &'static str,
    pub row: &'static str,
    pub description: &'static str,
    /// How many rules the row has here.
    pub rules: usize,
    pub matched: bool,
}

/// What is known of the packet that takes the way.
pub(super) struct Packet<'a> {
    pub(super) facts: ConnectionFacts,
    /// The named interface it arrives or leaves by, where that is known.
    pub(super) interface: Option<&'a str>,
    pub(super) inbound: bool,
    /// The row that decides in nat OUTPUT, where another one of mangle has the last word after it.
    pub(super) nat_row: Decides,
    /// The row that decides.
    pub(super) row: Decides,
}

/// The steps up to and including the one that matched.
pub(super) fn steps(config: &Config, family: Family, packet: &Packet<'_>) -> Vec<Step> {
    if packet.row == Decides::NoRules {
        return Vec::new();
    }
    let rules = rules::program(config, family);
    let tproxy = config.mode == Mode::Tproxy;
    let nat = |chain| one(&rules, (Table::Nat, chain), packet, packet.nat_row);
    let mangle = || one(&rules, (Table::Mangle, Chain::Prerouting), packet, packet.row);
    match (packet.inbound, tproxy) {
        (false, _) => {
            let mut way = nat(Chain::Output);
            if packet.row != packet.nat_row {
                way.extend(mangle());
            }
            way
        }
        (true, false) => nat(Chain::Prerouting),
        (true, true) => {
            let mut way = mangle();
            if !way.last().is_some_and(|step| step.matched && step.row == Decides::T6.name()) {
                way.extend(nat(Chain::Prerouting));
            }
            way
        }
    }
}

/// The rules of a row that speak of this packet, and those of the chain they jump to.
pub(super) fn rules_of(config: &Config, family: Family, packet: &Packet<'_>) -> Vec<Rule> {
    let mut found = rules::for_row(config, family, packet.row, Some(&packet.facts));
    found.retain(|rule| on_interface(rule, packet.interface));
    let jumped_to: Vec<Chain> = found.iter().filter_map(jump).collect();
    found.sort_by_key(|rule| jumped_to.contains(&rule.chain));
    let mut chains: Vec<Chain> = Vec::new();
    for rule in &found {
        if let Some(chain) = jump(rule)
            && !found.iter().any(|other| other.chain == chain)
            && !chains.contains(&chain)
        {
            chains.push(chain);
        }
    }
    let all = rules::program(config, family);
    found.extend(all.into_iter().filter(|rule| chains.contains(&rule.chain) && rule.table == Table::Nat));
    found
}

fn jump(rule: &Rule) -> Option<Chain> {
    match rule.target {
        Target::Jump(chain) => Some(chain),
        _ => None,
    }
}

/// One built-in chain.
fn one(rules: &[Rule], (table, chain): (Table, Chain), packet: &Packet<'_>, decides: Decides) -> Vec<Step> {
    let mut way = Vec::new();
    follow(rules, (table, chain), &packet.facts, &mut way);
    let mut steps: Vec<Step> = Vec::new();
    for rule in way {
        let Some(row) = rule.row else { continue };
        let matched =
            row == Row::Decides(decides) && packet.facts.fits(rule) && on_interface(rule, packet.interface);
        let same = |step: &&mut Step| step.row == row.name() && step.chain == rule.chain.name();
        match steps.last_mut().filter(same) {
            Some(step) => {
                step.rules += 1;
                step.matched = matched;
            }
            None => steps.push(Step {
                table: table.name(),
                chain: rule.chain.name(),
                row: row.name(),
                description: row.describe(),
                rules: 1,
                matched,
            }),
        }
        if matched {
            break;
        }
    }
    steps
}

/// The rules in the order a packet meets them: insertions in place, jumps that only lead on followed.
fn follow<'a>(
    rules: &'a [Rule],
    (table, chain): (Table, Chain),
    facts: &ConnectionFacts,
    way: &mut Vec<&'a Rule>,
) {
    let mut ordered: Vec<&Rule> = Vec::new();
    for rule in rules.iter().filter(|rule| rule.table == table && rule.chain == chain) {
        match rule.position {
            Position::Append => ordered.push(rule),
            Position::Insert(number) => ordered.insert((number as usize - 1).min(ordered.len()), rule),
        }
    }
    for rule in ordered {
        match rule.target {
            Target::Jump(next) if rule.row.is_none() => {
                if facts.fits(rule) {
                    follow(rules, (table, next), facts, way);
                }
            }
            _ => way.push(rule),
        }
    }
}

/// False only if the rule names another interface than the one that is known.
fn on_interface(rule: &Rule, known: Option<&str>) -> bool {
    let Some(known) = known else { return true };
    rule.matches.iter().all(|condition| match condition {
        Match::InInterface(name) | Match::OutInterface(name) => name == known || name == "lo",
        _ => true,
    })
}
