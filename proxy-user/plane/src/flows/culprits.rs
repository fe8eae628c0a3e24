//! Whose fault it is: the programs that keep connections on the stack by the way they read or write.

use std::{cmp::Reverse, collections::BTreeMap};

use proxy_common::accel::Reason;
use serde::Serialize;

use super::flow::{Flow, Side, Stream, named};

/// A program, by the name of its process, and what it keeps on the stack.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Culprit {
    pub program: String,
    #[serde(serialize_with = "named")]
    pub reason: Reason,
    /// Among the flows that were looked at.
    pub connections: u64,
    pub bytes: u64,
}

/// Of the flows of one workload, those with most bytes first. Between two workloads each names what the other's flows do
/// to its own.
pub fn culprits<'a>(flows: impl IntoIterator<Item = &'a Flow>) -> Vec<Culprit> {
    let mut found: BTreeMap<(String, Reason), (u64, u64)> = BTreeMap::new();
    for flow in flows.into_iter().filter(|flow| flow.local) {
        let mut of_flow: BTreeMap<(String, Reason), u64> = BTreeMap::new();
        for stream in [&flow.upload, &flow.download] {
            if let Some((program, reason)) = cause(flow, stream) {
                *of_flow.entry((program, reason)).or_default() += stream.bytes().stacked;
            }
        }
        for (key, bytes) in of_flow {
            let (connections, sum) = found.entry(key).or_default();
            (*connections, *sum) = (*connections + 1, *sum + bytes);
        }
    }
    let mut all: Vec<Culprit> = found
        .into_iter()
        .map(|((program, reason), (connections, bytes))| Culprit { program, reason, connections, bytes })
        .collect();
    all.sort_by_key(|culprit| Reverse(culprit.bytes));
    all
}

fn cause(flow: &Flow, stream: &Stream) -> Option<(String, Reason)> {
    let process = match stream.because_of? {
        Side::Client => flow.client_process.as_ref(),
        Side::Server => flow.server_process.as_ref(),
    };
    Some((process?.comm.clone(), stream.last_reason?))
}
