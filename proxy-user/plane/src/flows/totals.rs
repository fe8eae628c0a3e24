//! Sums over all flows of a class, since the workload was attached.

use std::collections::HashMap;

use anyhow::Result;
use proxy_common::{
    accel::Reason,
    flow::{BUCKETS, Class, Close, Histogram, OpenTotals, Totals, Turnarounds, totals_key, turn_key},
};

use super::open;
use crate::dataplane::{WorkloadStatus, each_totals, open_turnarounds};

/// Sums of one class of one workload's flows.
#[derive(Clone, Debug)]
pub struct ClassTotals {
    /// As `sidestep status` names it.
    pub workload: String,
    pub class: Class,
    /// Closed flows, and the bytes and messages of live ones so far.
    pub totals: Totals,
    /// Flows that are open now.
    pub active: u64,
    /// At the clients' ends and at the servers'; none: nothing was measured.
    pub turnarounds: [Option<Box<Turnarounds>>; 2],
}

/// The sums of these workloads' flows, closed and live, where they are observed: of the classes that were in use, a node full
/// of pods has many more that never are.
pub fn totals(workloads: &[WorkloadStatus]) -> Result<Vec<ClassTotals>> {
    // A call for each class of each workload would be most of what a scrape costs.
    let mut sums: HashMap<u32, Totals> = HashMap::new();
    if !each_totals(|key, totals| add(sums.entry(key).or_default(), totals))? {
        return Ok(Vec::new());
    }
    let mut open = open::sums()?;
    let measured = open_turnarounds()?;
    let mut found = Vec::new();
    for WorkloadStatus { workload, meta, .. } in workloads {
        for class in Class::ALL {
            let closed = sums.remove(&totals_key(meta.slot, *class));
            let live = open.remove(&(workload.clone(), *class));
            if closed.is_none() && live.is_none() {
                continue;
            }
            let mut totals = closed.unwrap_or_default();
            let OpenTotals { active, carried, stayed } = live.unwrap_or_default();
            totals.carried.add(&carried);
            for (sum, more) in totals.stayed.iter_mut().zip(stayed) {
                *sum += more;
            }
            let turnarounds = [false, true].map(|is_server| {
                let sums = measured.get(&turn_key(meta.slot, *class, is_server), 0).ok()?;
                Some(Box::new(sums.0))
            });
            found.push(ClassTotals {
                workload: workload.clone(),
                class: *class,
                totals,
                active,
                turnarounds,
            });
        }
    }
    Ok(found)
}

fn add(sum: &mut Totals, more: &Totals) {
    sum.opened += more.opened;
    for i in 0..Close::COUNT {
        sum.closed[i] += more.closed[i];
    }
    sum.carried.add(&more.carried);
    for i in 0..Reason::COUNT {
        sum.stayed[i] += more.stayed[i];
    }
    add_histogram(&mut sum.connect, &more.connect);
    add_histogram(&mut sum.hand_off, &more.hand_off);
}

fn add_histogram(sum: &mut Histogram, more: &Histogram) {
    for i in 0..BUCKETS {
        sum.buckets[i] += more.buckets[i];
    }
    sum.sum += more.sum;
}
