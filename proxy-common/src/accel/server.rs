//! Which servers have connections too short to gain, or listeners that keep out.

use super::Reason;
use crate::{
    addr::{Addr, Port},
    places::{PLACES, mark, place_of, set_of},
};

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

/// What is known of servers, in sets by workload ([`crate::places`]).
pub const SERVER_SETS: u32 = 32;

/// What of a server. Each has sets of its own, so that nobody who calls a workload drives out what that one knows of those it
/// calls itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knowledge {
    /// Its listener, for clients of its own workload: remembered there.
    OfOwnListener,
    /// Its listener, for clients elsewhere: remembered at the server's workload. It is the sidecar's listener that accepts,
    /// whatever the application's at the same address does.
    OfListener,
    /// How long its connections are, remembered at the client's workload: what its clients see of it is nobody else's.
    OfConnections,
}

/// Where to look for what is known of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerAt {
    /// Index of its set.
    pub set: u32,
    mark: u32,
}

impl ServerAt {
    #[inline(always)]
    pub const fn new(slot: u32, what: Knowledge, addr: &Addr, port: Port) -> Self {
        let [first, second] = addr.words();
        let mark = mark([first, second, port.get() as u64]);
        let (from, sets) = match what {
            Knowledge::OfOwnListener => (0, SERVER_SETS / 4),
            Knowledge::OfListener => (SERVER_SETS / 4, SERVER_SETS / 4),
            Knowledge::OfConnections => (SERVER_SETS / 2, SERVER_SETS / 2),
        };
        Self { set: slot * SERVER_SETS + from + set_of(0, sets, mark), mark: mark as u32 | 1 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
struct Known {
    /// Of its address and port; 0: the place is free.
    mark: u32,
    server: Server,
}

/// What is known of some servers. A new one takes a free place, or that of an older one: programs that do so at the same
/// time lose one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Servers([Known; PLACES]);

impl Servers {
    #[inline(always)]
    pub fn get(&mut self, at: ServerAt) -> Option<&mut Server> {
        self.0.iter_mut().find(|known| known.mark == at.mark).map(|known| &mut known.server)
    }

    /// Remembers it from now on.
    #[inline(always)]
    pub fn get_or_place(&mut self, at: ServerAt) -> &mut Server {
        let mut place = place_of(at.mark);
        for (index, known) in self.0.iter().enumerate() {
            if known.mark == at.mark {
                place = index;
                break;
            }
            if known.mark == 0 {
                place = index;
            }
        }
        let known = &mut self.0[place & (PLACES - 1)];
        if known.mark != at.mark {
            *known = Known { mark: at.mark, server: Server::default() };
        }
        &mut known.server
    }
}

/// What is known of a server's connections, or of how its listener reads: which, [`Knowledge`] says.
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

const _: () = assert!(size_of::<Server>() == 4 && size_of::<Servers>() == 8 * PLACES);

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

    fn at(slot: u32, what: Knowledge, port: u16) -> ServerAt {
        ServerAt::new(slot, what, &Addr::v4([10, 0, 0, 1]), Port::new(port))
    }

    #[test]
    fn what_a_slot_knows_is_in_its_own_sets_and_each_kind_in_others() {
        use Knowledge::{OfConnections, OfListener, OfOwnListener};
        for port in 0..1000 {
            for slot in [0, 7, 1023] {
                let sets = [OfOwnListener, OfListener, OfConnections].map(|what| at(slot, what, port).set);
                assert!(sets.iter().all(|set| set / SERVER_SETS == slot), "{sets:?}");
                assert!(sets[0] < sets[1] && sets[1] < sets[2], "{sets:?}");
            }
        }
    }

    #[test]
    fn one_that_finds_no_free_place_takes_that_of_one_other() {
        let known = |port| at(0, Knowledge::OfConnections, port);
        let of_one_set: Vec<ServerAt> =
            (1..u16::MAX).map(known).filter(|at| at.set == known(1).set).take(PLACES + 1).collect();
        let mut servers = Servers::default();
        for at in &of_one_set[..PLACES] {
            assert_eq!(servers.get(*at), None);
            servers.get_or_place(*at).short_run = 3;
            servers.get_or_place(*at).short_run += 1;
        }
        assert!(of_one_set[..PLACES].iter().all(|at| servers.get(*at).is_some_and(|it| it.short_run == 4)));
        assert_eq!(*servers.get_or_place(of_one_set[PLACES]), Server::default());
        assert_eq!(of_one_set.iter().filter(|at| servers.get(**at).is_some()).count(), PLACES);
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
