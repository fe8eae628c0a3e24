//! The routing table as the decision needs it: for each prefix, whether it is local, by which interface it leaves, and
//! which source the kernel would choose.
//!
//! Every route of every table gives a prefix; what holds inside it is asked of the kernel with one address of the
//! prefix that no longer prefix covers, so that policy rules, metrics and source selection are the kernel's own.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::Result;
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
};
use proxy_core::network::{RouteEntry, Routes};

use super::{
    Netns,
    netlink::{Answer, Netlink},
};

/// Asks the kernel for the namespace's routes.
pub fn routes(netns: &Netns) -> Result<Routes> {
    netns.within(|| {
        let mut netlink = Netlink::open()?;
        let mut entries = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let prefixes = prefixes(&mut netlink, family)?;
            for prefix in &prefixes {
                if let Some(inside) = representative(prefix, &prefixes) {
                    entries.push(look_up(&mut netlink, *prefix, inside)?);
                }
            }
        }
        entries.extend(tentative(&mut netlink)?.into_iter().map(|ip| RouteEntry {
            prefix: ip.into(),
            local: true,
            unreachable: false,
            interface: None,
            source: None,
        }));
        Ok(Routes { entries })
    })
}

fn prefixes(netlink: &mut Netlink<RouteNetlinkMessage>, family: AddressFamily) -> Result<BTreeSet<IpNet>> {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    let mut found = BTreeSet::new();
    for message in netlink.dump(RouteNetlinkMessage::GetRoute(request))? {
        let RouteNetlinkMessage::NewRoute(route) = message else { continue };
        if route.header.kind == RouteType::Multicast || route.header.address_family != family {
            continue;
        }
        let destination = destination(&route).unwrap_or(match family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        });
        if let Ok(prefix) = IpNet::new(destination, route.header.destination_prefix_length) {
            found.insert(prefix.trunc());
        }
    }
    Ok(found)
}

/// Addresses that are about to be the namespace's: the kernel has no route to them while duplicate address detection
/// tries them.
fn tentative(netlink: &mut Netlink<RouteNetlinkMessage>) -> Result<Vec<IpAddr>> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet6;
    let mut found = Vec::new();
    for message in netlink.dump(RouteNetlinkMessage::GetAddress(request))? {
        let RouteNetlinkMessage::NewAddress(address) = message else { continue };
        let flags = address.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
        let is_tried = flags.is_some_and(|flags| {
            flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Dadfailed)
        });
        let ip = address.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        });
        found.extend(ip.filter(|_| is_tried));
    }
    Ok(found)
}

/// An address inside `prefix` and inside no longer one.
fn representative(prefix: &IpNet, all: &BTreeSet<IpNet>) -> Option<IpAddr> {
    let inner: Vec<&IpNet> = all
        .iter()
        .filter(|other| other.prefix_len() > prefix.prefix_len() && prefix.contains(*other))
        .collect();
    candidates(prefix)
        .find(|ip| usable(ip, prefix) && prefix.contains(ip) && !inner.iter().any(|other| other.contains(ip)))
}

fn usable(ip: &IpAddr, prefix: &IpNet) -> bool {
    // Only a route that says so may be asked with an address no host has.
    prefix.prefix_len() == prefix.max_prefix_len() || !(ip.is_unspecified() || ip.is_multicast())
}

/// A few addresses next to both ends, public ones for the default route, and one next to each power of two.
fn candidates(prefix: &IpNet) -> impl Iterator<Item = IpAddr> {
    let (base, last) = (to_bits(prefix.network()), to_bits(prefix.broadcast()));
    let v4 = matches!(prefix, IpNet::V4(_));
    let public: [IpAddr; 2] = if v4 {
        [Ipv4Addr::new(198, 51, 100, 7).into(), Ipv4Addr::new(8, 8, 8, 8).into()]
    } else {
        [
            Ipv6Addr::new(0x2001, 0xdb8, 0xfeed, 0, 0, 0, 0, 7).into(),
            Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 0x1111).into(),
        ]
    };
    let near = (0..4u128).flat_map(move |i| [base.checked_add(i), last.checked_sub(i)]).flatten();
    let powers = (0..128u32).filter_map(move |bit| base.checked_add(1u128 << bit)?.checked_add(1));
    public.into_iter().chain(near.chain(powers).filter(move |bits| *bits >= base && *bits <= last).map(
        move |bits| {
            if v4 { IpAddr::V4(Ipv4Addr::from(bits as u32)) } else { IpAddr::V6(Ipv6Addr::from(bits)) }
        },
    ))
}

fn to_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// Whether the kernel delivers packets to `ip` here.
pub(super) fn is_local(netlink: &mut Netlink<RouteNetlinkMessage>, ip: IpAddr) -> Result<bool> {
    Ok(look_up(netlink, IpNet::from(ip), ip)?.local)
}

/// RTM_GETROUTE for one address.
fn look_up(netlink: &mut Netlink<RouteNetlinkMessage>, prefix: IpNet, inside: IpAddr) -> Result<RouteEntry> {
    let mut request = RouteMessage::default();
    let (family, length) = match inside {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    request.header.address_family = family;
    request.header.destination_prefix_length = length;
    request.attributes.push(RouteAttribute::Destination(inside.into()));
    let mut entry = RouteEntry { prefix, local: false, unreachable: false, interface: None, source: None };
    match netlink.ask(RouteNetlinkMessage::GetRoute(request))? {
        Answer::Refused => entry.unreachable = true,
        Answer::Message(message) => {
            let RouteNetlinkMessage::NewRoute(route) = *message else { return Ok(entry) };
            entry.local = matches!(route.header.kind, RouteType::Local | RouteType::Anycast);
            entry.unreachable = matches!(
                route.header.kind,
                RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Broadcast
            );
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Oif(index) => entry.interface = Some(*index),
                    RouteAttribute::PrefSource(address) => entry.source = to_ip(address),
                    _ => {}
                }
            }
            // The answer names the asked address itself as the source of a prefix that is local as a whole
            // (`ip route add local 10.0.0.0/8 dev lo`): each of its addresses is then its own source.
            if entry.local && prefix.prefix_len() != prefix.max_prefix_len() && entry.source == Some(inside) {
                entry.source = None;
            }
        }
    }
    Ok(entry)
}

fn destination(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => to_ip(address),
        _ => None,
    })
}

fn to_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn a_representative_avoids_longer_prefixes() {
        let all = nets(&["0.0.0.0/0", "10.0.0.0/24", "10.0.0.0/32", "10.0.0.255/32", "10.0.0.1/32"]);
        let net: IpNet = "10.0.0.0/24".parse().unwrap();
        assert_eq!(representative(&net, &all), Some("10.0.0.254".parse().unwrap()));
        assert_eq!(
            representative(&"0.0.0.0/0".parse().unwrap(), &all),
            Some("198.51.100.7".parse().unwrap())
        );
    }

    #[test]
    fn a_covered_prefix_has_none() {
        let all = nets(&["10.0.0.0/31", "10.0.0.0/32", "10.0.0.1/32"]);
        assert_eq!(representative(&"10.0.0.0/31".parse().unwrap(), &all), None);
    }

    #[test]
    fn a_host_prefix_stands_for_itself() {
        let all = nets(&["::/0", "::1/128", "fd00::/64"]);
        assert_eq!(representative(&"::1/128".parse().unwrap(), &all), Some("::1".parse().unwrap()));
        assert!(representative(&"fd00::/64".parse().unwrap(), &all).is_some());
    }
}
