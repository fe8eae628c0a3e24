//! Sums over all flows of a class, since the workload was attached.

use std::collections::HashMap;

use anyhow::Result;
use proxy_common::{
    flow::{BUCKETS, Class, Close, Histogram, Totals, totals_key},
    names::map,
};

use super::{
    end::{self, WorkloadId},
    list,
};
use crate::dataplane::{Meta, WorkloadPins, open_totals};

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

/// The sums of all observed workloads, closed and live.
pub fn totals() -> Result<Vec<ClassTotals>> {
    let Some(sums) = open_totals()? else { return Ok(Vec::new()) };
    let mut open: HashMap<(WorkloadId, Class), (Totals, u64)> = HashMap::new();
    list::each_live(|end| {
        let (totals, active) = open.entry((end.workload_id(), end.class())).or_default();
        let tally = &end.figures.tally;
        if !end.counts() {
            totals.received_redirected += tally.redirected_bytes;
            return;
        }
        *active += u64::from(!end.is_closed());
        totals.sent_redirected += tally.redirected_bytes;
        totals.sent_stacked += end.figures.sent_stacked;
        totals.received_stacked += end.figures.received_stacked;
        totals.messages_redirected += tally.redirected_messages;
        totals.messages_stacked += tally.stacked_messages;
    })?;
    let mut live: HashMap<(String, Class), _> =
        open.into_iter().map(|((id, class), sums)| ((end::workload(id), class), sums)).collect();
    let mut found = Vec::new();
    for pins in WorkloadPins::all()? {
        // An attach or detach may be at work.
        let Ok(meta) = Meta::read(&pins.map(map::META)) else { continue };
        for class in Class::ALL {
            let Ok(values) = sums.get(&totals_key(meta.slot, *class), 0) else { continue };
            let (mut totals, active) = live.remove(&(pins.name(), *class)).unwrap_or_default();
            for value in values.iter() {
                add(&mut totals, &value.0);
            }
            found.push(ClassTotals { workload: pins.name(), class: *class, totals, active });
        }
    }
    Ok(found)
}

fn add(sum: &mut Totals, more: &Totals) {
    sum.opened += more.opened;
    for i in 0..Close::COUNT {
        sum.closed[i] += more.closed[i];
    }
    sum.sent_redirected += more.sent_redirected;
    sum.sent_stacked += more.sent_stacked;
    sum.received_redirected += more.received_redirected;
    sum.received_stacked += more.received_stacked;
    sum.messages_redirected += more.messages_redirected;
    sum.messages_stacked += more.messages_stacked;
    add_histogram(&mut sum.connect, &more.connect);
    add_histogram(&mut sum.hand_off, &more.hand_off);
}

fn add_histogram(sum: &mut Histogram, more: &Histogram) {
    for i in 0..BUCKETS {
        sum.buckets[i] += more.buckets[i];
    }
    sum.sum += more.sum;
}
