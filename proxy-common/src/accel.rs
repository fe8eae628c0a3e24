//! The acceleration: which path a message takes, and the wire types of the maps it lives in.

mod asked;
mod captured;
mod choose;
mod reason;
mod seen;
mod server;

use core::mem::offset_of;

use crate::{
    addr::{Addr, Port},
    flow::Tally,
    places::mark,
    workload::SLOTS,
};

pub use crate::kernel::AccelKernel;
pub use asked::{ASKS_SIZE, Asked};
pub use captured::{CAPTURED_SIZE, Capture, Captured, KEPT_SMALL, MOST_CAPTURED, MOST_KEPT, NOBODY};
pub use choose::{DirectionState, Path, PathInputs, SMALL_RUN, WORTH_ALONE, choose, direction_bit, mode};
pub use reason::Reason;
pub use seen::{SEEN, Seen, sends_little};
pub use server::{
    Clients, Connections, Knowledge, LONG, Listener, SAMPLE, SERVER_SETS, SHORT_RUN, ServerAt, Servers,
};

/// One end of a connection, as that end sees it. Addresses of loopback are every namespace's, so that with them goes
/// whose they are; other local addresses are the workload's own, or it has no entry. The sequence numbers of the handshake
/// tell one connection from the next with the same addresses; they are no secret, and prove nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct EndKey {
    pub local: Addr,
    pub remote: Addr,
    pub local_port: Port,
    pub remote_port: Port,
    /// First sequence number sent, and received.
    pub snd: u32,
    pub rcv: u32,
    /// The namespace of a connection over loopback, the lower half of its cookie; 0: of another connection.
    pub netns: u32,
}

impl EndKey {
    /// The same connection from the other end.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
            local_port: self.remote_port,
            remote_port: self.local_port,
            snd: self.rcv,
            rcv: self.snd,
            netns: self.netns,
        }
    }

    /// A number for this end ([`mark`]).
    #[inline(always)]
    pub const fn mark(&self) -> u64 {
        let ([a, b], [c, d]) = (self.local.words(), self.remote.words());
        let ports = (self.local_port.get() as u64) << 16 | self.remote_port.get() as u64;
        mark([a, b, c, d, ports << 32 | self.netns as u64, (self.snd as u64) << 32 | self.rcv as u64])
    }
}

/// What one end publishes for the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct PublishedEnd {
    /// `struct sock *`, as a number.
    pub sk: u64,
    /// Its cookie: a recycled socket has another.
    pub cookie: u64,
    /// The number of its workload (`Workload::number`), which tells it from one that has the slot later.
    pub number: u32,
    /// The slot of its workload.
    pub slot: u16,
    /// Bits of [`end_flag`].
    pub flags: u16,
}

impl PublishedEnd {
    /// Of its flags, why the other end stays out: [`Reason`] + 1, or 0.
    #[inline(always)]
    pub const fn peer_stays(&self) -> u8 {
        (self.flags >> PEER_STAYS) as u8
    }

    /// No end is known.
    pub const NONE: Self = Self { sk: 0, cookie: 0, number: 0, slot: 0, flags: 0 };
}

/// How it stands in `ENDS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct EndEntry {
    pub end: PublishedEnd,
    /// Its index in the map `LIVE` + 1; 0: it is not observed, or not entered there yet.
    pub live: u32,
    pub reserved: u32,
}

/// Bits of [`PublishedEnd::flags`] and of [`Mark::flags`].
pub mod end_flag {
    /// Its process is known to read in a way that sees all bytes.
    pub const TRUSTED: u32 = 1 << 0;
    /// A listener that was non-blocking when it was looked at: what it accepts belongs to an event loop.
    pub const EVENT_LOOP: u32 = 1 << 1;
    /// Its process reads until there is nothing left. The sidecar does, and so does a program that the user has declared to
    /// do so.
    pub const DRAINS: u32 = 1 << 2;
    /// Its program is unknown: it is looked at when something it sent is acknowledged.
    pub const WATCHED: u32 = 1 << 3;
    /// Of a program: it is trusted where splice(2) from sockets that are redirected to is refused.
    pub const GUARDED: u32 = 1 << 4;
    /// Of a program: nothing is redirected to it, and what its servers send may be. In the map it reads what comes over the
    /// stack as it does outside.
    pub const SENDS: u32 = 1 << 5;
    /// Of a program: none of its sockets blocks.
    pub const NONBLOCKING: u32 = 1 << 6;
}

/// What is known of a listener or a connecting socket before its connection exists (socket storage, inherited by
/// accepted sockets).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Mark {
    /// Bits of [`end_flag`].
    pub flags: u32,
    pub reserved: u32,
    /// The marked socket as a number (0: marked by userspace), and its cookie. It stays when it is inherited, so that an
    /// accepted socket has its listener's.
    pub sk: u64,
    pub cookie: u64,
    /// Whose process runs it; all zero: it does not matter. What is known of it is asked when a connection is accepted: somebody
    /// may have looked at it since.
    pub program: Executable,
}

impl Mark {
    /// Nothing is known of the socket.
    pub const NONE: Self = Self { flags: 0, reserved: 0, sk: 0, cookie: 0, program: Executable::NONE };
}

/// What a socket in the map remembers (socket storage); only its own sends touch it, under its lock. What each message
/// reads comes first: with the kernel's pointer before it, `tally` begins the second cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Record {
    /// This socket, as a number.
    pub sk: u64,
    /// The other end; `sk` 0: not found yet.
    pub peer: PublishedEnd,
    /// `struct file *` of the other end; 0: not accepted yet.
    pub peer_file: u64,
    pub direction: DirectionState,
    /// This end's `write_seq` when the receiver was last seen to have read all of it.
    pub drained_at: u32,
    /// What became of its messages, for the flow's record.
    pub tally: Tally,
    pub slot: u32,
    /// The number of the workload that had the slot when this socket entered the map.
    pub number: u32,
    /// Of this end and the other one: index in the map `LIVE` + 1; 0: not observed, or not known yet.
    pub live: u32,
    pub peer_live: u32,
    pub own: EndKey,
}

/// A program, as the kernel knows its file: another file with its number, or other bytes in it, are another program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(C)]
pub struct Executable {
    pub ino: u64,
    /// `super_block.s_dev`: major << 20 | minor.
    pub dev: u32,
    pub reserved: u32,
    /// When its inode changed last (ctime), in nanoseconds: a write sets it, and no call sets it to a time of choice.
    pub changed: u64,
}

impl Executable {
    pub const NONE: Self = Self { ino: 0, dev: 0, reserved: 0, changed: 0 };
}

/// [`Executable::changed`].
#[inline(always)]
pub const fn changed_at(seconds: u64, nanoseconds: u32) -> u64 {
    // From 6.13 the highest bit says that somebody has asked (`include/linux/fs.h: I_CTIME_QUERIED`).
    seconds.wrapping_mul(1_000_000_000).wrapping_add((nanoseconds & 0x7fff_ffff) as u64)
}

/// Bytes that a receiver may have waiting unless the user says otherwise. Stock TCP lets a receiver on loopback hold about
/// as much (net.ipv4.tcp_rmem).
pub const DEFAULT_LIMIT: u32 = 4 << 20;

/// Switches of a workload, by slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Switch {
    pub enabled: u32,
    /// Bytes a receiver may have waiting.
    pub limit: u32,
    /// Bits of [`switch_flag`].
    pub flags: u32,
    /// The number of the workload that they are (`Workload::number`). A socket that entered the map under another number
    /// is not this workload's, though it names the slot.
    pub number: u32,
    /// Nothing is redirected until then; monotonic, nanoseconds. What waits at a receiver is followed by redirected bytes until
    /// it is read, as always.
    pub paused_until: u64,
}

impl Switch {
    /// Whether messages may be redirected. `now` is asked only of one that was paused.
    #[inline(always)]
    pub fn redirects(&self, now: impl FnOnce() -> u64) -> bool {
        self.enabled != 0 && (self.paused_until == 0 || now() >= self.paused_until)
    }
}

pub mod switch_flag {
    /// Readers that are not trusted or block are accelerated as well. Tests alone set it, in the map.
    pub const ANY_READER: u32 = 1 << 0;
    /// What programs that are not known accept may enter, to send, if it does not block: being in the map changes nothing
    /// for it on this kernel, as long as nothing is redirected to it.
    pub const SENDS: u32 = 1 << 1;
    /// They enter before any was seen. Tests alone set it, in the map.
    pub const AT_ONCE: u32 = 1 << 2;
    /// However little they send. Tests alone set it, in the map.
    pub const ANY_SIZE: u32 = 1 << 3;
}

/// Counters of the acceleration: three (sockets, messages, bytes) per reason and slot.
pub const ACCEL_COUNTERS: u32 = SLOTS * Reason::COUNT as u32 * 3;
/// Connections that have activity counters of their own; more share them, which makes the small-stream rule a little
/// less sharp, no more.
pub const ACTIVITY: u32 = 1 << 15;

/// Messages sent by the two ends of a connection, wrapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Activity {
    pub lower: u32,
    pub upper: u32,
}

impl Activity {
    /// Where a connection's counters are; the same from either end. Sockets lie 64 bytes apart at least.
    #[inline(always)]
    pub const fn index(sk: u64, peer: u64) -> u32 {
        ((sk ^ peer) >> 6) as u32 & (ACTIVITY - 1)
    }

    /// Counts a message of `sk`; how many the other end has sent so far.
    #[inline(always)]
    pub const fn sent(&mut self, sk: u64, peer: u64) -> u32 {
        let (own, other) =
            if sk < peer { (&mut self.lower, self.upper) } else { (&mut self.upper, self.lower) };
        *own = own.wrapping_add(1);
        other
    }
}

#[inline(always)]
pub const fn counter_index(slot: u32, reason: Reason) -> u32 {
    (slot * Reason::COUNT as u32 + reason as u32) * 3
}

/// Bit of an address's workload (`LOCAL_ADDRS`): it is accelerated.
pub const ACCELERATED: u32 = 1 << 31;

/// Bits of [`PublishedEnd::flags`] in which an end that has entered is told why its other end does not: [`Reason`] + 1.
pub const PEER_STAYS: u32 = 8;

const _: () = assert!(size_of::<EndKey>() == 48 && size_of::<PublishedEnd>() == 24);
const _: () = assert!(size_of::<EndEntry>() == 32);
const _: () = assert!(SLOTS <= 1 << 16, "a slot has 16 bits in an end");
const _: () = assert!(size_of::<Mark>() == 48 && size_of::<Switch>() == 24);
const _: () = assert!(size_of::<Record>() == 168 && offset_of!(Record, tally) == 56);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_a_mark_of_its_own() {
        let end = EndKey {
            local: Addr::v4([10, 0, 0, 1]),
            remote: Addr::v4([10, 0, 0, 2]),
            local_port: Port::new(1),
            remote_port: Port::new(2),
            snd: 3,
            rcv: 4,
            netns: 5,
        };
        let others = [
            end.reversed(),
            EndKey { netns: 6, ..end },
            EndKey { rcv: 5, ..end },
            EndKey { remote_port: Port::new(3), ..end },
            EndKey { local: Addr::v4([10, 0, 0, 3]), ..end },
        ];
        assert!(others.iter().all(|other| other.mark() != end.mark()));
        assert_eq!(end.reversed().reversed().mark(), end.mark());
    }

    #[test]
    fn either_end_counts_its_own_and_sees_the_others() {
        let (client, server) = (0xffff_8881_0000_1200, 0xffff_8881_0000_0900);
        assert_eq!(Activity::index(client, server), Activity::index(server, client));
        let mut shared = Activity::default();
        assert_eq!(shared.sent(client, server), 0);
        assert_eq!(shared.sent(client, server), 0);
        assert_eq!(shared.sent(server, client), 2);
        assert_eq!(shared.sent(client, server), 1);
    }
}
