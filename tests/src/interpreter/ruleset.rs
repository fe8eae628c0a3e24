//! The rules of one family as the kernel holds them once iptables-restore has run.

use std::collections::BTreeMap;

use super::{
    condition::{Condition, Match},
    parse::{self, Groups, Words},
};

/// Where a rule stood in the text: its table, and its number among the rules (`-A`, `-I`) of that table, from 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub table: String,
    pub number: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    Return,
    Accept,
    Drop,
    Jump(String),
    Redirect(u16),
    Tproxy { mark: u32, mask: u32, port: u16 },
    SetMark(u32),
    SaveMark,
    RestoreMark,
    Zone(u16),
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub line: Line,
    pub matches: Vec<Match>,
    pub target: Target,
}

pub(super) type Chains = BTreeMap<String, Vec<Rule>>;

/// The tables of one family.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    tables: BTreeMap<String, Chains>,
}

impl Ruleset {
    /// Reads restore text, as a person or iptables-save writes it. `groups` stands for /etc/group. An error is what
    /// iptables-restore would refuse too.
    pub fn parse(text: &str, groups: &Groups) -> Result<Self, String> {
        let mut ruleset = Self::default();
        let mut table: Option<(String, usize)> = None;
        let is_said = |line: &&str| !line.is_empty() && !line.starts_with('#');
        for line in text.lines().map(str::trim).filter(is_said) {
            let outcome = match (line, &mut table) {
                ("COMMIT", current @ Some(_)) => {
                    *current = None;
                    Ok(())
                }
                (_, current @ None) => line
                    .strip_prefix('*')
                    .map(|name| ruleset.open(name.trim()).map(|name| *current = Some((name, 0))))
                    .unwrap_or(Err("no table is open".into())),
                (_, Some((name, count))) => ruleset.line(name, count, line, groups),
            };
            outcome.map_err(|error| format!("{line:?}: {error}"))?;
        }
        if table.is_some() {
            return Err("COMMIT is missing".into());
        }
        ruleset.check_jumps()?;
        Ok(ruleset)
    }

    /// The chains of a table; a table nobody wrote to is empty.
    pub fn table(&self, name: &str) -> Option<&Chains> {
        self.tables.get(name)
    }

    fn open(&mut self, name: &str) -> Result<String, String> {
        let builtin = builtin_chains(name).ok_or("no such table")?;
        let chains = builtin.iter().map(|chain| ((*chain).to_owned(), Vec::new())).collect();
        match self.tables.insert(name.to_owned(), chains) {
            None => Ok(name.to_owned()),
            Some(_) => Err("the table comes twice".into()),
        }
    }

    fn line(&mut self, table: &str, count: &mut usize, line: &str, groups: &Groups) -> Result<(), String> {
        let chains = self.tables.get_mut(table).ok_or("no such table")?;
        if let Some(chain) = line.strip_prefix(':') {
            return declare(chains, chain);
        }
        let mut words = Words::of(line);
        let command = words.next().ok_or("empty")?;
        let chain = words.next().ok_or("no chain")?;
        if command == "-N" {
            return match chains.insert(chain.to_owned(), Vec::new()) {
                None => words.end(),
                Some(_) => Err("the chain exists".into()),
            };
        }
        let rules = chains.get_mut(chain).ok_or("no such chain")?;
        let position = match command {
            "-A" => rules.len(),
            // Counted from 1.
            "-I" => words.number::<usize>()?.checked_sub(1).ok_or("position 0")?,
            _ => return Err("not a command istio writes".into()),
        };
        if position > rules.len() {
            return Err("index of insertion too big".into());
        }
        let (matches, target) = parse::rule(&mut words, groups)?;
        check_place(table, chain, &matches, &target)?;
        let line = Line { table: table.to_owned(), number: *count };
        *count += 1;
        rules.insert(position, Rule { line, matches, target });
        Ok(())
    }

    fn check_jumps(&self) -> Result<(), String> {
        for (table, chains) in &self.tables {
            for rule in chains.values().flatten() {
                if let Target::Jump(to) = &rule.target {
                    let is_builtin = builtin_chains(table).is_some_and(|names| names.contains(&to.as_str()));
                    if is_builtin || !chains.contains_key(to) {
                        return Err(format!("{table}: cannot jump to {to}"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// `NAME POLICY [packets:bytes]`, as iptables-save begins a table; a chain of one's own has no policy.
fn declare(chains: &mut Chains, line: &str) -> Result<(), String> {
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(name), Some("ACCEPT" | "-")) => {
            chains.entry(name.to_owned()).or_default();
            Ok(())
        }
        _ => Err("not a chain whose policy is ACCEPT".into()),
    }
}

fn builtin_chains(table: &str) -> Option<&'static [&'static str]> {
    match table {
        "raw" => Some(&["PREROUTING", "OUTPUT"]),
        "mangle" => Some(&["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
        "nat" => Some(&["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
        // Istio leaves it alone; iptables-legacy-save prints it.
        "filter" => Some(&["INPUT", "FORWARD", "OUTPUT"]),
        _ => None,
    }
}

/// What the kernel's checkentry functions and the iptables program refuse.
fn check_place(table: &str, chain: &str, matches: &[Match], target: &Target) -> Result<(), String> {
    let has = |wanted: fn(&Condition) -> bool| matches.iter().any(|m| wanted(&m.condition));
    let has_protocol = matches.iter().any(|m| !m.negated && matches!(m.condition, Condition::Protocol(_)));
    let ports = has(|c| {
        matches!(c, Condition::SourcePort(_) | Condition::DestinationPort(_) | Condition::DestinationPorts(_))
    });
    let refused = [
        (ports && !has_protocol, "ports need -p tcp or -p udp"),
        (chain == "OUTPUT" && has(|c| matches!(c, Condition::InInterface(_))), "-i in OUTPUT"),
        (chain == "PREROUTING" && has(|c| matches!(c, Condition::OutInterface(_))), "-o in PREROUTING"),
        (
            chain == "PREROUTING" && has(|c| matches!(c, Condition::Uid(_) | Condition::Gid(_))),
            "owner in PREROUTING",
        ),
        (matches!(target, Target::Redirect(_)) && table != "nat", "REDIRECT outside nat"),
        (matches!(target, Target::Redirect(_)) && !has_protocol, "REDIRECT to a port needs -p"),
        (matches!(target, Target::Tproxy { .. }) && table != "mangle", "TPROXY outside mangle"),
        (matches!(target, Target::Tproxy { .. }) && !has_protocol, "TPROXY needs -p tcp or -p udp"),
        (matches!(target, Target::Zone(_)) && table != "raw", "CT outside raw"),
        (matches!(target, Target::Drop) && table == "nat", "DROP in nat"),
    ];
    refused.iter().find(|(applies, _)| *applies).map_or(Ok(()), |(_, why)| Err((*why).to_owned()))
}
