//! Which servers have connections too short to gain, or listeners that keep out; and how sockets of programs that nobody
//! knows turned out.

use core::marker::PhantomData;

use super::{Reason, Seen};
use crate::{
    addr::{Addr, Port},
    places::{PLACES, mark, place_of, set_of},
};

/// A connection in which one end has sent so many messages has paid for its place in the map.
pub const LONG: u8 = 6;
/// So many connections in a row shorter than that, all within a second: the next ones of this second stay out of the
/// map. Fewer, as of health checks, cost too little to keep anybody else's connection out.
pub const SHORT_RUN: u8 = 16;
/// Of so many connections to a server with short ones, one enters all the same, so that a change is noticed within the second.
/// The next second begins anew anyway.
pub const SAMPLE: u8 = 128;
/// After so many seconds one connection tries a listener again: another one may have its address by now. Not each second:
/// the client of a connection that tried in vain stays in the map for as long as that lasts.
const HELD: u8 = 60;
/// What is known of servers, in sets by workload ([`crate::places`]).
pub const SERVER_SETS: u32 = 32;

/// Something that is known of a server.
pub trait Knowledge: Copy + Default {}

/// A listener, as its workload remembers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clients {
    /// Of its own workload.
    Own,
    /// Elsewhere. It is the sidecar's listener that accepts them, whatever the application's at the same address does.
    Others,
}

/// Where to look for what is known of a server. Each kind has sets of its own, so that nobody who calls a workload drives
/// out what that one knows of those it calls itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerAt<T> {
    /// Index of its set.
    pub set: u32,
    mark: u32,
    of: PhantomData<T>,
}

impl ServerAt<Listener> {
    /// Remembered at the server's workload.
    #[inline(always)]
    pub const fn listener(slot: u32, clients: Clients, addr: &Addr, port: Port) -> Self {
        let from = match clients {
            Clients::Own => 0,
            Clients::Others => SERVER_SETS / 4,
        };
        Self::within(slot, from, SERVER_SETS / 4, addr, port)
    }
}

impl ServerAt<Connections> {
    /// Remembered at the client's workload: what its clients see of the server is nobody else's.
    #[inline(always)]
    pub const fn connections(slot: u32, addr: &Addr, port: Port) -> Self {
        Self::within(slot, SERVER_SETS / 2, SERVER_SETS / 2, addr, port)
    }
}

impl<T> ServerAt<T> {
    #[inline(always)]
    const fn within(slot: u32, from: u32, sets: u32, addr: &Addr, port: Port) -> Self {
        let [first, second] = addr.words();
        let mark = mark([first, second, port.get() as u64]);
        Self {
            set: slot * SERVER_SETS + from + set_of(0, sets, mark),
            mark: mark as u32 | 1,
            of: PhantomData,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
struct Known<T> {
    /// Of its address and port; 0: the place is free.
    mark: u32,
    what: T,
}

/// What is known of some servers. A new one takes a free place, or that of an older one: programs that do so at the same
/// time lose one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Servers<T>([Known<T>; PLACES]);

impl<T: Knowledge> Servers<T> {
    #[inline(always)]
    pub fn get(&mut self, at: ServerAt<T>) -> Option<&mut T> {
        self.0.iter_mut().find(|known| known.mark == at.mark).map(|known| &mut known.what)
    }

    /// Remembers it from now on.
    #[inline(always)]
    pub fn get_or_place(&mut self, at: ServerAt<T>) -> &mut T {
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
            *known = Known { mark: at.mark, what: T::default() };
        }
        &mut known.what
    }
}

/// What is known of how a listener's sockets read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Listener {
    /// Its side stays out: why, [`super::Reason`] + 1. It is known for a minute.
    declined: u8,
    /// When that was.
    second: u8,
    /// Of its process's sockets, if its program is unknown.
    seen: Seen,
    /// Which listener that was seen of: the lowest bits of its cookie. Another one at the same address is seen anew.
    whose: u8,
}

impl Knowledge for Listener {}

impl Listener {
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

    /// How the sockets turned out that the listener with this cookie has accepted.
    #[inline(always)]
    pub const fn seen(&self, cookie: u64) -> Seen {
        if self.whose == cookie as u8 { self.seen } else { Seen::NONE }
    }

    /// One that it has accepted turned out so. The next clients are asked in again as soon as that is enough.
    #[inline(always)]
    pub fn add(&mut self, cookie: u64, blocking: bool, now: u64) {
        self.seen = self.seen(cookie);
        self.whose = cookie as u8;
        self.seen.add(blocking);
        if blocking {
            self.has_declined(Reason::BlockingSocket, now);
        } else if self.seen.is_enough() {
            self.declined = 0;
        }
    }
}

/// What is known of the connections to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Connections {
    reserved: u8,
    /// Short connections in a row in this second, up to [`SHORT_RUN`].
    short_run: u8,
    /// Connections since the last sample.
    skipped: u8,
    /// When that was.
    second: u8,
}

impl Knowledge for Connections {}

impl Connections {
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

    /// Whether a connection that began a moment ago has stayed out for that.
    #[inline(always)]
    pub fn skips(&self, now: u64) -> bool {
        self.short_run == SHORT_RUN && second(now).wrapping_sub(self.second) <= 1
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

const _: () = assert!(size_of::<Listener>() == 4 && size_of::<Servers<Listener>>() == 8 * PLACES);
const _: () = assert!(size_of::<Servers<Connections>>() == size_of::<Servers<Listener>>());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accel::SEEN;

    const SECOND: u64 = 1 << 30;

    #[test]
    fn a_server_of_short_connections_is_skipped_but_for_samples_until_one_is_long() {
        let mut server = Connections::default();
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
        let mut server = Listener::default();
        assert_eq!(server.declines(300 * SECOND), None);
        server.has_declined(Reason::BlockingSocket, 300 * SECOND);
        let held = u64::from(HELD);
        assert_eq!(server.declines((300 + held) * SECOND), Some(Reason::BlockingSocket));
        assert_eq!(server.declines((301 + held) * SECOND), None);
        assert_eq!(server.declines(300 * SECOND), None);
    }

    #[test]
    fn an_unknown_programs_listener_is_known_once_some_of_its_sockets_were_seen() {
        const FIRST: u64 = 0x1001;
        const NEXT: u64 = 0x1002;
        let mut listener = Listener::default();
        listener.has_declined(Reason::UntrustedReader, SECOND);
        for _ in 0..SEEN {
            assert!(!listener.seen(FIRST).is_enough());
            assert_eq!(listener.declines(SECOND), Some(Reason::UntrustedReader));
            listener.add(FIRST, false, SECOND);
        }
        assert!(listener.seen(FIRST).is_enough());
        assert_eq!(listener.declines(SECOND), None);
        // Another one at its address is not.
        assert!(!listener.seen(NEXT).is_enough());
        listener.add(NEXT, false, SECOND);
        assert!(!listener.seen(FIRST).is_enough() && !listener.seen(NEXT).is_enough());
    }

    /// For as long as the listener lives, whatever comes after.
    #[test]
    fn one_that_blocked_is_enough_against_a_listener() {
        const COOKIE: u64 = 7;
        let mut listener = Listener::default();
        for blocking in [false, false, true, false, false, false, false] {
            listener.add(COOKIE, blocking, SECOND);
        }
        assert!(!listener.seen(COOKIE).is_enough());
        assert_eq!(listener.declines(SECOND), Some(Reason::BlockingSocket));
    }

    #[test]
    fn what_a_slot_knows_is_in_its_own_sets_and_each_kind_in_others() {
        let addr = Addr::v4([10, 0, 0, 1]);
        for port in (0..1000).map(Port::new) {
            for slot in [0, 7, 1023] {
                let sets = [
                    ServerAt::listener(slot, Clients::Own, &addr, port).set,
                    ServerAt::listener(slot, Clients::Others, &addr, port).set,
                    ServerAt::connections(slot, &addr, port).set,
                ];
                assert!(sets.iter().all(|set| set / SERVER_SETS == slot), "{sets:?}");
                assert!(sets[0] < sets[1] && sets[1] < sets[2], "{sets:?}");
            }
        }
    }

    #[test]
    fn one_that_finds_no_free_place_takes_that_of_one_other() {
        let known = |port| ServerAt::connections(0, &Addr::v4([10, 0, 0, 1]), Port::new(port));
        let of_one_set: Vec<_> =
            (1..u16::MAX).map(known).filter(|at| at.set == known(1).set).take(PLACES + 1).collect();
        let mut servers = Servers::<Connections>::default();
        for at in &of_one_set[..PLACES] {
            assert_eq!(servers.get(*at), None);
            servers.get_or_place(*at).was_short(0);
            servers.get_or_place(*at).was_short(0);
        }
        assert!(of_one_set[..PLACES].iter().all(|at| servers.get(*at).is_some_and(|it| it.short_run == 2)));
        assert_eq!(*servers.get_or_place(of_one_set[PLACES]), Connections::default());
        assert_eq!(of_one_set.iter().filter(|at| servers.get(**at).is_some()).count(), PLACES);
    }

    #[test]
    fn health_checks_keep_nobody_out() {
        let mut server = Connections::default();
        for check in 1..1000 {
            assert!(!server.skips_next(check * SECOND / 4));
            server.was_short(check * SECOND / 4);
        }
    }
}
