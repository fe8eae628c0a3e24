//! What this machine can do for sidestep, before anything is touched. Nothing is changed, nothing is attached, and what
//! only root may see is reported as unseen to others.

mod cni;
mod finding;
mod kernel;
mod mounts;
mod network;
mod others;
mod rights;

use std::{fmt, path::Path};

use anyhow::Result;
use proxy_plane::{
    cgroup::Cgroup,
    dataplane::raise_memlock,
    kernel::{
        feature::{Effect, Feature},
        version::KernelRelease,
    },
    netns::Netns,
};
use serde::Serialize;

use crate::sheet::Sheet;

pub use finding::{Finding, Level};
pub(crate) use others::istio_chains_here as istio_chains;

/// All findings, and the feature table as this kernel fills it.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    pub schema: u32,
    pub kernel: String,
    pub verdict: Level,
    pub findings: Vec<Finding>,
    pub features: Vec<FeatureState>,
}

#[derive(Clone, Debug, Serialize)]
pub struct FeatureState {
    pub name: &'static str,
    /// `yes`, `no` or `inconclusive`.
    pub answer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub since: String,
    /// A kernel of this release has it, unless it was configured without.
    pub expected: bool,
    pub effect: Effect,
    pub needed_by: &'static str,
    pub without: &'static str,
}

/// Looks at the machine; `netns` is the workload's or, for None, the caller's own, which needs no privilege; without a
/// cgroup the root's programs are looked at, which run for everybody. `networks`: where the container runtime has its own.
///
/// # Errors
/// When the kernel's release cannot be read, or the namespace cannot be entered.
pub fn examine(netns: Option<&Netns>, cgroup: Option<&Cgroup>, networks: &Path) -> Result<Diagnosis> {
    // Else the probes of an older kernel run out of it, and say EPERM.
    // Where it stays, `memlock` says so.
    let _ = raise_memlock();
    let release = KernelRelease::current()?;
    let features: Vec<FeatureState> =
        Feature::ALL.into_iter().map(|feature| state(feature, &release)).collect();
    let mut findings = kernel::findings(&release, &features);
    findings.extend(rights::findings());
    findings.extend(mounts::findings());
    findings.push(cni::finding(networks));
    findings.extend(others::on_cgroup(cgroup));
    findings.extend(match netns {
        Some(netns) => netns.within(|| Ok(in_netns()))?,
        None => in_netns(),
    });
    let verdict = verdict(&findings);
    Ok(Diagnosis { schema: 1, kernel: release.to_string(), verdict, findings, features })
}

fn in_netns() -> Vec<Finding> {
    let mut findings = others::in_netns();
    findings.extend(network::findings());
    findings
}

fn state(feature: Feature, release: &KernelRelease) -> FeatureState {
    let (row, answer) = (feature.row(), feature.probe());
    FeatureState {
        name: row.name,
        answer: answer.name(),
        detail: answer.detail().map(str::to_owned),
        since: row.since.to_string(),
        expected: feature.expected(release),
        effect: row.effect,
        needed_by: row.needed_by,
        without: row.without,
    }
}

/// The worst finding. What cannot be seen is not known to be well.
fn verdict(findings: &[Finding]) -> Level {
    match findings.iter().map(|finding| finding.level).max() {
        Some(Level::Unseen) => Level::Degraded,
        Some(level) => level,
        None => Level::Ok,
    }
}

impl Diagnosis {
    /// 0: all is well; 1: works with less, or not everything could be seen; 2: attach would fail.
    pub const fn exit_code(&self) -> u8 {
        match self.verdict {
            Level::Ok => 0,
            Level::Unseen | Level::Degraded => 1,
            Level::Unusable => 2,
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Sheet::unruled(&["CHECK", "LEVEL", "FOUND", "WHAT TO DO"]);
        for finding in &self.findings {
            let level = format!("{:?}", finding.level).to_lowercase();
            let advice = finding.advice.clone().unwrap_or_default();
            table.add([finding.check.to_owned(), level, finding.found.clone(), advice]);
        }
        writeln!(f, "{table}")?;
        let says = match self.verdict {
            Level::Ok => "everything sidestep uses is here",
            Level::Unseen | Level::Degraded => {
                "sidestep works here with less, or not everything could be seen"
            }
            Level::Unusable => "attach would fail here",
        };
        write!(f, "{says}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let levels = |levels: &[Level]| {
            let findings: Vec<Finding> = levels
                .iter()
                .map(|level| Finding { check: "x", level: *level, found: String::new(), advice: None })
                .collect();
            verdict(&findings)
        };
        assert_eq!(levels(&[]), Level::Ok);
        assert_eq!(levels(&[Level::Ok, Level::Unseen]), Level::Degraded);
        assert_eq!(levels(&[Level::Unusable, Level::Degraded]), Level::Unusable);
    }
}
