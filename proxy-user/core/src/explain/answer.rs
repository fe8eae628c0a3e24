//! From a question to its answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use proxy_common::{
    addr::Addr,
    call::{Call, destination},
    egress::egress,
    ingress::{Ingress, ingress, is_over_lo},
    policy::{Policy, Table, flag},
    verdict::{Rule, Target, Verdict},
    wire::{Owner, Route},
};
use serde::Serialize;

use super::{
    pod::Pod,
    question::{Destination, Question},
    walk::{self, Packet, Step},
};
use crate::{
    exit::{Class, Failure},
    rules::{ConnectionFacts, Family, Protocol},
};

/// What becomes of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "target", rename_all = "lowercase")]
pub enum Outcome {
    /// Left alone.
    Bypass,
    /// Turned to one of the sidecar's listeners.
    Outbound {
        port: u16,
    },
    Inbound {
        port: u16,
    },
    Dns {
        port: u16,
    },
    /// The kernel refuses the call before any rule.
    Refused {
        reason: String,
    },
}

/// The connection, as the decision sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connection {
    pub protocol: &'static str,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Bound, or chosen by the route; None: not known.
    pub source: Option<IpAddr>,
    pub destination: IpAddr,
    pub port: u16,
    pub inbound: bool,
    /// The destination is the pod's own: iptables sees `-o lo`.
    pub local: bool,
}

/// One rule, as `sidestep rules` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IptablesRule {
    pub table: &'static str,
    pub rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    pub connection: Connection,
    pub verdict: Outcome,
    /// The row of the decision table; None where the kernel refuses first.
    pub row: Option<&'static str>,
    pub description: &'static str,
    /// The rules the row stands for, and those they jump to. Empty: the chains end without a match.
    pub rules: Vec<IptablesRule>,
    /// The rows a first packet meets, up to the one that matches.
    pub chain: Vec<Step>,
    /// What the asker should know besides.
    pub notes: Vec<String>,
}

/// Answers. An error is a question that makes no sense about this pod.
pub fn explain(pod: &Pod, question: &Question) -> Result<Answer> {
    let to = question.to;
    if let Some(src) = question.caller.src
        && src.is_ipv4() != to.ip.is_ipv4()
    {
        return Err(usage(format!(
            "source {src} and destination {} are of different families; give both as IPv4 or both as IPv6",
            to.ip
        )));
    }
    if question.inbound { arriving(pod, question) } else { leaving(pod, question) }
}

/// Answers for a process whose calls no program of the workload sees: `why`. In a workload's namespace (`pod`) what it
/// sends to an address of the pod arrives there as from outside.
pub fn explain_unseen(pod: Option<&Pod>, question: &Question, why: &str) -> Result<Answer> {
    let local = pod.is_some_and(|pod| pod.is_local(question.to.ip));
    let mut answer = Answer::new(question, question.caller.src, local);
    answer.description = "no program of a workload sees this call";
    answer.notes.push(why.to_owned());
    let Some(pod) = pod else { return Ok(answer) };
    let seen = explain(pod, question)?;
    answer.connection = seen.connection;
    if let Some(row) = seen.row {
        answer.notes.push(format!("iptables would decide by row {row}: {}", seen.verdict));
    }
    let loopback = is_over_lo(&question.to.ip.into(), &Addr::UNSPECIFIED);
    if local && !loopback && question.to.tcp {
        let Question { to, .. } = *question;
        let interface = pod.arrival(Some("lo")).unwrap_or(0);
        let arrives = Ingress { tcp: to.tcp, dst: to.ip.into(), dport: to.port, interface };
        let verdict = ingress(&pod.tables, &arrives);
        if verdict.target == Target::Inbound {
            answer.verdict = Outcome::Inbound { port: pod.tables.policy.inbound_port };
            answer.row = Some(verdict.rule.name());
            answer.description = "it arrives at the pod's own address as from outside";
        }
    }
    Ok(answer)
}

fn leaving(pod: &Pod, question: &Question) -> Result<Answer> {
    let Some((uid, gid)) = question.caller.owner else {
        return Err(usage(
            "--from has no user; write uid:gid@source, or --inbound for what comes from outside".into(),
        ));
    };
    let asked = question;
    let bound = question.caller.src.map_or(Addr::UNSPECIFIED, Addr::from);
    let to = Destination { ip: destination(question.to.ip.into(), &bound).into(), ..question.to };
    let question = &Question { to, ..question.clone() };
    let route = pod.route(to.ip);
    let call = Call { tcp: to.tcp, dst: to.ip.into(), dport: to.port, bound, mark: question.mark };
    let source = Some(call.source(route)).filter(|source| !source.is_unspecified());
    let local = route.is_some_and(Route::is_local);
    let mut answer = Answer::new(question, source.map(IpAddr::from), local);
    if asked.to.ip != to.ip {
        answer.notes.push(format!(
            "{} is no address: the kernel connects to {} in its place, before any rule",
            asked.to.ip, to.ip
        ));
    }
    let connection = match call.gather(route, || Owner { uid, gid }) {
        Ok(connection) => connection,
        Err(refusal) => return Ok(answer.refused(refusal.describe())),
    };
    if route.is_none() {
        answer
            .notes
            .push("no route to it is known: if the kernel has none either, it refuses the call".into());
    }
    let verdict = egress(&pod.tables, &connection);
    let nat = egress(&WithoutMangle(&pod.tables), &connection);
    Ok(answer.decided(pod, question, verdict, nat.rule))
}

fn arriving(pod: &Pod, question: &Question) -> Result<Answer> {
    let to = question.to;
    let is_own = |src: &IpAddr| pod.is_local(*src) || is_over_lo(&Addr::UNSPECIFIED, &(*src).into());
    if let Some(src) = question.caller.src.filter(is_own) {
        return Err(usage(format!(
            "--inbound from {src}: that is the pod itself, whose calls over lo are decided where they are made; \
             leave --inbound out"
        )));
    }
    let local = pod.is_local(to.ip);
    let mut answer = Answer::new(question, question.caller.src, local);
    if question.caller.owner.is_some() {
        answer
            .notes
            .push("uid and gid of the other side are not known here: no inbound rule looks at them".into());
    }
    if [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)].contains(&to.ip) {
        return Ok(answer.refused("nothing arrives from outside for no address"));
    }
    if is_over_lo(&to.ip.into(), &Addr::UNSPECIFIED) {
        return Ok(answer.refused("what arrives from outside for a loopback address is dropped"));
    }
    if !local && pod.workload.is_some() {
        answer.notes.push(format!("{} is no address of this workload: nothing for it arrives here", to.ip));
    }
    let interface = pod.arrival(question.interface.as_deref())?;
    let connection = Ingress { tcp: to.tcp, dst: to.ip.into(), dport: to.port, interface };
    let verdict = ingress(&pod.tables, &connection);
    Ok(answer.decided(pod, question, verdict, verdict.rule))
}

impl Answer {
    fn new(question: &Question, source: Option<IpAddr>, local: bool) -> Self {
        let (uid, gid) = question.caller.owner.filter(|_| !question.inbound).unzip();
        let connection = Connection {
            protocol: if question.to.tcp { "tcp" } else { "udp" },
            uid,
            gid,
            source,
            destination: question.to.ip,
            port: question.to.port,
            inbound: question.inbound,
            local,
        };
        Self {
            connection,
            verdict: Outcome::Bypass,
            row: None,
            description: "",
            rules: Vec::new(),
            chain: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn refused(mut self, reason: &str) -> Self {
        self.verdict = Outcome::Refused { reason: reason.to_owned() };
        self.description = "the kernel refuses the call before any rule";
        self
    }

    fn decided(mut self, pod: &Pod, question: &Question, verdict: Verdict, nat_row: Rule) -> Self {
        let policy = pod.tables.policy;
        self.verdict = match verdict.target {
            Target::Bypass => Outcome::Bypass,
            Target::Outbound => Outcome::Outbound { port: policy.outbound_port },
            Target::Inbound => Outcome::Inbound { port: policy.inbound_port },
            Target::Dns => Outcome::Dns { port: policy.dns_port },
        };
        self.row = Some(verdict.rule.name());
        self.description = verdict.rule.describe();
        let to = question.to;
        let family = if to.ip.is_ipv4() { Family::V4 } else { Family::V6 };
        let packet = Packet {
            facts: ConnectionFacts {
                protocol: Some(if to.tcp { Protocol::Tcp } else { Protocol::Udp }),
                src: self.connection.source,
                dst: Some(to.ip),
                dport: Some(to.port),
                uid: self.connection.uid,
                gid: self.connection.gid,
            },
            interface: question.interface.as_deref(),
            inbound: question.inbound,
            nat_row,
            row: verdict.rule,
        };
        if verdict.rule == Rule::NoRules {
            self.notes.push(
                "Istio makes IPv6 rules if the pod's first address is IPv6, or with --dual-stack if any is"
                    .into(),
            );
            return self;
        }
        let rules = walk::rules_of(&pod.config, family, &packet);
        self.rules = rules
            .iter()
            .map(|rule| IptablesRule { table: rule.table.name(), rule: rule.to_string() })
            .collect();
        self.chain = walk::steps(&pod.config, family, &packet);
        self
    }
}

/// The same tables in REDIRECT mode: what nat OUTPUT says before mangle PREROUTING has the last word.
struct WithoutMangle<'a, T>(&'a T);

impl<T: Table> Table for WithoutMangle<'_, T> {
    fn policy(&self) -> Policy {
        let policy = self.0.policy();
        Policy { flags: policy.flags & !flag::TPROXY, ..policy }
    }

    fn port(&self, port: u16) -> u8 {
        self.0.port(port)
    }

    fn id(&self, id: u32) -> u8 {
        self.0.id(id)
    }

    fn range(&self, addr: &Addr) -> u8 {
        self.0.range(addr)
    }
}

fn usage(message: String) -> anyhow::Error {
    Failure::error(Class::Usage, message)
}
