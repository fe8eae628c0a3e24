//! Keeps counters from going back.
//!
//! What open flows have carried is added to what closed ones had: one that closes between the two looks is missed or
//! counted twice for a moment. Prometheus would take the step back for a counter that started again, and count all of it
//! once more.

use std::collections::HashMap;

use proxy_common::{
    accel::Reason,
    flow::{Class, Totals},
};
use proxy_plane::{dataplane::WorkloadStatus, flows::ClassTotals};

use super::snapshot::names;

const FIGURES: usize = 8 + Reason::COUNT;

/// The highest figures shown so far, by workload, when that was attached, and class.
#[derive(Debug, Default)]
pub(super) struct Floors(HashMap<(String, u64, Class), [u64; FIGURES]>);

impl Floors {
    /// Raises what is below what was shown before; forgets workloads that are gone or were attached anew.
    pub(super) fn hold(&mut self, workloads: &[WorkloadStatus], totals: &mut [ClassTotals]) {
        let attached: HashMap<&str, u64> =
            workloads.iter().map(|workload| (names(workload)[0], workload.meta.attached_at)).collect();
        let mut held = HashMap::new();
        for of in totals {
            let Some(attached_at) = attached.get(&*of.workload) else { continue };
            let key = (of.workload.clone(), *attached_at, of.class);
            let before = self.0.get(&key).copied().unwrap_or_default();
            let mut shown = [0; FIGURES];
            for (index, figure) in figures(&mut of.totals).enumerate() {
                *figure = before[index].max(*figure);
                shown[index] = *figure;
            }
            held.insert(key, shown);
        }
        self.0 = held;
    }
}

/// The figures with a share of open flows.
fn figures(totals: &mut Totals) -> impl Iterator<Item = &mut u64> {
    let carried = &mut totals.carried;
    let sums = [
        &mut carried.sent_redirected,
        &mut carried.sent_stacked,
        &mut carried.received_redirected,
        &mut carried.received_stacked,
        &mut carried.messages_redirected,
        &mut carried.messages_stacked,
        &mut carried.sent_far,
        &mut carried.received_far,
    ];
    sums.into_iter().chain(&mut totals.stayed)
}
