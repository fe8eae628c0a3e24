//! TPROXY mode: which sockets are the sidecar's transparent ones, and the loopback source that stands for a client.
//!
//! Envoy's `original_src` binds its upstream socket to the client's address. Under iptables the application's answers
//! are turned back by marks and a routing table; here the socket is bound to a loopback address instead, from which
//! answers come back by themselves, and both ends are shown the client's.

use crate::{
    addr::Addr,
    policy::{Policy, Table, flag, id_flag},
};

/// Loopback sources that stand for IPv4 clients start here: 127.64.0.0/10. Each client gets an ephemeral port range of
/// its own, as under iptables, unless two fall on one address.
const FIRST_OCTETS: [u8; 2] = [127, 64];

/// The source a transparent socket gets in place of its client's address.
#[inline(always)]
pub fn transparent_source(client: &Addr) -> Addr {
    if !client.is_v4() {
        return Addr::V6_PASSTHROUGH;
    }
    let mixed = u32::from_ne_bytes(client.octets4()).wrapping_mul(0x9e37_79b1) >> 10;
    let [_, a, b, c] = mixed.to_be_bytes();
    Addr::v4([FIRST_OCTETS[0], FIRST_OCTETS[1] | a, b, c])
}

/// Whether an address may be one [`transparent_source`] makes.
#[inline(always)]
pub fn is_transparent_source(addr: &Addr) -> bool {
    if addr.is_v4() {
        addr.0[12] == FIRST_OCTETS[0] && addr.0[13] & 0xc0 == FIRST_OCTETS[1]
    } else {
        addr.0 == Addr::V6_PASSTHROUGH.0
    }
}

/// Whether a socket's owner is the sidecar, by uid or by gid.
#[inline(always)]
pub fn is_sidecar<T: Table>(table: &T, policy: &Policy, uid: u32, gid: u32) -> bool {
    uid == policy.first_uid
        || gid == policy.first_gid
        || (policy.has(flag::MORE_IDS)
            && (table.id(uid) & id_flag::PROXY_UID != 0 || table.id(gid) & id_flag::PROXY_GID != 0))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::IpAddr};

    use super::*;

    fn addr(text: &str) -> Addr {
        Addr::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn clients_of_a_network_have_sources_of_their_own() {
        let sources: HashSet<Addr> = (0..=255u8)
            .flat_map(|a| (0..=255u8).map(move |b| transparent_source(&Addr::v4([10, 10, a, b]))))
            .collect();
        assert!(sources.len() > 65_000, "{}", sources.len());
        assert!(sources.iter().all(|source| source.is_loopback() && is_transparent_source(source)));
        assert!(sources.iter().all(|source| !crate::wire::is_spread(source)));
    }

    #[test]
    fn other_loopback_addresses_are_none() {
        assert_eq!(transparent_source(&addr("fd00::9")), addr("::6"));
        assert!(is_transparent_source(&addr("::6")));
        for other in ["127.0.0.1", "127.0.0.6", "127.128.0.1", "10.64.0.1", "::1", "fd00::6"] {
            assert!(!is_transparent_source(&addr(other)), "{other}");
        }
    }
}
