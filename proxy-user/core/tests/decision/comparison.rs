//! One connection, asked of the decision and of the interpreter.

use proptest::test_runner::TestCaseError;
use proxy_common::{
    egress::{Egress, egress},
    ingress::{Ingress, ingress},
    verdict::{Row, Rule, Target, Verdict},
    wire::route_flag,
};
use proxy_core::compile::{Compiled, compile};
use proxy_core::{
    config::Config,
    rules::{self, Family},
};
use tests::interpreter::{
    Fate, Groups, Journey, Line, Packet, Protocol, Ruleset, arriving, locally_generated,
};

use crate::{
    connection::{Incoming, Outgoing},
    settings::{GROUPS, Settings},
    topology,
};

/// One configuration in both forms.
pub(crate) struct Comparison {
    config: Config,
    compiled: Compiled,
    v4: Program,
    /// Without rules where the namespace has no IPv6.
    v6: Program,
}

/// What iptables would have, and the rows its rules are filed under.
struct Program {
    ruleset: Ruleset,
    rows: Vec<(Line, Option<Row>)>,
}

impl Program {
    fn of(config: &Config, family: Family) -> Self {
        let groups: Groups = GROUPS.iter().map(|(name, gid)| ((*name).to_owned(), *gid)).collect();
        let text = rules::render_family(config, family);
        let ruleset = Ruleset::parse(&text, &groups).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut rows: Vec<(Line, Option<Row>)> = Vec::new();
        for rule in rules::program(config, family) {
            let table = rule.table.name().to_owned();
            let number = rows.iter().filter(|(line, _)| line.table == table).count();
            rows.push((Line { table, number }, rule.row));
        }
        Self { ruleset, rows }
    }

    fn none() -> Self {
        Self { ruleset: Ruleset::default(), rows: Vec::new() }
    }

    /// The row of the innermost rule that has one.
    fn row(&self, decided_by: &[Line]) -> Option<&'static str> {
        decided_by
            .iter()
            .rev()
            .find_map(|line| self.rows.iter().find(|(known, _)| known == line)?.1)
            .map(Row::name)
    }
}

impl Comparison {
    pub(crate) fn new(settings: &Settings) -> Self {
        let config = settings.config.clone();
        let (interfaces, routes) = topology::as_read();
        let compiled = compile(&config, settings.ipv6, &interfaces, &routes);
        let v4 = Program::of(&config, Family::V4);
        let v6 = if settings.ipv6 { Program::of(&config, Family::V6) } else { Program::none() };
        Self { config, compiled, v4, v6 }
    }

    /// The rule both agree on.
    pub(crate) fn outgoing(&self, call: &Outgoing) -> Result<Rule, TestCaseError> {
        let route = self.compiled.route(call.dst).map_or(0, |route| route.flags);
        let verdict = egress(
            &self.compiled,
            &Egress {
                tcp: call.protocol == Protocol::Tcp,
                src: call.src.into(),
                dst: call.dst.into(),
                dport: call.dport,
                out_lo: route & route_flag::LOCAL != 0,
                out_excluded: route & route_flag::EXCLUDED != 0,
                uid: call.uid,
                gid: call.gid,
                mark: call.mark,
            },
        );
        let packet = Packet {
            protocol: call.protocol,
            src: call.src,
            dst: call.dst,
            sport: 40_000,
            dport: call.dport,
            in_interface: None,
            out_interface: Some(topology::out_interface(call.dst).to_owned()),
            owner: Some((call.uid, call.gid)),
            mark: call.mark,
            connmark: 0,
            zone: None,
        };
        let program = self.program(&packet);
        let journey = locally_generated(&program.ruleset, packet);
        let [nat, mangle] = [&journey.nat, &journey.mangle].map(|lines| program.row(lines));
        // A bypass is nat's word; what happens on lo afterwards in TPROXY mode only counts if it captures.
        let row = match (verdict.target, nat) {
            (Target::Inbound, _) if verdict.rule.name().starts_with('T') => mangle,
            (_, nat) => nat.or(Some("O16")),
        };
        self.compare(verdict, &journey, row.as_slice(), call.dst.is_ipv6())
    }

    /// The rule both agree on.
    pub(crate) fn incoming(&self, call: &Incoming) -> Result<Rule, TestCaseError> {
        let index = topology::index(call.interface);
        let bits = index.and_then(|index| self.compiled.interfaces.get(&index)).copied().unwrap_or(0);
        let verdict = ingress(
            &self.compiled,
            &Ingress {
                tcp: call.protocol == Protocol::Tcp,
                dst: call.dst.into(),
                dport: call.dport,
                interface: bits,
            },
        );
        let packet = Packet {
            protocol: call.protocol,
            src: call.src,
            dst: call.dst,
            sport: 40_000,
            dport: call.dport,
            in_interface: Some(call.interface.to_owned()),
            out_interface: None,
            owner: None,
            mark: 0,
            connmark: 0,
            zone: None,
        };
        let program = self.program(&packet);
        let journey = arriving(&program.ruleset, packet);
        let rows = [&journey.mangle, &journey.nat].map(|lines| program.row(lines));
        let mut rows: Vec<&str> = rows.into_iter().flatten().collect();
        if verdict.target == Target::Bypass {
            // No rule matched: I7, in TPROXY mode T4.
            rows.extend(["I7", "T4"]);
        }
        self.compare(verdict, &journey, &rows, call.dst.is_ipv6())
    }

    fn program(&self, packet: &Packet) -> &Program {
        if packet.dst.is_ipv4() { &self.v4 } else { &self.v6 }
    }

    fn compare(
        &self,
        verdict: Verdict,
        journey: &Journey,
        rows: &[&str],
        is_v6: bool,
    ) -> Result<Rule, TestCaseError> {
        let ports = self.config.ports;
        let fate = match verdict.target {
            Target::Bypass => Fate::Untouched,
            Target::Outbound => Fate::Port(ports.outbound),
            Target::Inbound => Fate::Port(ports.inbound),
            Target::Dns => Fate::Port(ports.dns),
        };
        let row = verdict.rule.name();
        let named = rows.contains(&row) || (row == "none" && is_v6 && self.v6.rows.is_empty());
        if fate == journey.fate && named {
            return Ok(verdict.rule);
        }
        let family = if is_v6 { Family::V6 } else { Family::V4 };
        Err(TestCaseError::fail(format!(
            "the decision says {verdict:?}, the rules {:?} by {rows:?}\n{journey:?}\n{}",
            journey.fate,
            rules::render_family(&self.config, family),
        )))
    }
}
