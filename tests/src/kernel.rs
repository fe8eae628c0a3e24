//! What the running kernel can do, as `sidestep doctor` says.

use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::sidestep;

/// One feature (`proxy-user/plane/src/kernel/feature.rs`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Feature {
    pub name: String,
    /// `yes`, `no` or `inconclusive`.
    pub answer: String,
    pub detail: Option<String>,
    pub since: String,
    /// The kernel's release has it.
    pub expected: bool,
}

#[derive(Deserialize)]
struct Diagnosis {
    kernel: String,
    features: Vec<Feature>,
}

/// What lacks, and whether a test may be skipped for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    pub why: String,
    pub may_skip: bool,
}

/// None if the kernel has the feature. A test may be skipped only on a kernel whose release does not have it, or where
/// the machine withholds it on purpose.
///
/// # Errors
/// When doctor cannot be run, or does not know the feature.
pub fn lack(feature: &str) -> Result<Option<Lack>> {
    static ASKED: OnceLock<Result<Diagnosis, String>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| ask().map_err(|error| format!("{error:#}")));
    let diagnosis = asked.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    let found = diagnosis.features.iter().find(|known| known.name == feature);
    let found = found.with_context(|| format!("doctor knows no feature {feature}"))?;
    if found.answer == "yes" {
        return Ok(None);
    }
    let detail = found.detail.as_deref().unwrap_or_default();
    let why = format!("Linux {}: {}: {detail}; since {}", diagnosis.kernel, found.answer, found.since);
    Ok(Some(Lack { why, may_skip: !found.expected || withheld(feature) }))
}

/// Whether the machine leaves a feature out on purpose: `SIDESTEP_WITHHELD`, comma separated (tests/kernels.toml).
pub fn withheld(feature: &str) -> bool {
    std::env::var("SIDESTEP_WITHHELD").unwrap_or_default().split(',').any(|entry| entry == feature)
}

/// Major and minor of the running kernel.
///
/// # Errors
/// When it says none.
pub fn release() -> Result<(u32, u32)> {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's release")?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    numbers.next().zip(numbers.next()).with_context(|| format!("no release: {text}"))
}

fn ask() -> Result<Diagnosis> {
    let output = Command::new(sidestep::binary()?)
        .args(["doctor", "--output", "json"])
        .output()
        .context("run sidestep doctor")?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("doctor: {}", String::from_utf8_lossy(&output.stderr)))
}
