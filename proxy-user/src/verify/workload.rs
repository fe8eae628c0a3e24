//! The check of one attached workload.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Result, anyhow};
use proxy_core::{
    config::{CidrSet, Config, OwnerGroups, RunOptions},
    explain::{Caller, Destination, Outcome, Pod, Question, explain},
};
use proxy_plane::{
    dataplane::{self, Counters, Described, WorkloadPins, WorkloadSelector},
    netns::{Netns, listening_ports},
};

use super::{
    attachment,
    child::Probe,
    inbound::{self, nobody},
    probe::Act,
    probe_cgroup,
    report::Report,
    trial::{ProbeSite, RowCount, Trial},
    validation,
};

/// nobody, as the application.
const APPLICATION: u32 = 65534;
const TIMEOUT: Duration = Duration::from_secs(2);
/// Ranges tried when most are not captured.
const MOST_RANGES: usize = 16;

/// Whether the sidecar has to be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sidecar {
    Expected,
    NotYet,
}

/// Checks it. `netns` is how the caller reaches its namespace, if not by the path it was attached with.
pub fn verify(selector: &WorkloadSelector, netns: Option<&Netns>, sidecar: Sidecar) -> Result<Report> {
    let mut report = Report::default();
    let (all, unreadable) = dataplane::status()?;
    let pins = selector.find()?;
    let found =
        pins.iter().find_map(|pins| Some((pins, all.iter().find(|status| status.workload == pins.name())?)));
    let Some((pins, status)) = found else {
        let broken = unreadable.iter().find(|line| pins.iter().any(|pins| line.starts_with(&pins.name())));
        report.add(
            "attached",
            Err(match broken {
                Some(line) => anyhow!("{line}; run `sidestep attach` again"),
                None => not_attached(selector),
            }),
        );
        return Ok(report);
    };
    report.workload = Some(status.workload.clone());
    report.pass("attached", format!("workload {}, by sidestep {}", status.workload, status.meta.version));
    let path = netns.map(Netns::path);
    let Some(site) = attachment::check(&mut report, pins, status, path) else { return Ok(report) };
    if let Err(error) = connections(&mut report, pins, &site, &status.meta, sidecar) {
        report.add("probes", Err(error));
    }
    Ok(report)
}

fn not_attached(selector: &WorkloadSelector) -> anyhow::Error {
    match selector {
        WorkloadSelector::Named(name) => match dataplane::attached_as(name) {
            Err(error) => error,
            Ok(_) => anyhow!("workload {name} was attached this moment; try again"),
        },
        WorkloadSelector::At { .. } => {
            anyhow!("{selector} is not attached; run `sidestep attach`, `sidestep status` shows what is")
        }
    }
}

fn connections(
    report: &mut Report,
    pins: &WorkloadPins,
    opened: &attachment::OpenedWorkload,
    meta: &Described,
    sidecar: Sidecar,
) -> Result<()> {
    let ipv6 = meta.ipv6;
    let tables = dataplane::asked_pod(pins, Some(&opened.netns))?;
    let cgroup = probe_cgroup::below(opened.cgroup.path())?;
    let site =
        ProbeSite { cgroup_procs: Some(cgroup.procs()), netns: Some(PathBuf::from(opened.netns.path())) };
    let ports = tables.config.ports;
    let taken = listening_ports(Some(&opened.netns))?;
    let free: Vec<u16> =
        [ports.outbound, ports.inbound].into_iter().filter(|port| !taken.contains(port)).collect();
    listens(report, &tables.config, &free, sidecar);
    let listener = stand_in(&site, &tables.config, &free, ipv6)?;
    let bench =
        Bench { slot: meta.slot, tables: &tables, site: &site, listener: listener.as_ref(), free: &free };
    for v6 in [false, true] {
        let [validation, outbound, inbound] = names(v6);
        if v6 && !ipv6 {
            for name in [validation, outbound, inbound] {
                report.skip(name, "this workload has no IPv6 rules");
            }
            continue;
        }
        bench.trial(report, validation, &self_call(&tables.config, v6))?;
        match captured_outbound(&tables, v6)? {
            Some(question) => bench.trial(report, outbound, &question)?,
            None => {
                report.skip(outbound, "this configuration captures no outbound address that can be tried")
            }
        }
        match inbound::check(pins, &tables, v6) {
            Ok(Err(reason)) => report.skip(inbound, reason),
            Ok(Ok(detail)) => report.pass(inbound, detail),
            Err(error) => report.add(inbound, Err(error)),
        }
    }
    Ok(())
}

/// Step `sidecar`. What is captured in a direction is refused as long as nobody listens for it.
fn listens(report: &mut Report, config: &Config, free: &[u16], sidecar: Sidecar) {
    const STEP: &str = "sidecar";
    let (ports, words) = (config.ports, |ports: &[u16]| {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        format!("port{} {}", if ports.len() == 1 { "" } else { "s" }, ports.join(" and "))
    });
    let wanted = [(ports.outbound, config.captures_outbound()), (ports.inbound, config.captures_inbound())];
    let wanted: Vec<u16> =
        wanted.into_iter().filter(|(_, captured)| *captured).map(|(port, _)| port).collect();
    let missing: Vec<u16> = wanted.iter().filter(|port| free.contains(port)).copied().collect();
    match sidecar {
        _ if wanted.is_empty() => report.skip(STEP, "this configuration captures nothing that would need it"),
        _ if missing.is_empty() => report.pass(STEP, format!("it listens on {}", words(&wanted))),
        Sidecar::NotYet => {
            report.skip(STEP, format!("nobody listens on {} yet: verify does, while it runs", words(&missing)));
        }
        Sidecar::Expected => report.fail(
            STEP,
            format!(
                "nobody listens on {}: what is captured is refused; start the sidecar, or say --no-sidecar if it is not \
                 expected yet",
                words(&missing)
            ),
        ),
    }
}

fn names(v6: bool) -> [&'static str; 3] {
    if v6 {
        ["validation-ipv6", "outbound-ipv6", "inbound-ipv6"]
    } else {
        ["validation-ipv4", "outbound-ipv4", "inbound-ipv4"]
    }
}

/// Listens in the sidecar's place on the ports where nobody does: the inbound one for what comes from outside too.
fn stand_in(site: &ProbeSite, config: &Config, free: &[u16], ipv6: bool) -> Result<Option<Probe>> {
    let mut at = Vec::new();
    for port in free {
        for v6 in [false, true].into_iter().filter(|v6| !v6 || ipv6) {
            let any: IpAddr = if v6 {
                std::net::Ipv6Addr::UNSPECIFIED.into()
            } else {
                std::net::Ipv4Addr::UNSPECIFIED.into()
            };
            let loopback = validation::addresses(v6).0;
            at.push(SocketAddr::new(if *port == config.ports.inbound { any } else { loopback }, *port));
        }
    }
    if at.is_empty() {
        return Ok(None);
    }
    Probe::listen(&site.orders(proxy(config), Act::Listen { at })).map(Some)
}

fn proxy(config: &Config) -> Option<(u32, u32)> {
    config.proxy_uids.first().copied().zip(config.proxy_gids.first().copied())
}

/// What istio-validation does.
fn self_call(config: &Config, v6: bool) -> Question {
    let (from, to, _) = validation::addresses(v6);
    Question {
        caller: Caller { owner: proxy(config), src: Some(from) },
        to: Destination { tcp: true, ip: to, port: RunOptions::default().probe_port },
        inbound: false,
        interface: None,
        mark: 0,
    }
}

/// A call of the application that is captured: to nobody's address if possible, else into the first captured range.
fn captured_outbound(tables: &Pod, v6: bool) -> Result<Option<Question>> {
    let config = &tables.config;
    let port = config.outbound_ports_include.first().copied();
    let mut goals: Vec<(IpAddr, u16)> =
        [Some(80), port].into_iter().flatten().map(|port| (nobody(v6), port)).collect();
    if let CidrSet::List(nets) = &config.outbound_include {
        let family = nets.iter().filter(|net| net.addr().is_ipv6() == v6);
        goals.extend(family.filter_map(|net| net.hosts().next()).take(MOST_RANGES).map(|ip| (ip, 80)));
    }
    let group = match &config.owner_groups {
        OwnerGroups::Only(groups) => groups.first().map(|group| group.gid),
        _ => None,
    };
    for (ip, port) in goals {
        let question = Question {
            caller: Caller { owner: Some((APPLICATION, group.unwrap_or(APPLICATION))), src: None },
            to: Destination { tcp: true, ip, port },
            inbound: false,
            interface: None,
            mark: 0,
        };
        if matches!(explain(tables, &question)?.verdict, Outcome::Outbound { .. }) {
            return Ok(Some(question));
        }
    }
    Ok(None)
}

/// What all trials of a workload share.
struct Bench<'a> {
    slot: u32,
    tables: &'a Pod,
    site: &'a ProbeSite,
    listener: Option<&'a Probe>,
    free: &'a [u16],
}

impl Bench<'_> {
    /// Makes the connection, if the decision captures it, and holds the kernel to that.
    fn trial(&self, report: &mut Report, name: &'static str, question: &Question) -> Result<()> {
        let answer = explain(self.tables, question)?;
        let (Outcome::Outbound { port } | Outcome::Inbound { port } | Outcome::Dns { port }) = answer.verdict
        else {
            let row = answer.row.unwrap_or("no row");
            report.skip(
                name,
                format!("this configuration does not capture it ({row}: {})", answer.description),
            );
            return Ok(());
        };
        let trial = Trial {
            user: question.caller.owner,
            from: question.caller.src,
            to: SocketAddr::new(question.to.ip, question.to.port),
            expect: port,
            timeout: TIMEOUT,
        };
        let row = answer.row.unwrap_or_default();
        let read = || Ok(Counters::read(self.slot)?.rules.get(row).copied().unwrap_or(0));
        let result = match self.listener.filter(|_| self.free.contains(&port)) {
            Some(listener) => trial.against(self.site, listener),
            None => trial.against_sidecar(self.site, Some(&RowCount { name: row, read: &read })),
        };
        report.add(name, result);
        Ok(())
    }
}
