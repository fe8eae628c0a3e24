//! The audit of a node: every workload, each by its own rules.

use std::fmt;

use anyhow::Result;
use proxy_plane::dataplane::{self, Gone, WorkloadPins, WorkloadStatus};
use serde::Serialize;

use super::{
    audited_pod::AuditedPod,
    inspect::{Options, audit},
    report::{Report, counts},
    traffic::Traffic,
};

/// What was found on a node.
#[derive(Debug, Default, Serialize)]
pub struct NodeReport {
    pub workloads: Vec<Report>,
    /// Those that could not be looked at, and why.
    pub unreadable: Vec<String>,
}

/// Looks at every attached workload that is not gone.
///
/// # Errors
/// When it cannot be known which there are.
pub fn audit_all(options: &Options) -> Result<NodeReport> {
    let (attached, unreadable) = dataplane::status()?;
    let mut found = NodeReport { workloads: Vec::new(), unreadable };
    let mut seen = Traffic::of_each();
    for status in attached.iter().filter(|status| !status.gone.is_some_and(Gone::is_over)) {
        let Some(pins) = WorkloadPins::parse(&status.workload) else { continue };
        let traffic = seen.remove(&status.workload).unwrap_or_default();
        let report = AuditedPod::of_pins_with(&pins, None, traffic)
            .and_then(|(pod, netns)| audit(&pod, &netns, options));
        match report {
            Ok(report) => found.workloads.push(report),
            // Detached meanwhile.
            Err(_) if !WorkloadStatus::is_attached(status) => {}
            Err(error) => found.unreadable.push(format!("{}: {error:#}", status.workload)),
        }
    }
    Ok(found)
}

impl NodeReport {
    /// Everything was looked at, and nothing is exposed, unreachable or in conflict.
    pub fn is_clean(&self) -> bool {
        self.unreadable.is_empty() && self.workloads.iter().all(Report::is_clean)
    }
}

impl fmt::Display for NodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_findings: Vec<&Report> = self.workloads.iter().filter(|report| !report.is_clean()).collect();
        for report in &with_findings {
            writeln!(f, "workload {}: {}", report.name().unwrap_or_default(), counts(&report.findings))?;
            for finding in &report.findings {
                writeln!(f, "{finding}")?;
            }
        }
        let all = self.workloads.len();
        let noun = if all == 1 { "workload" } else { "workloads" };
        if with_findings.is_empty() {
            return writeln!(f, "{all} {noun}, all clean: nothing exposed, unreachable or in conflict");
        }
        let findings = with_findings.iter().flat_map(|report| &report.findings);
        writeln!(f, "{all} {noun}, {} with {}", with_findings.len(), counts(findings))
    }
}
