//! Sums over all flows of a class, since the workload was attached.

use anyhow::Result;
use proxy_common::{
    accel::Reason,
    flow::{BUCKETS, Class, Close, Histogram, OpenTotals, Totals, totals_key},
};

use super::open;
use crate::dataplane::{WorkloadStatus, open_totals};

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
}

/// The sums of these workloads' flows, closed and live, where they are observed.
pub fn totals(workloads: &[WorkloadStatus]) -> Result<Vec<ClassTotals>> {
    let Some(sums) = open_totals()? else { return Ok(Vec::new()) };
    let mut open = open::sums()?;
    let mut found = Vec::new();
    for WorkloadStatus { workload, meta, .. } in workloads {
        for class in Class::ALL {
            let Ok(values) = sums.get(&totals_key(meta.slot, *class), 0) else { continue };
            let OpenTotals { active, carried, stayed } =
                open.remove(&(workload.clone(), *class)).unwrap_or_default();
            let mut totals = Totals { carried, stayed, ..Totals::default() };
            for value in values.iter() {
                add(&mut totals, &value.0);
            }
            found.push(ClassTotals { workload: workload.clone(), class: *class, totals, active });
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
