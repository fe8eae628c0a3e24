//! Interfaces and addresses.

use std::net::IpAddr;

use anyhow::{Context, Result};
use nix::{ifaddrs::getifaddrs, net::if_::if_nameindex};
use proxy_core::network::{Interface, Interfaces};

use super::Netns;

/// A look at the namespace's interfaces.
pub fn interfaces(netns: &Netns) -> Result<Interfaces> {
    netns.within(interfaces_here)
}

/// Of the caller's own namespace, which needs no privilege.
pub fn interfaces_here() -> Result<Interfaces> {
    let names = if_nameindex().context("list the interfaces")?;
    let interfaces = names
        .iter()
        .map(|i| Interface { name: i.name().to_string_lossy().into_owned(), index: i.index() })
        .collect();
    let addresses = getifaddrs()
        .context("list the addresses")?
        .filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect();
    Ok(Interfaces { interfaces, addresses })
}
