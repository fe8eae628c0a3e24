//! Who connects: flows added up by the one that connects and where it connects to.

use std::{cmp::Reverse, collections::HashMap, net::IpAddr, net::SocketAddr, sync::Arc};

use proxy_common::flow::Hop;
use serde::Serialize;

use super::flow::{Flow, Process, State, maybe_named};

/// What is added up, and which sums come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum By {
    /// Connections of one process to one destination.
    #[default]
    Connections,
    /// The same by their bytes.
    Bytes,
    /// All connections of a process.
    Process,
}

/// The connections of one caller.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Caller {
    /// That has the flows, as `sidestep status` names it.
    pub workload: Arc<str>,
    pub namespace: Option<Arc<str>>,
    pub pod: Option<Arc<str>>,
    /// The process that connects; none: it is not known here.
    pub process: Option<Process>,
    /// Its address, where the process is not known.
    pub address: Option<IpAddr>,
    /// None: all hops and destinations together.
    #[serde(serialize_with = "maybe_named")]
    pub hop: Option<Hop>,
    pub destination: Option<SocketAddr>,
    pub connections: u64,
    /// Of these the open ones.
    pub live: u64,
    /// Both ways.
    pub bytes: u64,
}

/// Who connects, and where to: flows with the same one are one caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct CallerKey<'a> {
    workload: &'a str,
    /// Number and name: a process may become another program.
    process: Option<(u32, &'a str)>,
    address: Option<IpAddr>,
    to: Option<(Hop, SocketAddr)>,
}

impl<'a> CallerKey<'a> {
    pub fn of(flow: &'a Flow, by: By) -> Self {
        let process = flow.client_process.as_ref();
        Self {
            workload: &flow.workload,
            process: process.map(|process| (process.pid, process.comm.as_str())),
            address: process.is_none().then(|| flow.original_client.unwrap_or(flow.client).ip()),
            to: (by != By::Process).then_some((flow.hop, flow.original_destination)),
        }
    }
}

/// Of these flows, at most so many, the largest first.
pub fn callers(flows: &[Flow], by: By, most: usize) -> Vec<Caller> {
    let mut found: HashMap<CallerKey<'_>, Caller> = HashMap::new();
    for flow in flows {
        let key = CallerKey::of(flow, by);
        let caller = found.entry(key).or_insert_with(|| Caller {
            workload: flow.workload.clone(),
            namespace: flow.namespace.clone(),
            pod: flow.pod.clone(),
            process: flow.client_process.clone(),
            address: key.address,
            hop: key.to.map(|(hop, _)| hop),
            destination: key.to.map(|(_, destination)| destination),
            connections: 0,
            live: 0,
            bytes: 0,
        });
        caller.connections += 1;
        caller.live += u64::from(flow.state == State::Live);
        caller.bytes += flow.bytes().total();
    }
    let mut all: Vec<Caller> = found.into_values().collect();
    all.sort_by_cached_key(|of| {
        let first = if by == By::Bytes { (of.bytes, of.connections) } else { (of.connections, of.bytes) };
        let name = of.process.as_ref().map(|process| (process.comm.clone(), process.pid));
        (Reverse(first), of.workload.clone(), name, of.address, of.destination)
    });
    all.truncate(most);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        flows::{end::tests::pair, join},
    };

    /// Flows of one process to 10.0.0.9, on these ports, each with so many bytes.
    fn flows(of: &[(u16, u64)]) -> Vec<Flow> {
        let mut known = join::Known::new();
        for (number, (port, bytes)) in of.iter().enumerate() {
            let (mut client, _) = pair();
            client.record.cookie = number as u64 + 1;
            client.record.snd_base = number as u32;
            client.record.orig_port = proxy_common::addr::Port::new(*port);
            client.figures.sent_stacked = *bytes;
            known.insert(client.key(), client);
        }
        join::flows(&known, Clock::default())
    }

    #[test]
    fn the_same_process_and_destination_are_one_caller() {
        let flows = flows(&[(80, 5), (80, 5), (80, 5), (443, 100), (443, 1)]);
        let of = |by| callers(&flows, by, 10);
        let by_number: Vec<_> = of(By::Connections).iter().map(|of| (of.connections, of.bytes)).collect();
        assert_eq!(by_number, [(3, 15), (2, 101)]);
        let by_bytes: Vec<_> = of(By::Bytes).iter().map(|of| of.destination.unwrap().port()).collect();
        assert_eq!(by_bytes, [443, 80]);
        let process = of(By::Process);
        let [one] = process.as_slice() else { panic!("{process:?}") };
        assert_eq!((one.connections, one.live, one.bytes, one.destination), (5, 5, 116, None));
        assert_eq!(one.process.as_ref().map(|process| process.pid), Some(10));
        assert_eq!(callers(&flows, By::Connections, 1).len(), 1);
    }

    #[test]
    fn whose_process_is_not_known_has_an_address() {
        let (mut client, _) = pair();
        client.record.pid = 0;
        let flows = join::flows(&join::known([client]), Clock::default());
        let all = callers(&flows, By::Process, 10);
        assert_eq!((all[0].process.is_none(), all[0].address), (true, Some([127, 0, 0, 1].into())));
    }
}
