//! CPU time of pods, from their cgroups: cpu.stat is there without the cpu controller. Packets handled in softirq are
//! charged to whoever runs, which here is one of them.

use ::tests::pod::Pod;
use anyhow::{Context, Result};

/// Microseconds the pods' processes have run, ended ones included.
pub(crate) fn used_us(pods: &[&Pod]) -> Result<u64> {
    pods.iter().map(|pod| used_by(pod)).sum()
}

fn used_by(pod: &Pod) -> Result<u64> {
    let path = pod.cgroup().join("cpu.stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    usage
        .and_then(|value| value.trim().parse().ok())
        .with_context(|| format!("no usage_usec in {}", path.display()))
}
