//! What is known of sockets that only send: to which nothing is redirected.

/// So many sockets of such a program have to have been non-blocking when they had sent something before the next ones enter.
/// One is not enough: a program may turn its socket blocking only for a request.
pub const SEEN: u8 = 3;

/// How those before it turned out: 0: none was seen; up to [`SEEN`]: so many in a row were non-blocking; all bits: one was
/// not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Seen(u8);

impl Seen {
    const BLOCKING: Self = Self(u8::MAX);
    /// None was seen.
    pub const NONE: Self = Self(0);
    /// Enough were.
    pub const ENOUGH: Self = Self(SEEN);

    /// Whether the next ones enter.
    #[inline(always)]
    pub const fn is_enough(self) -> bool {
        self.0 == Self::ENOUGH.0
    }

    /// Whether they stay out.
    #[inline(always)]
    pub const fn is_blocking(self) -> bool {
        self.0 == Self::BLOCKING.0
    }

    /// One has sent something, and was or was not blocking then. One that was is enough against all.
    #[inline(always)]
    pub const fn add(&mut self, blocking: bool) {
        if blocking {
            *self = Self::BLOCKING;
        } else if self.0 < SEEN {
            self.0 += 1;
        }
    }
}

/// Whether a socket has sent too little a time to gain. What it is sent over the stack has to be acknowledged by itself once its
/// answers do not go that way, which costs what a small answer saves.
#[inline(always)]
pub const fn sends_little(messages: u64, bytes: u64) -> bool {
    const TELLING: u64 = 16;
    const MEAN: u64 = 4096;
    messages >= TELLING && bytes < messages.saturating_mul(MEAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_a_small_mean_of_many() {
        assert!(!sends_little(15, 15));
        assert!(sends_little(16, 16 * 4096 - 1));
        assert!(!sends_little(16, 16 * 4096));
    }
}
