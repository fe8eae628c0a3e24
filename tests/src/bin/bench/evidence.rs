//! Which way the traffic of a run went, by counters of everybody it had to pass.

use ::tests::pod::Pod;
use ::tests::sidestep;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::case::{Case, Work};
use crate::mode::Mode;
use crate::plane::Plane;
use crate::sidecar::Envoy;
use crate::wrk::Answered;

/// Share of the messages (large bodies: of the bytes) that has to be redirected under sidestep.
const MIN_REDIRECTED: f64 = 0.8;
/// Share of new connections that has to be accounted for: short ones stay out of the map, but for samples.
const MIN_CONSIDERED: f64 = 0.9;

/// Counters at one moment, or what they grew by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Evidence {
    /// Bytes the Envoys received from upstream.
    pub(crate) envoy_bytes: u64,
    /// Connections taken by iptables' REDIRECT rules.
    pub(crate) iptables_redirected: u64,
    /// Decisions of sidestep.
    pub(crate) decisions: u64,
    /// Messages through the sockmap, and their bytes.
    pub(crate) messages: u64,
    pub(crate) message_bytes: u64,
    /// Connections that stayed out of the sockmap because those before were short, and sockets that entered.
    pub(crate) short_lived: u64,
    pub(crate) enrolled: u64,
}

impl Evidence {
    /// The counters now.
    pub(crate) fn read(mode: Mode, pods: &[&Pod], envoys: &[Envoy], plane: &Plane) -> Result<Self> {
        let mut now = Self { iptables_redirected: plane.redirected_packets()?, ..Self::default() };
        for envoy in envoys {
            now.envoy_bytes += envoy.received()?;
        }
        if mode.is_sidestep() {
            for pod in pods {
                now.add_status(&status_of(pod)?);
            }
        }
        Ok(now)
    }

    fn add_status(&mut self, workload: &Value) {
        let rules = workload["counters"]["rules"].as_object();
        self.decisions += rules.into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum::<u64>();
        let count = |reason, what| workload["acceleration"][reason][what].as_u64().unwrap_or(0);
        self.messages += count("redirected", "messages");
        self.message_bytes += count("redirected", "bytes");
        self.short_lived += count("short_lived", "sockets");
        self.enrolled += count("enrolled", "sockets") + count("enrolled_to_send", "sockets");
    }

    /// What was added since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            envoy_bytes: self.envoy_bytes.saturating_sub(before.envoy_bytes),
            iptables_redirected: self.iptables_redirected.saturating_sub(before.iptables_redirected),
            decisions: self.decisions.saturating_sub(before.decisions),
            messages: self.messages.saturating_sub(before.messages),
            message_bytes: self.message_bytes.saturating_sub(before.message_bytes),
            short_lived: self.short_lived.saturating_sub(before.short_lived),
            enrolled: self.enrolled.saturating_sub(before.enrolled),
        }
    }

    /// Share of the run that went through the sockmap: of the messages, one each way per hop and request; of the
    /// bytes, one body per hop and request, where bodies are large.
    pub(crate) fn redirected_share(&self, case: &Case, answered: &Answered) -> f64 {
        let hops = case.setup.topology.hops() * answered.requests;
        match case.work {
            Work::Bulk(_) => self.message_bytes as f64 / (hops * case.work.body()) as f64,
            Work::Small(_) | Work::Churn(_) => self.messages as f64 / (2 * hops) as f64,
        }
    }

    /// Fails unless the run went the way `mode` says.
    pub(crate) fn check(&self, mode: Mode, case: &Case, answered: &Answered) -> Result<()> {
        let connections = match case.work {
            Work::Churn(_) => answered.requests,
            Work::Small(count) | Work::Bulk(count) => u64::from(count),
        };
        let envoys = case.setup.topology.hops() - 1;
        if mode == Mode::None {
            // Envoy's own housekeeping asks nobody upstream.
            return ensure_that(self.envoy_bytes == 0, "traffic went through Envoy", self);
        }
        let bytes = answered.requests * case.work.body() * envoys;
        ensure_that(self.envoy_bytes >= bytes, "traffic went around Envoy", self)?;
        if mode.iptables().is_some() {
            let redirected = self.iptables_redirected >= connections * envoys;
            return ensure_that(redirected, "connections went around iptables' rules", self);
        }
        ensure_that(self.decisions >= connections, "connections went around sidestep", self)?;
        if mode == Mode::SidestepNoaccel {
            return ensure_that(self.messages == 0, "messages were redirected all the same", self);
        }
        if !mode.is_vouched() {
            // How much that is, is what is asked.
            return Ok(());
        }
        if matches!(case.work, Work::Churn(_)) {
            let considered = (self.short_lived + self.enrolled / 2) as f64;
            let all = (case.setup.topology.hops() * answered.requests) as f64;
            return ensure_that(considered >= MIN_CONSIDERED * all, "the acceleration saw too few", self);
        }
        let share = self.redirected_share(case, answered);
        let enough = share >= MIN_REDIRECTED;
        ensure_that(enough, &format!("only {:.0} % went through the sockmap", share * 100.0), self)
    }
}

fn ensure_that(holds: bool, otherwise: &str, evidence: &Evidence) -> Result<()> {
    ensure!(holds, "{otherwise}: {evidence:?}");
    Ok(())
}

/// The pod's entry of `sidestep status`.
fn status_of(pod: &Pod) -> Result<Value> {
    let output = std::process::Command::new(sidestep::binary()?)
        .args(["status", "--output", "json"])
        .output()
        .context("run sidestep status")?;
    let status: Value = serde_json::from_slice(&output.stdout).context("read sidestep status")?;
    let cgroup = pod.cgroup().display().to_string();
    let workloads = status["workloads"].as_array().cloned().unwrap_or_default();
    let found = workloads.into_iter().find(|workload| workload["meta"]["cgroup_path"] == cgroup.as_str());
    found.with_context(|| format!("{cgroup} is not attached"))
}
