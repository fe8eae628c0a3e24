//! The acceleration: which path a message takes, and the wire types of the maps it lives in.
//!
//! Per direction, once bytes went over the stack nothing is redirected until the receiver has read all of them: a
//! receiver reads its redirected queue before its TCP queue (`net/ipv4/tcp_bpf.c: tcp_bpf_recvmsg`), so that the other
//! order would overtake. From redirect to stack is always in order.

mod reason;
mod server;

use core::mem::offset_of;

use crate::{
    addr::{Addr, Port},
    flow::Tally,
    workload::SLOTS,
};

pub use crate::kernel::AccelKernel;
pub use reason::Reason;
pub use server::{LONG, SAMPLE, SHORT_RUN, Server};

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
    /// No end is known.
    pub const NONE: Self = Self { sk: 0, cookie: 0, number: 0, slot: 0, flags: 0 };
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
}

/// What is known of a listener or a connecting socket before its connection exists (socket storage, inherited by
/// accepted sockets).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Mark {
    /// Bits of [`end_flag`].
    pub flags: u32,
    pub reserved: u32,
    /// The marked socket as a number, and its cookie; 0: marked by userspace.
    pub sk: u64,
    pub cookie: u64,
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
    pub own: EndKey,
}

/// State of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct DirectionState {
    /// One of [`mode`].
    pub mode: u8,
    /// Small messages in a row without an answer.
    pub small_run: u8,
    /// Messages sent, up to [`LONG`].
    pub sent: u8,
    /// Bits of [`direction_bit`].
    pub bits: u8,
    /// The other end's activity when it was last looked at.
    pub peer_activity: u32,
    /// The other end's activity when a message last went over the stack.
    pub stack_activity: u32,
}

/// Bits of [`DirectionState::bits`].
pub mod direction_bit {
    /// This end accepted the connection.
    pub const SERVER: u8 = 1 << 0;
    /// The receiver waits for its socket with a level-triggered epoll.
    pub const LEVEL: u8 = 1 << 1;
    /// The receiver waits for its socket with an edge-triggered epoll.
    pub const EDGE: u8 = 1 << 2;
    /// This end counts among its workload's sockets in the map.
    pub const COUNTED: u8 = 1 << 3;
}

pub mod mode {
    /// Redirect, as long as it is allowed. Where every flow starts: no byte went over the stack yet, and if one did
    /// the receiver's sequence number says so.
    pub const REDIRECT: u8 = 0;
    /// The stack carries this direction until it is drained.
    pub const STACK: u8 = 1;
}

/// What the path of a message depends on, when it is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct PathInputs {
    pub size: u32,
    /// Bytes redirected and not read yet.
    pub queued: u32,
    pub limit: u32,
    /// The receiver's cgroup and the node have memory for the message.
    pub has_memory: bool,
    /// The receiver has read everything that went over the stack.
    pub drained: bool,
    /// Messages the other end has sent so far, wrapping.
    pub peer_activity: u32,
    /// The acceleration of either end's workload is off, or the workload is gone.
    pub off: bool,
    /// The receiver may take a read that fills less than its buffer for the last (epoll(7), question 9), as nginx, tokio
    /// and Netty do: it would leave what is in its TCP queue behind what was redirected until the next event.
    pub stops_short: bool,
    /// The receiver reads blocking: a MSG_WAITALL read that began on the stack would not see what is redirected later.
    pub reads_blocking: bool,
}

/// The path of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    Redirect,
    Stack(Reason),
}

/// At this size one hand-off costs less than the stack, answered or not.
pub const WORTH_ALONE: u32 = 4096;
/// So many smaller ones in a row without an answer: a one-way stream, which the stack coalesces.
pub const SMALL_RUN: u8 = 16;

/// Chooses the path and moves the state. While redirected bytes wait, only what bounds them leads to the stack: see
/// [`PathInputs::stops_short`].
#[inline(always)]
pub fn choose(direction: &mut DirectionState, inputs: &PathInputs) -> Path {
    let answered = inputs.peer_activity != direction.peer_activity;
    direction.peer_activity = inputs.peer_activity;
    if answered || inputs.size >= WORTH_ALONE {
        direction.small_run = 0;
    } else {
        direction.small_run = direction.small_run.saturating_add(1);
    }
    let reason = if !inputs.drained {
        Some(Reason::Draining)
    } else if inputs.queued > inputs.limit || inputs.size > inputs.limit - inputs.queued {
        Some(Reason::Limit)
    } else if !inputs.has_memory {
        Some(Reason::Memory)
    } else if inputs.reads_blocking
        && direction.mode == mode::STACK
        && inputs.peer_activity == direction.stack_activity
    {
        Some(Reason::BlockingReader)
    } else if inputs.queued != 0 {
        None
    } else if inputs.off {
        Some(Reason::Off)
    } else if direction.small_run > SMALL_RUN {
        Some(Reason::SmallStream)
    } else if inputs.stops_short {
        Some(Reason::EdgeReader)
    } else {
        None
    };
    match reason {
        None => {
            direction.mode = mode::REDIRECT;
            Path::Redirect
        }
        Some(reason) => {
            direction.mode = mode::STACK;
            direction.stack_activity = inputs.peer_activity;
            Path::Stack(reason)
        }
    }
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
}

pub mod switch_flag {
    /// Readers that are not trusted or block are accelerated as well.
    pub const ANY_READER: u32 = 1 << 0;
}

/// Counters of the acceleration: two (messages, bytes) per reason and slot.
pub const ACCEL_COUNTERS: u32 = SLOTS * Reason::COUNT as u32 * 2;
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
    (slot * Reason::COUNT as u32 + reason as u32) * 2
}

const _: () = assert!(size_of::<EndKey>() == 48 && size_of::<PublishedEnd>() == 24);
const _: () = assert!(SLOTS <= 1 << 16, "a slot has 16 bits in an end");
const _: () = assert!(size_of::<DirectionState>() == 12 && size_of::<Mark>() == 24);
const _: () = assert!(size_of::<Record>() == 160 && offset_of!(Record, tally) == 56);

#[cfg(test)]
mod tests;
