//! What workloads ask their agent for over UDP, and what comes of it.

use anyhow::Result;
use proxy_common::questions::Outcome;

pub use proxy_common::questions::Questions;

use crate::{
    clock::monotonic_ns,
    dataplane::{QuestionMaps, WorkloadStatus, is_observed},
};

/// Of each of these workloads, in their order; none: its packets are not looked at. A question that nobody waits for any
/// more counts as unanswered.
pub fn questions(workloads: &[WorkloadStatus]) -> Result<Vec<Option<Questions>>> {
    if !is_observed() {
        return Ok(vec![None; workloads.len()]);
    }
    let maps = QuestionMaps::open()?;
    let now = monotonic_ns()?;
    let of = |workload: &WorkloadStatus| {
        let meta = &workload.meta;
        if meta.not_observed.is_some() || meta.not_timed.is_some() {
            return None;
        }
        let mut found = maps.questions(meta.slot)?;
        let over = maps.asked(meta.slot).filter(|asked| asked.is_over(now)).count();
        found.outcomes[Outcome::Unanswered as usize] += over as u64;
        Some(found)
    };
    Ok(workloads.iter().map(of).collect())
}
