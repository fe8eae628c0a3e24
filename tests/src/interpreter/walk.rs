//! One packet through one chain of one table (net/ipv4/netfilter/ip_tables.c: ipt_do_table).

use super::{
    packet::Packet,
    ruleset::{Chains, Line, Rule, Ruleset, Target},
};

/// How the walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Accept,
    Drop,
    /// The destination becomes the loopback address and this port; the walk is over.
    Redirect(u16),
    /// Handed to the socket on this port; the walk is over.
    Tproxy(u16),
}

/// A walk, with the rules that decided.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    pub end: End,
    /// For a target that ends the walk: the rules jumped through and the last one. For a packet that was let pass: the
    /// same for the last RETURN; empty when no rule had a word to say.
    pub decided_by: Vec<Line>,
}

/// Walks a built-in chain. Every chain's policy is ACCEPT.
pub(super) fn walk(ruleset: &Ruleset, table: &str, chain: &str, packet: &mut Packet) -> Walk {
    let mut walker = Walker { path: Vec::new(), returned_by: Vec::new() };
    let end = ruleset.table(table).and_then(|chains| walker.chain(chains, chain, packet));
    match end {
        Some(end) => Walk { end, decided_by: walker.path },
        None => Walk { end: End::Accept, decided_by: walker.returned_by },
    }
}

struct Walker {
    path: Vec<Line>,
    returned_by: Vec<Line>,
}

impl Walker {
    /// `None`: the end of the chain or RETURN, go on in the calling chain (in a built-in one: the policy).
    fn chain(&mut self, chains: &Chains, name: &str, packet: &mut Packet) -> Option<End> {
        for rule in &chains[name] {
            if !rule.matches.iter().all(|m| m.holds(packet)) {
                continue;
            }
            self.path.push(rule.line.clone());
            if rule.target == Target::Return {
                self.returned_by = self.path.clone();
                self.path.pop();
                return None;
            }
            if let Some(end) = self.target(chains, rule, packet) {
                return Some(end);
            }
            self.path.pop();
        }
        None
    }

    fn target(&mut self, chains: &Chains, rule: &Rule, packet: &mut Packet) -> Option<End> {
        match &rule.target {
            Target::Return => None,
            Target::Accept => Some(End::Accept),
            Target::Drop => Some(End::Drop),
            Target::Jump(chain) => self.chain(chains, chain, packet),
            Target::Redirect(port) => Some(End::Redirect(*port)),
            Target::Tproxy { mark, mask, port } => {
                packet.mark = (packet.mark & !mask) ^ mark;
                Some(End::Tproxy(*port))
            }
            Target::SetMark(mark) => {
                packet.mark = *mark;
                None
            }
            Target::SaveMark => {
                packet.connmark = packet.mark;
                None
            }
            Target::RestoreMark => {
                packet.mark = packet.connmark;
                None
            }
            Target::Zone(zone) => {
                packet.zone.get_or_insert(*zone);
                None
            }
        }
    }
}
