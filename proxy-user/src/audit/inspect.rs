//! The audit of one pod.

use std::net::IpAddr;

use anyhow::Result;
use proxy_common::verdict::Rule;
use proxy_core::harmless::harmless;
use proxy_plane::netns::Netns;

use super::{
    audited_pod::AuditedPod,
    finding::{Finding, Kind},
    reach::{Forward, Reach, reach},
    report::{Report, Row},
    reserved,
    server::{Protocol, Server},
    sidecar::ProxyProcesses,
};

/// What the auditor is told of the sidecar.
#[derive(Clone, Debug)]
pub struct Options {
    /// Forwarding modes to hold the servers against.
    pub forwards: Vec<Forward>,
    /// Ports the sidecar forwards in mode lo, which are those clients are meant to reach. None: every one.
    pub declared: Option<Vec<u16>>,
}

/// Looks at every server of `netns`.
pub fn audit(pod: &AuditedPod, netns: &Netns, options: &Options) -> Result<Report> {
    let servers = Server::all(netns)?;
    let proxies = ProxyProcesses::find(pod, netns, &servers)?;
    Ok(judge(pod, servers, &proxies, options))
}

pub(super) fn judge(
    pod: &AuditedPod,
    servers: Vec<Server>,
    proxies: &ProxyProcesses,
    options: &Options,
) -> Report {
    let mut rows = Vec::new();
    let mut findings = Vec::new();
    for server in &servers {
        let reach = reach(pod, &servers, server, options.declared.as_deref());
        let sidecar = proxies.owns(pod, server);
        let mut judge = Judge { pod, server, reach: &reach, options, findings: &mut findings };
        if sidecar {
            judge.administration();
        } else {
            judge.application();
        }
        rows.push(Row::new(server.clone(), reach, sidecar));
    }
    findings.extend(identities(pod, proxies));
    findings.extend(no_sidecar(pod, &rows));
    findings.sort_by_key(|finding| finding.class);
    Report {
        workload: pod.workload.clone(),
        namespace: pod.pod.as_ref().map(|pod| pod.namespace.clone()),
        pod: pod.pod.as_ref().map(|pod| pod.name.clone()),
        addresses: pod.addresses(),
        rows,
        findings,
    }
}

/// One server before the court.
struct Judge<'a> {
    pod: &'a AuditedPod,
    server: &'a Server,
    reach: &'a Reach,
    options: &'a Options,
    findings: &'a mut Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, kind: Kind, forward: Option<Forward>, detail: String, next: &str) {
        let mut rows: Vec<&str> = self.reach.captured_by.into_iter().collect();
        let ways: &[&str] = match (kind, forward) {
            (Kind::AroundSidecar, _) => {
                rows = self.reach.direct.iter().map(|way| way.row).collect();
                &["direct"]
            }
            (_, Some(Forward::Lo)) => {
                rows.extend([Rule::O5, Rule::O8].map(Rule::name));
                &["inbound", "lo"]
            }
            (_, Some(Forward::Eth0)) => {
                rows.push(Rule::O2.name());
                &["inbound", "eth0", "tproxy"]
            }
            (_, None) => &["inbound", "direct"],
        };
        let finding = Finding::of_server(self.server, kind, forward, detail, next);
        let mut finding = finding.seen(&self.pod.rules, rows);
        finding.flows = self.pod.traffic.to(self.server.port, ways);
        self.findings.push(finding);
    }

    /// Clients may come to the sidecar's own servers, but not to those that command it.
    fn administration(&mut self) {
        let open = self.reach.eth0 || !self.reach.direct.is_empty();
        if open && reserved::is_administrative(self.server.port) {
            let detail = "clients outside reach the sidecar's administration: it shuts the sidecar down and shows its \
                          secrets' names and configuration";
            let next = "bind it to 127.0.0.1 (Istio's default; proxyAdminPort, ProxyConfig)";
            self.find(Kind::AdminExposed, None, detail.into(), next);
        }
    }

    fn application(&mut self) {
        self.on_a_reserved_port();
        self.around_the_sidecar();
        if self.server.protocol == Protocol::Tcp && self.reach.captured && !is_link_local(self.server.address)
        {
            for forward in self.options.forwards.clone() {
                self.through_the_sidecar(forward);
            }
        }
    }

    fn on_a_reserved_port(&mut self) {
        let ports = &self.pod.config.ports;
        let Some(purpose) = reserved::purpose(ports, self.server.protocol, self.server.port) else { return };
        self.find(
            Kind::ReservedPort,
            None,
            format!(
                "port {} is {purpose}, and an application listens there: the sidecar cannot, or takes its connections",
                self.server.port
            ),
            "let the application listen on another port",
        );
    }

    /// UDP is never captured: that a client reaches a UDP server is no news, and is in the table.
    fn around_the_sidecar(&mut self) {
        if self.reach.direct.is_empty() || self.server.protocol == Protocol::Udp {
            return;
        }
        let ways: Vec<String> = self
            .reach
            .direct
            .iter()
            .map(|way| format!("{} by {} (row {}: {})", way.address, way.interface, way.row, way.why))
            .collect();
        self.find(
            Kind::AroundSidecar,
            None,
            format!(
                "clients reach it without the sidecar, so without its mTLS, policies and telemetry: {}",
                ways.join("; ")
            ),
            "capture the port (-b, -d; annotations includeInboundPorts, excludeInboundPorts; IPv6 needs --dual-stack \
             or an IPv6 pod), or bind the server to 127.0.0.1 if it is not for clients",
        );
    }

    fn through_the_sidecar(&mut self, forward: Forward) {
        let Server { address, port, .. } = *self.server;
        if self.reach.through(forward) {
            if address.is_loopback() {
                let detail = format!(
                    "bound to {address}, yet clients that call port {port} of the pod are forwarded to it: without the \
                     sidecar nobody outside could reach it"
                );
                let next = "where clients should not reach it, go by mode eth0 (Istio >= 1.10, PASSTHROUGH) or leave \
                            the port out of every Service; else bind it to the pod's address as well";
                self.find(Kind::LoopbackExposed, Some(forward), detail, next);
            }
            return;
        }
        // For nobody outside, unless the port is declared, or nothing is known of that.
        let meant = self.options.declared.as_ref().is_none_or(|ports| ports.contains(&port));
        if !meant && address.is_loopback() {
            return;
        }
        let (kind, detail, next) = if address.is_loopback() {
            (
                Kind::LoopbackUnreachable,
                format!(
                    "bound to {address}, and the sidecar forwards {}: clients see an open port that closes at once, or \
                     503 UF",
                    target(forward, port)
                ),
                "bind it to 0.0.0.0 or the pod's address if it is for clients; if not, say which ports are, with \
                 --declared-port",
            )
        } else if self.pod.addresses().contains(&address) {
            (
                Kind::PodAddressUnreachable,
                format!(
                    "bound to {address}, and the sidecar forwards {}: clients see an open port that closes at once, or \
                     503 UF",
                    target(forward, port)
                ),
                "bind it to 0.0.0.0, or go by mode eth0 (Istio >= 1.10, PASSTHROUGH)",
            )
        } else {
            (
                Kind::ForeignAddress,
                format!("{address} is none of the pod's addresses, nobody can call it there"),
                "bind it to 0.0.0.0 or to an address the pod has",
            )
        };
        self.find(kind, Some(forward), detail, next);
    }
}

fn target(forward: Forward, port: u16) -> String {
    match forward {
        Forward::Lo => format!("to 127.0.0.1:{port}"),
        Forward::Eth0 => format!("to the pod's address, port {port}"),
    }
}

/// Not looked at: clients need the interface besides.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn identities(pod: &AuditedPod, proxies: &ProxyProcesses) -> Vec<Finding> {
    let each = proxies.others.iter().map(|process| {
        Finding::about(
            format!("pid {} ({})", process.pid, harmless(&process.name)),
            Kind::ProxyIdentity,
            None,
            format!(
                "runs with uid {}, gid {}, which are the sidecar's, and is not the sidecar: what it sends leaves the pod \
                 uncaptured, and what it sends to the pod's own address is handed to the inbound listener",
                process.uid, process.gid
            ),
            "give it another user and group (runAsUser, runAsGroup)",
        )
        .seen(&pod.rules, [Rule::O3, Rule::O5, Rule::O6, Rule::O8].map(Rule::name))
    });
    each.collect()
}

fn no_sidecar(pod: &AuditedPod, rows: &[Row]) -> Option<Finding> {
    let inbound = pod.config.ports.inbound;
    let listens = |row: &Row| {
        row.server.protocol == Protocol::Tcp
            && row.server.port == inbound
            && !row.server.address.is_loopback()
    };
    let captured = rows.iter().filter(|row| !row.sidecar && row.reach.captured).count();
    if pod.workload.is_none() || captured == 0 || rows.iter().any(listens) {
        return None;
    }
    Some(Finding::about(
        format!("port {inbound}"),
        Kind::NoSidecar,
        None,
        format!(
            "connections to {captured} servers are captured and nobody listens on {inbound}: all are refused"
        ),
        "start the sidecar; `sidestep verify` says what else is missing",
    ))
}
