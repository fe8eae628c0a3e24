//! Connections from outside that reached an application without its sidecar, counted by port when they have ended.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use proxy_common::flow::{Direction, Hop};
use proxy_plane::flows::Flow;

use crate::audit::is_of_sidecar;

/// Of a workload that are told apart; all others are counted together.
const PORTS: usize = 8;

type Counts = HashMap<String, OfWorkload>;

/// Of all workloads that are there.
#[derive(Clone, Debug, Default)]
pub(super) struct Around(Arc<Mutex<Counts>>);

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct OfWorkload {
    pub(super) ports: BTreeMap<u16, u64>,
    pub(super) others: u64,
}

impl Around {
    pub(super) fn count(&self, flows: &[Flow]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for flow in flows.iter().filter(|flow| is_around(flow)) {
            counts.entry(flow.workload.to_string()).or_default().add(flow.server.port());
        }
    }

    /// Of these workloads; others are forgotten.
    pub(super) fn of(&self, there: &[&str]) -> Counts {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|workload, _| there.contains(&workload.as_str()));
        counts.clone()
    }
}

impl OfWorkload {
    fn add(&mut self, port: u16) {
        let is_full = self.ports.len() >= PORTS;
        match self.ports.get_mut(&port) {
            Some(count) => *count += 1,
            None if is_full => self.others += 1,
            None => {
                self.ports.insert(port, 1);
            }
        }
    }
}

/// Probes and scrapes go to the sidecar's own ports.
fn is_around(flow: &Flow) -> bool {
    (flow.hop, flow.direction) == (Hop::Direct, Direction::Inbound)
        && flow.times.established.is_some()
        && !is_of_sidecar(flow.server.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::tests::flow;

    fn direct(port: u16) -> Flow {
        Flow {
            server: ([10, 0, 0, 1], port).into(),
            ..flow(1, Hop::Direct, None, Default::default(), Default::default())
        }
    }

    #[test]
    fn ports_are_told_apart_up_to_a_bound() {
        let around = Around::default();
        let flows: Vec<Flow> = [9000, 9000, 15020, 15021].into_iter().chain(1..20).map(direct).collect();
        around.count(&flows);
        let inner = Flow { hop: Hop::Inner, ..direct(9000) };
        let refused = Flow { times: Default::default(), ..direct(9000) };
        around.count(&[inner, refused]);
        let workload = flows[0].workload.to_string();
        let of = around.of(&[&workload]).remove(&workload).unwrap();
        let told: u64 = of.ports.values().sum();
        assert_eq!((of.ports.len(), told, of.others), (PORTS, 2 + 7, 12));
        assert_eq!(of.ports.get(&9000), Some(&2));
        assert!(!of.ports.contains_key(&15020));
        assert!(
            around.of(&[]).is_empty() && around.of(&[&workload]).is_empty(),
            "forgotten with the workload"
        );
    }
}
