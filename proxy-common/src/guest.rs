//! Virtual machines behind an interface of the pod (`-k`): what the programs on that interface remember of a flow.
//!
//! Packets a guest sends to somebody else are forwarded, not delivered, so that no socket lookup ever sees them. They
//! are turned to the sidecar on arrival, as REDIRECT in PREROUTING does, and the answers are turned back on leaving.

use crate::addr::{Addr, Port};

/// The guest's flow as the sidecar sees it: with REDIRECT all flows of a guest end at one address and port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct GuestKey {
    pub client: Addr,
    /// The guest's port, or another one if that is in use towards the sidecar.
    pub port: Port,
    pub reserved: [u8; 2],
    pub slot: u32,
}

/// An interface of a workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct InterfaceKey {
    pub slot: u32,
    pub index: u32,
}

/// What the guest wanted, and calls its own port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct GuestFlow {
    pub server: Addr,
    pub server_port: Port,
    pub client_port: Port,
}

/// The addresses of an interface to which REDIRECT turns what arrives there; unspecified: it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct GuestGateway {
    pub v4: Addr,
    pub v6: Addr,
}

const _: () = assert!(size_of::<GuestKey>() == 24);
const _: () = assert!(size_of::<GuestFlow>() == 20);
const _: () = assert!(size_of::<GuestGateway>() == 32);

/// Flows remembered of all guests of a workload, the least recently used go first.
pub const FLOWS: u32 = 16384;

/// Ports tried when the guest's own is in use.
pub const PORT_TRIES: u16 = 8;

/// The n-th port to try: the guest's own, then some that depend on where it wants to go.
#[inline(always)]
pub fn port_to_try(n: u16, own: Port, server: &Addr, server_port: Port) -> Port {
    if n == 0 {
        return own;
    }
    let [.., a, b, c, d] = server.0;
    let seed = u32::from_be_bytes([a, b, c, d]) ^ (u32::from(server_port.get()) << 16) ^ u32::from(own.get());
    let mixed = seed.wrapping_add(u32::from(n)).wrapping_mul(0x9e37_79b1) >> 16;
    Port::new(1024 + (mixed % (65536 - 1024)) as u16)
}

impl GuestGateway {
    #[inline(always)]
    pub fn of(&self, v4: bool) -> &Addr {
        if v4 { &self.v4 } else { &self.v6 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ports_to_try_begin_with_the_own_one_and_are_not_privileged() {
        let server = Addr::v4([10, 96, 7, 7]);
        let ports: Vec<u16> =
            (0..PORT_TRIES).map(|n| port_to_try(n, Port::new(40000), &server, Port::new(80)).get()).collect();
        assert_eq!(ports[0], 40000);
        assert!(ports.iter().all(|port| *port >= 1024));
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
    }
}
