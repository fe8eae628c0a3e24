//! What workloads ask their agent for over UDP, what their sidecars ask resolvers for, and what comes of both.

use std::net::IpAddr;

use anyhow::Result;
use proxy_common::questions::{Outcome, who, whom_of};

pub use proxy_common::questions::Questions;

use crate::{
    clock::monotonic_ns,
    dataplane::{QuestionMaps, WorkloadStatus, is_observed},
};

/// Of one workload.
#[derive(Clone, Debug)]
pub struct Names {
    /// Of the workload to its agent.
    pub captured: Questions,
    /// Of its sidecar to resolvers, by the address at which each was asked. None: those that are not told apart.
    pub upstream: Vec<(Option<IpAddr>, Questions)>,
}

/// Of each of these workloads, in their order; none: its packets are not looked at. A question that nobody waits for any
/// more counts as unanswered.
pub fn questions(workloads: &[WorkloadStatus]) -> Result<Vec<Option<Names>>> {
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
        of_slot(&maps, meta.slot, now)
    };
    Ok(workloads.iter().map(of).collect())
}

fn of_slot(maps: &QuestionMaps, slot: u32, now: u64) -> Option<Names> {
    let mut over = [0; who::COUNT];
    for asked in maps.asked(slot).filter(|asked| asked.is_over(now)) {
        if let Some(over) = over.get_mut(whom_of(asked.mark)) {
            *over += 1;
        }
    }
    let to = |whom: usize| {
        let mut found = maps.questions(slot, whom)?;
        found.outcomes[Outcome::Unanswered as usize] += over[whom];
        Some(found)
    };
    let resolvers = maps.resolvers(slot)?;
    let told_apart =
        (who::FIRST..who::OTHERS).filter_map(|whom| Some((Some(resolvers.address(whom)?.into()), to(whom)?)));
    let upstream = told_apart.chain([(None, to(who::OTHERS)?)]).filter(|(_, of)| of.asked > 0).collect();
    Some(Names { captured: to(who::AGENT)?, upstream })
}
