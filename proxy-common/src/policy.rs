//! The compiled configuration of one workload, as the decision reads it.

use crate::addr::Addr;

/// Scalars of the configuration. In BPF it is read-only data, so that the verifier drops what a workload does not use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Policy {
    /// Bits of [`flag`].
    pub flags: u32,
    /// The first proxy uid: on lo it alone decides (quirk 1 of `docs/decisions.md`).
    pub first_uid: u32,
    /// The first proxy gid.
    pub first_gid: u32,
    /// SO_MARK of the sidecar's transparent sockets (TPROXY).
    pub tproxy_mark: u32,
    pub outbound_port: u16,
    pub inbound_port: u16,
    /// The HBONE port, never redirected inbound.
    pub tunnel_port: u16,
    pub dns_port: u16,
    /// IPv4 loopback range that is never redirected; network order.
    pub loopback_net: [u8; 4],
    pub loopback_mask: [u8; 4],
}

const _: () = assert!(size_of::<Policy>() == 32);

/// Bits of [`Policy::flags`].
pub mod flag {
    /// IPv6 rules exist.
    pub const IPV6: u32 = 1 << 0;
    pub const DNS: u32 = 1 << 1;
    /// Every server's port 53, not only those of resolv.conf.
    pub const DNS_ALL: u32 = 1 << 2;
    pub const TPROXY: u32 = 1 << 3;
    /// Inbound ports `*`.
    pub const INBOUND_ALL: u32 = 1 << 4;
    /// Inbound ports are a list.
    pub const INBOUND_LIST: u32 = 1 << 5;
    /// Outbound ranges `*`.
    pub const OUTBOUND_ALL: u32 = 1 << 6;
    /// The outbound include list holds a loopback range: rows O4 and O7 do not exist.
    pub const LOOPBACK_INCLUDED: u32 = 1 << 7;
    pub const GROUPS_EXCEPT: u32 = 1 << 8;
    pub const GROUPS_ONLY: u32 = 1 << 9;
    /// More than one proxy uid or gid: look them up.
    pub const MORE_IDS: u32 = 1 << 10;
    /// The port table has entries for outbound decisions.
    pub const OUTBOUND_PORTS: u32 = 1 << 11;
    /// The port table has entries for inbound decisions.
    pub const INBOUND_PORTS: u32 = 1 << 12;
    /// The range table has entries.
    pub const RANGES: u32 = 1 << 13;
    /// Interfaces are excluded or virtual: the arrival interface matters.
    pub const INTERFACES: u32 = 1 << 14;
    /// Programs on guests' interfaces turn what is forwarded to the outbound listener.
    pub const GUESTS: u32 = 1 << 15;
}

/// Bits of a port in the port table.
pub mod port_flag {
    pub const OUTBOUND_EXCLUDE: u8 = 1 << 0;
    pub const OUTBOUND_INCLUDE: u8 = 1 << 1;
    pub const INBOUND_EXCLUDE: u8 = 1 << 2;
    pub const INBOUND_INCLUDE: u8 = 1 << 3;
}

/// Bits of a uid or gid in the id table.
pub mod id_flag {
    pub const PROXY_UID: u8 = 1 << 0;
    pub const PROXY_GID: u8 = 1 << 1;
    /// Listed in the owner groups (included or excluded: [`super::flag`] says which).
    pub const GROUP: u8 = 1 << 2;
}

/// Bits of a range; a range inherits the bits of those that cover it, so one longest-prefix match sees them all.
pub mod range_flag {
    pub const OUTBOUND_EXCLUDE: u8 = 1 << 0;
    pub const OUTBOUND_INCLUDE: u8 = 1 << 1;
    pub const DNS_SERVER: u8 = 1 << 2;
}

/// Bits of an interface, by index.
pub mod interface_flag {
    pub const EXCLUDED: u8 = 1 << 0;
    pub const VIRTUAL: u8 = 1 << 1;
}

/// Where the decision looks its lists up.
pub trait Table {
    fn policy(&self) -> Policy;
    /// [`port_flag`] bits.
    fn port(&self, port: u16) -> u8;
    /// [`id_flag`] bits.
    fn id(&self, id: u32) -> u8;
    /// [`range_flag`] bits.
    fn range(&self, addr: &Addr) -> u8;
}

impl Policy {
    #[inline(always)]
    pub const fn has(&self, bits: u32) -> bool {
        self.flags & bits != 0
    }

    /// Inside the loopback range of the configuration (127.0.0.1/32 unless told) or ::1.
    #[inline(always)]
    pub fn is_loopback_range(&self, addr: &Addr) -> bool {
        if !addr.is_v4() {
            return addr.0 == Addr::V6_LOOPBACK.0;
        }
        let ip = u32::from_ne_bytes(addr.octets4());
        ip & u32::from_ne_bytes(self.loopback_mask) == u32::from_ne_bytes(self.loopback_net)
    }
}
