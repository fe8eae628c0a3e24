//! Which servers have connections too short to gain, or listeners that keep out.

use super::Reason;

/// A connection in which one end has sent so many messages has paid for its place in the map.
pub const LONG: u8 = 6;
/// So many connections in a row shorter than that, all within a second: the next ones of this second stay out of the
/// map. Fewer, as of health checks, cost too little to keep anybody else's connection out.
pub const SHORT_RUN: u8 = 16;
/// Of so many connections to a server with short ones, one enters all the same, so that a change is noticed.
pub const SAMPLE: u8 = 16;
/// After so many seconds one connection tries a listener again: another one may have its address by now. Not each second:
/// the client of a connection that tried in vain stays in the map for as long as that lasts.
const HELD: u8 = 60;

/// What is known of a server's connections, or of how its listener reads; the two are remembered under different keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Server {
    /// Its listener reads in a way the map would change, so that its side stays out: why,
    /// [`super::Reason`] + 1. It is known for a minute.
    pub declined: u8,
    /// Short connections in a row in this second, up to [`SHORT_RUN`].
    pub short_run: u8,
    /// Connections since the last sample.
    pub skipped: u8,
    /// When that was.
    pub second: u8,
}

impl Server {
    /// Whether a new connection stays out because the ones before it were short.
    #[inline(always)]
    pub fn skips_next(&mut self, now: u64) -> bool {
        self.turn_to(now);
        if self.short_run < SHORT_RUN {
            return false;
        }
        self.skipped = self.skipped.wrapping_add(1) % SAMPLE;
        self.skipped != 0
    }

    /// Why its side of a new connection would stay out.
    #[inline(always)]
    pub fn declines(&mut self, now: u64) -> Option<Reason> {
        if second(now).wrapping_sub(self.second) > HELD {
            self.declined = 0;
        }
        Reason::from_index(self.declined.wrapping_sub(1))
    }

    /// Its side of a connection stayed out for what its listener is.
    #[inline(always)]
    pub fn has_declined(&mut self, reason: Reason, now: u64) {
        self.second = second(now);
        self.declined = reason as u8 + 1;
    }

    /// A connection in the map ended before it was long.
    #[inline(always)]
    pub fn was_short(&mut self, now: u64) {
        self.turn_to(now);
        if self.short_run < SHORT_RUN {
            self.short_run += 1;
        }
    }

    /// A connection in the map has become long.
    #[inline(always)]
    pub fn is_long(&mut self) {
        self.short_run = 0;
    }

    #[inline(always)]
    fn turn_to(&mut self, now: u64) {
        let second = second(now);
        if second != self.second {
            self.second = second;
            self.short_run = 0;
        }
    }
}

/// A second of 2^30 nanoseconds, modulo 256.
const fn second(now: u64) -> u8 {
    (now >> 30) as u8
}

const _: () = assert!(size_of::<Server>() == 4);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1 << 30;

    #[test]
    fn a_server_of_short_connections_is_skipped_but_for_samples_until_one_is_long() {
        let mut server = Server::default();
        for _ in 0..SHORT_RUN {
            assert!(!server.skips_next(SECOND));
            server.was_short(SECOND);
        }
        let entered = (0..10 * usize::from(SAMPLE)).filter(|_| !server.skips_next(SECOND)).count();
        assert_eq!(entered, 10);
        server.is_long();
        assert!(!server.skips_next(SECOND));
    }

    #[test]
    fn a_listener_that_declined_is_tried_again_after_a_while() {
        let mut server = Server::default();
        assert_eq!(server.declines(300 * SECOND), None);
        server.has_declined(Reason::BlockingSocket, 300 * SECOND);
        let held = u64::from(HELD);
        assert_eq!(server.declines((300 + held) * SECOND), Some(Reason::BlockingSocket));
        assert_eq!(server.declines((301 + held) * SECOND), None);
        assert_eq!(server.declines(300 * SECOND), None);
    }

    #[test]
    fn health_checks_keep_nobody_out() {
        let mut server = Server::default();
        for check in 1..1000 {
            assert!(!server.skips_next(check * SECOND / 4));
            server.was_short(check * SECOND / 4);
        }
    }
}
