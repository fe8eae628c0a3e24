//! Keys and values of the maps.

use crate::{
    addr::{Addr, Port},
    workload::SLOTS,
};

pub use crate::kernel::Kernel;

/// What a socket is to us.
pub mod role {
    /// No entry.
    pub const NONE: u8 = 0;
    /// Opened by the application, redirected: `orig` is where it wanted to go.
    pub const CLIENT: u8 = 1;
    /// Accepted by the sidecar for a redirected client: `orig` is where that wanted to go.
    pub const ACCEPTED: u8 = 2;
    /// A listener of the sidecar, or a socket it accepted directly: its own address is the original destination.
    pub const LISTENER: u8 = 3;
    /// The sidecar's transparent upstream socket: `orig` is the client's address it was bound to.
    pub const TRANSPARENT: u8 = 4;
    /// Accepted by the application from such a socket: `orig` is the client.
    pub const TPROXY_PEER: u8 = 5;
    /// Connects to its own pod, and is left alone: the lookup that its SYN meets has to know.
    pub const SELF_CALL: u8 = 6;
}

/// What is remembered of a socket (socket storage).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct SocketState {
    pub orig: Addr,
    pub port: Port,
    /// One of [`role`].
    pub role: u8,
    pub reserved: u8,
}

/// A redirected connection between SYN and accept, seen from the client: unique in the namespace, and so in the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct ConnectionKey {
    pub client: Addr,
    pub sidecar: Addr,
    pub client_port: Port,
    pub sidecar_port: Port,
    pub slot: u32,
}

/// Where a redirected connection wanted to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct OriginalDst {
    pub addr: Addr,
    pub port: Port,
    /// One of [`pending`].
    pub kind: u8,
    pub reserved: u8,
}

/// What a connection between SYN and accept is.
pub mod pending {
    /// Redirected to one of the sidecar's ports.
    pub const REDIRECTED: u8 = 0;
    /// Not redirected: the workload calls itself ([`super::role::SELF_CALL`]).
    pub const SELF_CALL: u8 = 1;
    /// Redirected, and on its way to a port that stands for the destination ([`super::spread_port`]).
    pub const BY_PORT: u8 = 2;
}

/// uid and gid of the process that created a socket (kernels without BTF).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Key of the range and route tries: each workload's tables apart, and the family, so that `::/0` does not cover the
/// v4-mapped block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct PrefixKey {
    /// Which tables; in network order.
    pub tables: [u8; 4],
    /// 4 or 6, in the last byte.
    pub family: [u8; 4],
    pub addr: Addr,
}

/// Bits of the prefix that are always compared: tables and family, and for IPv4 the mapped form's 96.
pub const PREFIX_HEAD: u32 = 64;

/// Key of what is listed one by one: ports, ids, interfaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct ListKey {
    /// Which tables.
    pub tables: u32,
    /// One of [`list`].
    pub list: u32,
    pub value: u32,
}

/// Lists of single values.
pub mod list {
    /// [`crate::policy::port_flag`] bits.
    pub const PORT: u32 = 0;
    /// [`crate::policy::id_flag`] bits.
    pub const ID: u32 = 1;
    /// [`crate::policy::interface_flag`] bits, by index.
    pub const INTERFACE: u32 = 2;
}

/// Listed values of all workloads.
pub const LISTED_VALUES: u32 = 1 << 17;
/// Prefixes of all workloads; they take room as they come.
pub const PREFIXES: u32 = 1 << 20;

/// What the routing table says about a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Route {
    /// The source the kernel chooses. Unspecified: the destination itself if that is local, else unknown.
    pub src: Addr,
    /// Bits of [`route_flag`].
    pub flags: u8,
    pub reserved: [u8; 3],
}

/// Bits of [`Route::flags`].
pub mod route_flag {
    /// Delivered on this host: iptables sees `-o lo`.
    pub const LOCAL: u8 = 1 << 0;
    /// Leaves by an excluded interface.
    pub const EXCLUDED: u8 = 1 << 1;
    /// Unreachable, blackhole or prohibit: the kernel refuses, there is nothing to capture.
    pub const UNREACHABLE: u8 = 1 << 2;
}

impl Route {
    /// The kernel delivers on this host: iptables sees `-o lo`.
    #[inline(always)]
    pub const fn is_local(&self) -> bool {
        self.flags & route_flag::LOCAL != 0
    }

    /// The route leads to an excluded interface.
    #[inline(always)]
    pub const fn is_excluded(&self) -> bool {
        self.flags & route_flag::EXCLUDED != 0
    }

    #[inline(always)]
    pub const fn is_unreachable(&self) -> bool {
        self.flags & route_flag::UNREACHABLE != 0
    }
}

const _: () = assert!(size_of::<SocketState>() == 20);
const _: () = assert!(size_of::<ConnectionKey>() == 40);
const _: () = assert!(size_of::<OriginalDst>() == 20);
const _: () = assert!(size_of::<PrefixKey>() == 24 && size_of::<ListKey>() == 12);
const _: () = assert!(size_of::<Route>() == 20);

/// A piece of the JSON in the META map; the rest of the last one is zero.
pub type MetaChunk = [u8; 256];

/// Entries of the listener map for each group of a workload.
pub const LISTENERS_OF_GROUP: u32 = 16;

/// A group of the sidecar's listeners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ListenerGroup {
    /// Outbound port, reachable over loopback.
    Outbound4,
    Outbound6,
    /// Inbound port, reachable from outside.
    Inbound4,
    Inbound6,
}

impl ListenerGroup {
    pub const ALL: [Self; 4] = [Self::Outbound4, Self::Outbound6, Self::Inbound4, Self::Inbound6];

    /// The group of a listener on the sidecar's outbound or inbound port. None: redirected connections do not reach its
    /// address, with iptables neither, where REDIRECT turns those of the pod to 127.0.0.1 or ::1, and those from outside
    /// to an address of the interface they come by.
    #[inline(always)]
    pub fn of(outbound: bool, local: &Addr, v4: bool) -> Option<Self> {
        let anywhere = local.is_unspecified();
        if outbound {
            let reached = anywhere || *local == Addr::V4_LOOPBACK || *local == Addr::V6_LOOPBACK;
            return reached.then_some(if v4 { Self::Outbound4 } else { Self::Outbound6 });
        }
        let reached = anywhere || !local.is_loopback();
        reached.then_some(if v4 { Self::Inbound4 } else { Self::Inbound6 })
    }

    #[inline(always)]
    pub const fn first_entry(self, slot: u32) -> u32 {
        slot * LISTENERS_OF_WORKLOAD + self as u32 * LISTENERS_OF_GROUP
    }
}

pub const LISTENERS_OF_WORKLOAD: u32 = ListenerGroup::ALL.len() as u32 * LISTENERS_OF_GROUP;
pub const LISTENERS: u32 = SLOTS * LISTENERS_OF_WORKLOAD;

impl PrefixKey {
    #[inline(always)]
    pub fn new(tables: u32, addr: Addr) -> Self {
        let family = if addr.is_v4() { 4 } else { 6 };
        Self { tables: tables.to_be_bytes(), family: [0, 0, 0, family], addr }
    }
}

impl SocketState {
    pub const EMPTY: Self =
        Self { orig: Addr::UNSPECIFIED, port: Port([0; 2]), role: role::NONE, reserved: 0 };
}

/// Loopback destinations of redirected IPv4 connections start here: 127.128.0.0/10. Spreading over them gives every
/// original destination an ephemeral port range of its own, as under iptables.
pub const SPREAD_FIRST_OCTETS: [u8; 2] = [127, 128];

/// The loopback address that stands for an original IPv4 destination.
#[inline(always)]
pub fn spread(dst: &Addr, port: Port) -> Addr {
    let ip = u32::from_ne_bytes(dst.octets4());
    let mixed = (ip ^ (u32::from(port.get()) << 16)).wrapping_mul(0x9e37_79b1) >> 10;
    let [_, a, b, c] = mixed.to_be_bytes();
    Addr::v4([SPREAD_FIRST_OCTETS[0], SPREAD_FIRST_OCTETS[1] | a, b, c])
}

/// Bits of [`spread_port`]: as many ports as can be told apart.
const SPREAD_PORT_BITS: u32 = 15;
const FIRST_SPREAD_PORT: u16 = 16_384;

/// The port that stands for an original destination where its address cannot: connections of a socket that is bound to a
/// port all go to the socket's own address, the only one towards which the kernel keeps the source. None of `not`: the
/// sidecar's ports mean something else, and at its own port a socket would be connected to itself.
#[inline(always)]
pub fn spread_port(dst: &Addr, port: Port, not: [u16; 4]) -> u16 {
    let word = |i: usize| u32::from_ne_bytes([dst.0[i], dst.0[i + 1], dst.0[i + 2], dst.0[i + 3]]);
    let folded = word(0) ^ word(4).rotate_left(7) ^ word(8).rotate_left(13) ^ word(12).rotate_left(19);
    let mixed = (folded ^ (u32::from(port.get()) << 16)).wrapping_mul(0x9e37_79b1);
    let first = FIRST_SPREAD_PORT + (mixed >> (32 - SPREAD_PORT_BITS)) as u16;
    let is_free = |port: u16| port != not[0] && port != not[1] && port != not[2] && port != not[3];
    // Of five ports four can be taken.
    if is_free(first) {
        first
    } else if is_free(first ^ 1) {
        first ^ 1
    } else if is_free(first ^ 2) {
        first ^ 2
    } else if is_free(first ^ 3) {
        first ^ 3
    } else {
        first ^ 4
    }
}

/// Whether an address is one [`spread`] makes.
#[inline(always)]
pub fn is_spread(addr: &Addr) -> bool {
    addr.is_v4() && addr.0[12] == SPREAD_FIRST_OCTETS[0] && addr.0[13] & 0xc0 == SPREAD_FIRST_OCTETS[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stand_for_destinations_and_avoid_what_they_must() {
        let of = |last: u8, port: u16| {
            [Addr::v4([10, 96, 0, last]), Addr([0xfd, 0, 0, 0x96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])]
                .map(|dst| spread_port(&dst, Port::new(port), [0; 4]))
        };
        for family in [0, 1] {
            let made: std::collections::HashSet<u16> =
                (0..=255).flat_map(|last| [80, 443, 9090, 5432].map(|port| of(last, port)[family])).collect();
            assert!(made.len() > 950, "{}", made.len());
            assert!(made.iter().all(|port| (16_384..=49_151).contains(port)));
        }
        let dst = Addr::v4([10, 96, 0, 7]);
        let mut not = [0; 4];
        for taken in 0..4 {
            not[taken] = spread_port(&dst, Port::new(80), not);
        }
        assert!(!not.contains(&spread_port(&dst, Port::new(80), not)));
    }

    #[test]
    fn what_spread_makes_is_known_and_its_neighbours_are_not() {
        for a in 0..=255 {
            for port in [80, 443, 65_535] {
                let made = spread(&Addr::v4([10, a, 96, 255 - a]), Port::new(port));
                assert!(is_spread(&made), "{made:?}");
            }
        }
        for own in [[127, 128, 0, 0], [127, 191, 255, 255]] {
            assert!(is_spread(&Addr::v4(own)), "{own:?}");
        }
        for other in
            [[127, 0, 0, 1], [127, 127, 255, 255], [127, 192, 0, 0], [127, 255, 255, 255], [10, 128, 0, 1]]
        {
            assert!(!is_spread(&Addr::v4(other)), "{other:?}");
        }
    }
}
