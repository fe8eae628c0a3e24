//! What `sidestep status` says of the acceleration: the share that was redirected, and why the rest was not.

use anyhow::Result;
use proxy_core::config::Choice as _;
use proxy_plane::{
    dataplane::{Hazardous, WorkloadStatus},
    flows::{self, Accounted, Culprit, Filter, Share},
};
use serde::Serialize;

use super::span;
use crate::{
    units::bytes,
    why::{self, Cause},
};

/// Of one workload.
#[derive(Debug, Serialize)]
pub(super) struct OfWorkload {
    /// None: its connections are not observed.
    pub(super) share: Option<Accounted>,
    /// Programs that keep connections on the stack, by the flows that are open or closed lately.
    pub(super) programs: Vec<Culprit>,
    /// The same and all other causes, a sentence each.
    pub(super) why: Vec<Cause>,
}

/// In the order of the workloads.
pub(super) fn of(workloads: &[WorkloadStatus]) -> Result<Vec<OfWorkload>> {
    let totals = flows::totals(workloads)?;
    let recent = flows::recent(&Filter::default())?;
    let of = |status: &WorkloadStatus| {
        let is_observed = status.meta.not_observed.is_none();
        let ours = recent.iter().filter(|flow| *flow.workload == *status.workload);
        let share = is_observed.then(|| Accounted::of(&status.workload, &totals, &status.acceleration));
        let programs = flows::culprits(ours);
        OfWorkload { why: why::causes(status, share.as_ref(), &programs), share, programs }
    };
    Ok(workloads.iter().map(of).collect())
}

/// The mode, and how much of what could skip the stack did.
pub(super) fn summary(status: &WorkloadStatus, of: &OfWorkload) -> String {
    if let Some(reason) = &status.meta.not_accelerated {
        return format!("no: {reason}");
    }
    let mode = status.meta.acceleration.mode.word();
    match of.share.as_ref().map(|accounted| accounted.share) {
        None => format!("{mode}, share not known"),
        Some(share) => match share.percent() {
            None => mode.to_owned(),
            Some(percent) => format!("{mode}: {percent} % of {}", bytes(share.could())),
        },
    }
}

/// A line for each that there is to say.
pub(super) fn lines(status: &WorkloadStatus, of: &OfWorkload) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(left) = status.paused_ms {
        lines.push(format!("paused: nothing is redirected for {} more", span::short(left * 1000)));
    }
    if let Some(accounted) = &of.share {
        lines.extend(on_the_stack(accounted));
    }
    // That nothing is accelerated stands in the table.
    if status.meta.not_accelerated.is_none() {
        lines.extend(of.why.iter().map(|cause| cause.sentence.clone()));
        // Where nobody would gain by it, its absence is nobody's business.
        let splices = status.meta.hazardous.iter().any(Hazardous::may_splice);
        let not_guarded = status.meta.not_guarded.as_ref().filter(|_| splices);
        lines.extend(not_guarded.map(|reason| format!("splice(2) is not refused: {reason}")));
    }
    lines
}

fn on_the_stack(accounted: &Accounted) -> Option<String> {
    let Share { stacked, elsewhere, .. } = accounted.share;
    let mut by_size: Vec<(&str, u64)> =
        accounted.reasons.iter().map(|(reason, bytes)| (*reason, *bytes)).collect();
    by_size.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let reasons: Vec<String> =
        by_size.into_iter().map(|(reason, count)| format!("{reason} {}", bytes(count))).collect();
    let stacked = (stacked > 0).then(|| format!("{} on the stack: {}", bytes(stacked), reasons.join(", ")));
    let elsewhere = (elsewhere > 0).then(|| {
        format!("{} could not be redirected: one end is in no workload of this node", bytes(elsewhere))
    });
    let parts: Vec<String> = [stacked, elsewhere].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
