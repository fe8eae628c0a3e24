//! What the self-test of the acceleration and its program tell each other.

/// The only element of the map `SELF_TEST`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Trial {
    /// Set by userspace: port of the accepting end.
    pub server_port: u32,
    /// Set by userspace: hand the next message over, 1, or leave it to the stack, 0.
    pub redirect: u32,
    /// The accepting end as a number, from its own first message.
    pub server: u64,
    /// What the sender saw of it at its last message.
    pub cookie: u64,
    pub queued: u32,
    pub drained: u32,
    pub nonblocking: u32,
    /// Messages the program has seen.
    pub messages: u32,
}

const _: () = assert!(size_of::<Trial>() == 40);
