//! Which servers have connections too short to gain.

/// A connection in which one end has sent so many messages has paid for its place in the map.
pub const LONG: u8 = 6;
/// So many connections in a row shorter than that: the next ones stay out of the map.
pub const SHORT_RUN: u8 = 16;
/// One of so many enters all the same, so that a change is noticed.
pub const SAMPLE: u8 = 16;

/// What is known of a server's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Server {
    /// Its side of a connection stayed out of the map lately: 1.
    pub declined: u8,
    /// Short connections in a row, up to [`SHORT_RUN`].
    pub short_run: u8,
    /// Connections since the last sample.
    pub skipped: u8,
    pub reserved: u8,
}

impl Server {
    /// Whether a new connection stays out because the ones before it were short.
    #[inline(always)]
    pub fn skips_next(&mut self) -> bool {
        if self.short_run < SHORT_RUN {
            return false;
        }
        self.skipped = self.skipped.wrapping_add(1) % SAMPLE;
        self.skipped != 0
    }

    /// A connection in the map ended before it was long.
    #[inline(always)]
    pub fn was_short(&mut self) {
        if self.short_run < SHORT_RUN {
            self.short_run += 1;
        }
    }

    /// A connection in the map has become long.
    #[inline(always)]
    pub fn is_long(&mut self) {
        self.short_run = 0;
    }
}

const _: () = assert!(size_of::<Server>() == 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_short_connections_is_skipped_but_for_samples_until_one_is_long() {
        let mut server = Server::default();
        for _ in 0..SHORT_RUN {
            assert!(!server.skips_next());
            server.was_short();
        }
        let entered = (0..10 * usize::from(SAMPLE)).filter(|_| !server.skips_next()).count();
        assert_eq!(entered, 10);
        server.is_long();
        assert!(!server.skips_next());
    }
}
