//! What the node's page shows, as JSON.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use proxy_agent::report::Report;
use proxy_common::{accel::Reason, counter::Event, verdict::Rule};
use proxy_core::config::Choice as _;
use proxy_plane::{
    dataplane::{Hazardous, Traffic, WorkloadStatus},
    flows::{self, Accounted, Busiest, ClassTotals, Flow, Share},
};
use serde::Serialize;

use super::{
    metrics::is_refusal,
    paths::{self, Path},
    questions::Questions,
    snapshot::{Snapshot, names},
};
use crate::why::{self, Cause};

/// More rows than anybody reads, and few enough for a phone.
pub(super) const FLOWS: usize = 200;

/// Raised when a field changes its meaning or goes.
const SCHEMA: u32 = 2;

#[derive(Debug, Serialize)]
pub(super) struct Node<'a> {
    schema: u32,
    /// This host's name.
    node: String,
    version: &'static str,
    /// When it was read, since the epoch.
    time_ms: u64,
    workloads: Vec<Workload<'a>>,
    /// Those with most bytes, open ones first.
    flows: Vec<Flow>,
    flows_live: usize,
    /// Of those the ones a call begins with: its further hops are not added.
    calls_live: usize,
    /// Closed ones that are still in the kernel's journal.
    flows_closed: usize,
    /// Of all workloads.
    share: Share,
    percent: Option<u64>,
    unreadable: &'a [String],
    /// The agent's pods, where this is the agent's server.
    agent: Option<&'a Report>,
    refusals: Vec<&'static str>,
    /// What rules, events and reasons mean.
    describe: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Serialize)]
struct Workload<'a> {
    workload: &'a str,
    namespace: &'a str,
    mode: &'static str,
    ip: &'static str,
    accelerate: &'static str,
    not_accelerated: Option<&'a str>,
    /// Programs to which nothing is redirected.
    hazardous: &'a [Hazardous],
    not_observed: Option<&'a str>,
    complete: bool,
    inbound_port: u16,
    outbound_port: u16,
    rules: &'a BTreeMap<&'static str, u64>,
    events: &'a BTreeMap<&'static str, u64>,
    acceleration: &'a BTreeMap<&'static str, Traffic>,
    classes: Vec<Path>,
    share: Accounted,
    /// What keeps bytes on the stack, the largest first; of programs by the flows that are listed.
    why: Vec<Cause>,
    /// None: nobody has asked the agent over UDP, or its questions are not looked at.
    questions: Option<Questions>,
}

impl<'a> Node<'a> {
    pub(super) fn of(seen: &'a Snapshot, flows: Busiest) -> Self {
        let paths = paths::of(&seen.totals);
        let share: Share = seen.totals.iter().map(|of| Share::of_class(of.class, &of.totals.carried)).sum();
        let rules = Rule::ALL.iter().map(|rule| (rule.name(), rule.describe()));
        let events = Event::ALL.iter().map(|event| (event.name(), event.describe()));
        let reasons = Reason::ALL.iter().map(|reason| (reason.name(), reason.describe()));
        let host = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            schema: SCHEMA,
            node: host.unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION"),
            time_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
            workloads: seen
                .workloads
                .iter()
                .zip(&seen.questions)
                .map(|(workload, asked)| {
                    let captured = asked.as_ref().map(|names| &names.captured);
                    Workload::of(workload, &paths, &seen.totals, &flows.flows, captured)
                })
                .collect(),
            flows: flows.flows,
            flows_live: flows.live,
            calls_live: flows.calls,
            flows_closed: flows.closed,
            share,
            percent: share.percent(),
            unreadable: &seen.unreadable,
            agent: seen.agent.as_ref(),
            refusals: Event::ALL
                .iter()
                .filter(|event| is_refusal(**event))
                .map(|event| event.name())
                .collect(),
            describe: rules.chain(events).chain(reasons).collect(),
        }
    }
}

impl<'a> Workload<'a> {
    fn of(
        status: &'a WorkloadStatus,
        paths: &[(String, Path)],
        totals: &[ClassTotals],
        listed: &[Flow],
        asked: Option<&flows::Questions>,
    ) -> Self {
        let [workload, namespace] = names(status);
        let meta = &status.meta;
        let share = Accounted::of(workload, totals, &status.acceleration);
        let culprits = flows::culprits(listed.iter().filter(|flow| *flow.workload == *workload));
        Self {
            workload,
            namespace,
            mode: meta.config.mode.name(),
            ip: if meta.ipv6 { "4+6" } else { "4" },
            accelerate: meta.acceleration.mode.word(),
            not_accelerated: meta.not_accelerated.as_deref(),
            hazardous: &meta.hazardous,
            not_observed: meta.not_observed.as_deref(),
            complete: status.complete,
            inbound_port: meta.config.ports.inbound,
            outbound_port: meta.config.ports.outbound,
            rules: &status.counters.rules,
            events: &status.counters.events,
            acceleration: &status.acceleration,
            why: why::causes(status, Some(&share), &culprits),
            share,
            questions: asked.and_then(Questions::of),
            classes: paths.iter().filter(|(of, _)| of == workload).map(|(_, path)| path.clone()).collect(),
        }
    }
}
