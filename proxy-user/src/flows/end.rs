//! The kernel's records: one end of a connection each, live ones from the iterator.

use std::{fs::File, io::Read as _};

use anyhow::{Context, Result};
use bytes::{Buf as _, Bytes, BytesMut};
use proxy_common::{
    addr::{Addr, Port},
    flow::{Class, FlowFigures, FlowRecord, flow_flag},
};

use crate::dataplane::{decode, end_size, list_pin};

/// What the kernel hands out at once (`kernel/bpf/bpf_iter.c: bpf_seq_read`).
const READ: usize = 32 << 10;

/// One end.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) record: FlowRecord,
    pub(super) figures: FlowFigures,
}

/// A connection as one end has it; reversed, as the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct EndKey {
    local: (Addr, Port),
    remote: (Addr, Port),
    snd: u32,
    rcv: u32,
}

impl EndKey {
    pub(super) fn reversed(self) -> Self {
        Self { local: self.remote, remote: self.local, snd: self.rcv, rcv: self.snd }
    }
}

impl End {
    pub(super) fn key(&self) -> EndKey {
        let record = &self.record;
        EndKey {
            local: (record.local, record.local_port),
            remote: (record.remote, record.remote_port),
            snd: record.snd_base,
            rcv: record.rcv_base,
        }
    }

    pub(super) fn is_client(&self) -> bool {
        self.record.has(flow_flag::CLIENT)
    }

    /// Counts for its workload, rather than its other end.
    pub(super) fn counts(&self) -> bool {
        self.record.has(flow_flag::COUNTS)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.record.close != 0
    }

    pub(super) fn class(&self) -> Class {
        Class::from_index(self.record.class).unwrap_or(Class::DirectSelf)
    }

    pub(super) fn is_same_workload(&self, other: &Self) -> bool {
        (self.record.netns, self.record.cgroup) == (other.record.netns, other.record.cgroup)
    }

    /// As `sidestep status` names it.
    pub(super) fn workload(&self) -> String {
        format!("{}-{}", self.record.netns, self.record.cgroup)
    }
}

/// The ends that are open now, and those TCP is done with while their processes still have them. Empty where nothing
/// is observed.
pub(super) fn live() -> Result<Vec<End>> {
    let Some(path) = list_pin() else { return Ok(Vec::new()) };
    let mut file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let mut data = BytesMut::new();
    loop {
        let len = data.len();
        data.resize(len + READ, 0);
        let read = file.read(&mut data[len..]).with_context(|| format!("read {}", path.display()))?;
        data.truncate(len + read);
        if read == 0 {
            return Ok(parse(data.freeze()));
        }
    }
}

fn parse(mut data: Bytes) -> Vec<End> {
    let mut ends = Vec::with_capacity(data.len() / end_size());
    while data.len() >= end_size() {
        let mut piece = data.split_to(end_size());
        let record = decode(&piece);
        piece.advance(size_of::<FlowRecord>());
        if let (Some(record), Some(figures)) = (record, decode(&piece)) {
            ends.push(End { record, figures });
        }
    }
    ends
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two ends of one connection, the client first.
    pub(in crate::flows) fn pair() -> (End, End) {
        let client = FlowRecord {
            cookie: 1,
            syn_at: 1_000,
            established_at: 51_000,
            local: Addr::v4([127, 0, 0, 1]),
            remote: Addr::v4([127, 128, 0, 1]),
            orig: Addr::v4([10, 0, 0, 9]),
            local_port: Port::new(40000),
            remote_port: Port::new(15001),
            orig_port: Port::new(80),
            snd_base: 7,
            rcv_base: 9,
            netns: 4,
            cgroup: 2,
            pid: 10,
            class: Class::Outbound as u8,
            flags: flow_flag::CLIENT | flow_flag::COUNTS | flow_flag::ESTABLISHED,
            ..FlowRecord::EMPTY
        };
        let server = FlowRecord {
            cookie: 2,
            pid: 20,
            local: client.remote,
            remote: client.local,
            local_port: client.remote_port,
            remote_port: client.local_port,
            snd_base: 9,
            rcv_base: 7,
            flags: flow_flag::ESTABLISHED,
            ..client
        };
        let figures = FlowFigures::default();
        (End { record: client, figures }, End { record: server, figures })
    }

    #[test]
    fn what_is_cut_off_is_not_an_end() {
        assert!(parse(Bytes::from(vec![0; end_size() - 1])).is_empty());
        assert_eq!(parse(Bytes::from(vec![0; 2 * end_size() + 5])).len(), 2);
    }

    #[test]
    fn the_other_end_has_the_reversed_key() {
        let (client, server) = pair();
        assert_eq!(client.key().reversed(), server.key());
    }
}
