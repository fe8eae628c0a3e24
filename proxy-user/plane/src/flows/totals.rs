//! Sums over all flows of a class, since the workload was attached.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use proxy_common::{
    accel::Reason,
    flow::{BUCKETS, Class, Close, Histogram, OpenTotals, Totals, Turnarounds, totals_key, turn_key},
};

use super::open;
use crate::dataplane::{WorkloadStatus, open_totals, open_turnarounds};

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

/// The sums of these workloads' flows, closed and live, where they are observed.
pub fn totals(workloads: &[WorkloadStatus]) -> Result<Vec<ClassTotals>> {
    let Some(sums) = open_totals()? else { return Ok(Vec::new()) };
    let mut open = open::sums()?;
    let mut measured = turnarounds()?;
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
            let turnarounds =
                [false, true].map(|is_server| measured.remove(&turn_key(meta.slot, *class, is_server)));
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

/// By key. There is an entry for each end of a class that has answered.
fn turnarounds() -> Result<HashMap<u32, Box<Turnarounds>>> {
    let map = open_turnarounds()?;
    let mut found = HashMap::new();
    for key in map.keys() {
        let key = key.context("list the turnarounds")?;
        // One that is gone by now is of a workload that is.
        if let Ok(value) = map.get(&key, 0) {
            found.insert(key, Box::new(value.0));
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
