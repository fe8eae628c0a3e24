//! The records as they stand in the maps.

use crate::{
    accel::{EndKey, Reason},
    addr::{Addr, Port},
    places::PLACES,
};

/// One end of a connection (socket storage, inherited by what a listener accepts). Times are of the monotonic clock,
/// in nanoseconds; 0: not yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct FlowRecord {
    /// The socket's cookie.
    pub cookie: u64,
    pub syn_at: u64,
    pub established_at: u64,
    /// The server's process took the connection.
    pub accepted_at: u64,
    /// First byte sent by this end over the stack.
    pub first_byte_at: u64,
    pub closed_at: u64,
    /// Bytes written and read over the stack, once they cannot become more (closed or released).
    pub sent_stacked: u64,
    pub received_stacked: u64,
    /// Id of the workload's cgroup.
    pub cgroup: u64,
    /// Bits of [`phase`]. The program that sets the last one writes the final record.
    pub phase: u64,
    /// As the socket has them.
    pub local: Addr,
    pub remote: Addr,
    /// Where the client wanted to go; for [`super::Class::InnerTproxy`] the client the connection stands for.
    pub orig: Addr,
    pub local_port: Port,
    pub remote_port: Port,
    pub orig_port: Port,
    pub listener_port: Port,
    /// Sequence numbers of the first byte sent and received: with the addresses, the same connection at both ends.
    pub snd_base: u32,
    pub rcv_base: u32,
    /// Inode number of the workload's network namespace.
    pub netns: u32,
    pub pid: u32,
    pub uid: u32,
    /// Redirected bytes that waited unread when the socket was released.
    pub unread: u32,
    /// Its index in the map `LIVE` + 1; 0: the end is not in it.
    pub live_index: u32,
    pub reserved: u32,
    pub comm: [u8; 16],
    /// [`super::Class`].
    pub class: u8,
    /// [`crate::verdict::Rule`] + 1; 0: none.
    pub rule: u8,
    /// [`crate::verdict::Target`].
    pub target: u8,
    /// Bits of [`flow_flag`].
    pub flags: u8,
    /// [`super::Close`] + 1; 0: open.
    pub close: u8,
    /// Why this end is not in the acceleration's map: [`Reason`] + 1, with [`PEERS`] where that is the other end's doing; 0:
    /// it is, or its own side says nothing against it.
    pub stays: u8,
    pub padding: [u8; 2],
}

/// Bit of [`FlowRecord::stays`].
pub const PEERS: u8 = 1 << 7;

/// The rest of it: 0 where nothing is said.
pub const fn stays_for(reason: Reason) -> u8 {
    reason as u8 + 1
}

/// Bits of [`FlowRecord::flags`].
pub mod flow_flag {
    /// The end that connected.
    pub const CLIENT: u8 = 1 << 0;
    /// No connection: what is known of a listener, for what it accepts.
    pub const LISTENER: u8 = 1 << 1;
    pub const ESTABLISHED: u8 = 1 << 2;
    /// The end at which the connection counts for its workload.
    pub const COUNTS: u8 = 1 << 3;
    /// This end closed before it saw the other's FIN, or reset.
    pub const CLOSED_FIRST: u8 = 1 << 4;
    /// The other end's address is a workload's of this node: the acceleration could have carried it.
    pub const NEAR: u8 = 1 << 5;
    /// Its process was killed while it had the connection.
    pub const KILLED: u8 = 1 << 6;
    /// The process that has the connection has been seen with it.
    pub const TAKEN: u8 = 1 << 7;
}

/// How far the end of a socket has come.
pub mod phase {
    /// TCP is done with it.
    pub const CLOSED: u64 = 1 << 0;
    /// The application has let go of it: what it has read cannot become more.
    pub const RELEASED: u64 = 1 << 1;
}

impl FlowRecord {
    /// The connection as this end has it. What is within a workload is told apart by its namespace.
    #[inline(always)]
    pub const fn end_key(&self, is_within: bool) -> EndKey {
        EndKey {
            local: self.local,
            remote: self.remote,
            local_port: self.local_port,
            remote_port: self.remote_port,
            snd: self.snd_base,
            rcv: self.rcv_base,
            netns: if is_within { self.netns } else { 0 },
        }
    }

    pub const EMPTY: Self = Self {
        cookie: 0,
        syn_at: 0,
        established_at: 0,
        accepted_at: 0,
        first_byte_at: 0,
        closed_at: 0,
        sent_stacked: 0,
        received_stacked: 0,
        cgroup: 0,
        phase: 0,
        local: Addr::UNSPECIFIED,
        remote: Addr::UNSPECIFIED,
        orig: Addr::UNSPECIFIED,
        local_port: Port([0; 2]),
        remote_port: Port([0; 2]),
        orig_port: Port([0; 2]),
        listener_port: Port([0; 2]),
        snd_base: 0,
        rcv_base: 0,
        netns: 0,
        pid: 0,
        uid: 0,
        unread: 0,
        live_index: 0,
        reserved: 0,
        comm: [0; 16],
        class: 0,
        rule: 0,
        target: 0,
        flags: 0,
        close: 0,
        stays: 0,
        padding: [0; 2],
    };

    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What sk_msg has seen of a socket's sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Tally {
    pub redirected_bytes: u64,
    pub redirected_messages: u64,
    pub stacked_messages: u64,
    /// The first message; 0: none yet.
    pub first_at: u64,
    /// Changes of the path.
    pub switches: u32,
    /// A bit for each reason against redirection met so far.
    pub reasons: u32,
    /// The latest + 1.
    pub last_reason: u8,
    /// One of [`tally_path`].
    pub path: u8,
    /// Why the other end is not in the map: [`Reason`] + 1; 0: it is, or has not said so.
    pub peer_stays: u8,
    pub reserved: [u8; 5],
}

pub mod tally_path {
    pub const NONE: u8 = 0;
    pub const REDIRECTED: u8 = 1;
    pub const STACKED: u8 = 2;
}

impl Tally {
    /// One message.
    #[inline(always)]
    pub fn add(&mut self, reason: Reason, size: u32) {
        let path = if matches!(reason, Reason::Redirected) {
            self.redirected_bytes += u64::from(size);
            self.redirected_messages += 1;
            tally_path::REDIRECTED
        } else {
            self.stacked_messages += 1;
            self.reasons |= 1 << (reason as u32 & 31);
            self.last_reason = reason as u8 + 1;
            tally_path::STACKED
        };
        if path != self.path {
            if self.path != tally_path::NONE {
                self.switches += 1;
            }
            self.path = path;
        }
    }
}

/// What is read of a socket when somebody looks, and when it closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct FlowFigures {
    /// When; monotonic, nanoseconds.
    pub at: u64,
    /// Bytes written and read over the stack.
    pub sent_stacked: u64,
    pub received_stacked: u64,
    pub tally: Tally,
    pub srtt_us: u32,
    pub retransmits: u32,
    /// Redirected bytes that wait unread.
    pub unread: u32,
    /// State of TCP.
    pub state: u8,
    /// The socket is or was in the acceleration's map.
    pub mapped: u8,
    pub reserved: [u8; 2],
}

/// Entries of the journal.
pub const JOURNAL: u32 = 16384;

/// A workload's last closed ends, which only its own ones drive out.
pub const KEPT: u32 = 8;

/// One closed end in the journal. Readers copy it and believe it if the sum is right: no writer waits for a reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct JournalEntry {
    /// Its number, counted from 1; it stands at `number % JOURNAL`.
    pub number: u64,
    pub sum: u64,
    pub record: FlowRecord,
    pub figures: FlowFigures,
}

/// Words of an entry that the sum covers.
pub const JOURNAL_WORDS: usize = (size_of::<FlowRecord>() + size_of::<FlowFigures>()) / 8;

/// Sum of an entry: an old one, or one of two writers' halves, has another.
#[inline(always)]
pub fn journal_sum(number: u64, words: &[u64; JOURNAL_WORDS]) -> u64 {
    let mut sum = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut at = 0;
    while at < JOURNAL_WORDS {
        sum = sum.rotate_left(5) ^ words[at];
        at += 1;
    }
    sum
}

/// Ends whose process was killed, by [`EndKey::mark`]; 0: the place is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KilledEnds(pub [u64; PLACES]);

/// Sets of those that each workload has: of more than 512 ends that wait for the other end to be done, some are forgotten.
pub const KILLED_SETS: u32 = 64;

/// A connection between SYN and accept, seen from its client: nothing of the server's end tells which process it is from,
/// or why the client's end stays out of the acceleration's map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct PeerKey {
    pub client: Addr,
    pub server: Addr,
    pub client_port: Port,
    pub server_port: Port,
    /// Of a connection within a workload; 0: between two.
    pub netns: u32,
}

/// What the client's end has said of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct ToldPeer {
    /// Of the client's workload: whose share it is.
    pub tenancy: u64,
    /// Within a workload the [`super::Class`] of the connection; between two why the client's end stays out of the
    /// acceleration's map, as in [`FlowRecord::stays`].
    pub told: u8,
    pub reserved: [u8; 7],
}

impl PeerKey {
    /// The same for an end of another workload.
    #[inline(always)]
    pub const fn between_workloads(self) -> Self {
        Self { netns: 0, ..self }
    }

    /// As the client's end has it.
    #[inline(always)]
    pub const fn of_client(record: &FlowRecord) -> Self {
        Self {
            client: record.local,
            server: record.remote,
            client_port: record.local_port,
            server_port: record.remote_port,
            netns: record.netns,
        }
    }

    /// As the server's end has it.
    #[inline(always)]
    pub const fn of_server(record: &FlowRecord) -> Self {
        Self {
            client: record.remote,
            server: record.local,
            client_port: record.remote_port,
            server_port: record.local_port,
            netns: record.netns,
        }
    }
}

const _: () = assert!(size_of::<FlowRecord>() == 192);
const _: () = assert!(size_of::<PeerKey>() == 40 && size_of::<ToldPeer>() == 16);
const _: () = assert!(size_of::<Tally>() == 48);
const _: () = assert!(size_of::<FlowFigures>() == 88);
const _: () = assert!(size_of::<JournalEntry>() == 296);
const _: () = assert!(Reason::COUNT <= 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_switches_are_counted_by_path() {
        let mut tally = Tally::default();
        for reason in [Reason::Redirected, Reason::Limit, Reason::Draining, Reason::Redirected] {
            tally.add(reason, 10);
        }
        assert_eq!((tally.redirected_bytes, tally.redirected_messages, tally.stacked_messages), (20, 2, 2));
        assert_eq!((tally.switches, tally.last_reason), (2, Reason::Draining as u8 + 1));
        assert_eq!(tally.reasons, 1 << Reason::Limit as u32 | 1 << Reason::Draining as u32);
    }

    #[test]
    fn a_sum_tells_numbers_words_and_their_order_apart() {
        let mut words = [7u64; JOURNAL_WORDS];
        let sum = journal_sum(1, &words);
        assert_ne!(sum, journal_sum(2, &words));
        words[3] = 8;
        let changed = journal_sum(1, &words);
        words.swap(3, 4);
        assert!(sum != changed && changed != journal_sum(1, &words));
    }
}
