//! The kernel's records: one end of a connection each.

use proxy_common::{
    addr::{Addr, Port},
    flow::{Class, FlowFigures, FlowRecord, Queues, flow_flag},
};

/// One end.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) record: FlowRecord,
    pub(super) figures: FlowFigures,
    /// Of an open one.
    pub(super) queues: Queues,
}

/// A connection as one end has it; reversed, as the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct EndKey {
    local: (Addr, Port),
    remote: (Addr, Port),
    snd: u32,
    rcv: u32,
}

/// Number of the network namespace, id of the cgroup.
pub(super) type WorkloadId = (u32, u64);

/// As `sidestep status` names it.
pub(super) fn workload((netns, cgroup): WorkloadId) -> String {
    format!("{netns}-{cgroup}")
}

impl EndKey {
    /// The connection, whichever end this is.
    pub(super) fn connection(self) -> Self {
        let other = self.reversed();
        if self <= other { self } else { other }
    }

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

    /// Whether its other end can be known here: it is the workload's own, or has an address of another one of this node.
    pub(super) fn has_other_here(&self) -> bool {
        self.class().is_within() || self.record.has(flow_flag::NEAR)
    }

    /// Whether a call begins with it: its client is an application of the workload, or elsewhere. What a sidecar goes on
    /// with, and what another workload of the node begins, is a hop of a call that began before.
    pub(super) fn begins_a_call(&self) -> bool {
        match self.class() {
            Class::Outbound | Class::Dns | Class::DirectOut | Class::DirectSelf => true,
            Class::Inbound | Class::DirectIn => !self.record.has(flow_flag::NEAR),
            Class::InnerLo | Class::InnerEth0 | Class::InnerTproxy | Class::Upstream | Class::SelfCall => {
                false
            }
        }
    }

    pub(super) fn is_same_workload(&self, other: &Self) -> bool {
        self.workload_id() == other.workload_id()
    }

    /// As `sidestep status` names it.
    pub(super) fn workload(&self) -> String {
        workload(self.workload_id())
    }

    pub(super) fn workload_id(&self) -> WorkloadId {
        (self.record.netns, self.record.cgroup)
    }
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
        let (figures, queues) = (FlowFigures::default(), Queues::default());
        (End { record: client, figures, queues }, End { record: server, figures, queues })
    }

    #[test]
    fn the_other_end_has_the_reversed_key() {
        let (client, server) = pair();
        assert_eq!(client.key().reversed(), server.key());
    }
}
