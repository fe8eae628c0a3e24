//! Messages of sockets in the map, kept for somebody who looks: `tcpdump` does not see what is redirected.

use super::EndKey;
use crate::addr::Port;

/// Bytes of the ring in which they wait.
pub const CAPTURED_SIZE: u32 = 4 << 20;
/// Bytes of a message that are kept at most. In several pieces, the verifier of Linux 6.1 finds the program too large.
pub const MOST_KEPT: u32 = 32 << 10;
/// What is no longer takes little of the ring.
pub const KEPT_SMALL: u32 = 512;

/// Workloads that are captured at once.
pub const MOST_CAPTURED: usize = 16;

/// What is captured, of the whole node: one process captures at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Capture {
    /// Until when, monotonic nanoseconds; 0: nothing is.
    pub until: u64,
    /// Messages for which there was no room, or that could not be read.
    pub lost: u64,
    /// Of these workloads (`Workload::tenancy`), what they send and what they are sent; [`NOBODY`]: of none.
    pub whose: [u64; MOST_CAPTURED],
    /// Bytes of each message.
    pub most: u32,
    /// Connections with this port at either end; 0: all.
    pub port: Port,
    pub reserved: u16,
}

/// No workload.
pub const NOBODY: u64 = u64::MAX;

impl Capture {
    /// Whether messages between these two are captured.
    #[inline(always)]
    pub fn is_of(&self, sender: u64, receiver: u64) -> bool {
        self.whose.iter().any(|whose| *whose == sender || *whose == receiver)
    }
}

/// A message as it waits; its bytes follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Captured {
    /// When it was sent; monotonic, nanoseconds.
    pub at: u64,
    /// Whose socket sent it.
    pub tenancy: u64,
    pub own: EndKey,
    /// Sequence number of its first byte: what the stack carries and what is redirected are numbered in a row.
    pub sequence: u32,
    /// Its bytes, and how many of them follow.
    pub size: u32,
    pub kept: u32,
    /// Its path: [`super::Reason`].
    pub reason: u32,
}

const _: () = assert!(size_of::<Capture>() == 152 && size_of::<Captured>() == 80);
