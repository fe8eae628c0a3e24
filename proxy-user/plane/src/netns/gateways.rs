//! The address of an interface to which REDIRECT turns what arrives there.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;

use super::Netns;

/// One interface's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gateway {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// By interface name: the first IPv4 address, and the first global IPv6 one, as nf_nat_redirect.c takes them.
pub fn gateways(netns: &Netns) -> Result<HashMap<String, Gateway>> {
    netns.within(|| {
        let mut found: HashMap<String, Gateway> = HashMap::new();
        for entry in getifaddrs().context("list the addresses")? {
            let Some(address) = entry.address else { continue };
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            match v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()))) {
                Some(IpAddr::V4(ip)) => {
                    found.entry(entry.interface_name).or_default().v4.get_or_insert(ip);
                }
                Some(IpAddr::V6(ip)) if !ip.is_unicast_link_local() => {
                    found.entry(entry.interface_name).or_default().v6.get_or_insert(ip);
                }
                _ => {}
            }
        }
        Ok(found)
    })
}
