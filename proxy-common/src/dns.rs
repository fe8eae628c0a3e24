//! Telling the servers apart that one unconnected UDP socket asks.
//!
//! Everything it sends goes to the agent's one address, and so every reply would come from there. The first server is
//! asked that way. Each further one gets a slot of the socket, and its queries carry the slot's alias as their source;
//! the agent answers to the alias, its reply is made to come *from* the alias, and the client's socket, which knows its
//! slots, shows the server. What is remembered goes with the socket.

use crate::addr::Addr;

/// The port that servers are asked at.
pub const PORT: u16 = 53;
/// Where the agent listens for them.
pub const AGENT: u16 = 15053;

/// Servers told apart besides the first. A resolver has three (`MAXNS`).
pub const SLOTS: usize = 16;

/// The servers behind a socket's slots (socket storage).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Servers {
    /// Slots taken so far; beyond [`SLOTS`] the oldest is taken again.
    pub taken: u32,
    pub server: [Addr; SLOTS],
}

const _: () = assert!(size_of::<Servers>() == 4 + 16 * SLOTS);

/// 127.53.53.0, delivered to lo like all of 127.0.0.0/8.
const V4: [u8; 3] = [127, 53, 53];
/// 100::35:0, in the block no router forwards (RFC 6666). The host has no such address and needs none: as a source on
/// lo it is not checked (`net/ipv6/ip6_input.c: ip6_rcv_core`), and the agent's reply is sent to ::1 instead.
const V6: [u8; 15] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x35, 0];

/// The source that stands for a slot.
#[inline(always)]
pub fn alias(v4: bool, slot: usize) -> Addr {
    let slot = slot as u8;
    if v4 {
        return Addr::v4([V4[0], V4[1], V4[2], slot]);
    }
    let mut bytes = [0; 16];
    bytes[0] = V6[0];
    bytes[13] = V6[13];
    bytes[15] = slot;
    Addr(bytes)
}

/// The slot an address stands for.
#[inline(always)]
pub fn slot_of(addr: &Addr) -> Option<usize> {
    let slot = usize::from(addr.0[15]);
    let is_alias = if addr.is_v4() { addr.0[12..15] == V4 } else { addr.0[..15] == V6 };
    (is_alias && slot < SLOTS).then_some(slot)
}

impl Servers {
    /// The slot of a server, a new one if it has none. The second value says that another server lost its slot.
    #[inline(always)]
    pub fn slot(&mut self, server: &Addr) -> (usize, bool) {
        for slot in 0..SLOTS {
            if self.server[slot].0 == server.0 {
                return (slot, false);
            }
        }
        let slot = self.taken as usize % SLOTS;
        let full = self.taken as usize >= SLOTS;
        self.server[slot] = *server;
        self.taken = self.taken.wrapping_add(1);
        (slot, full)
    }

    /// The server behind a slot.
    #[inline(always)]
    pub fn server(&self, slot: usize) -> Option<Addr> {
        let server = self.server.get(slot)?;
        (!server.is_unspecified()).then_some(*server)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn addr(text: &str) -> Addr {
        Addr::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn an_alias_names_its_slot_and_nothing_else_does() {
        for v4 in [true, false] {
            for slot in 0..SLOTS {
                assert_eq!(slot_of(&alias(v4, slot)), Some(slot));
            }
        }
        assert_eq!(alias(true, 3), addr("127.53.53.3"));
        assert_eq!(alias(false, 3), addr("100::35:3"));
        for other in
            ["127.0.0.1", "127.53.53.16", "127.53.54.1", "10.53.53.1", "::1", "100::35:10", "100::36:1"]
        {
            assert_eq!(slot_of(&addr(other)), None, "{other}");
        }
    }

    #[test]
    fn a_server_keeps_its_slot_until_there_are_too_many() {
        let mut servers = Servers { taken: 0, server: [Addr::UNSPECIFIED; SLOTS] };
        let server = |i: usize| Addr::v4([10, 0, 0, i as u8 + 1]);
        for i in 0..SLOTS {
            assert_eq!(servers.slot(&server(i)), (i, false));
            assert_eq!(servers.slot(&server(i)), (i, false));
        }
        assert_eq!(servers.server(3), Some(server(3)));
        assert_eq!(servers.slot(&server(SLOTS)), (0, true));
        assert_eq!(servers.server(0), Some(server(SLOTS)));
        assert_eq!(servers.slot(&server(0)), (1, true));
    }
}
