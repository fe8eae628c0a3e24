//! `::6` on lo, the source of the sidecar's IPv6 passthrough connections. IPv4's 127.0.0.6 needs nothing: all of
//! 127.0.0.0/8 is lo's.

use std::{io, net::Ipv6Addr};

use anyhow::{Context, Result, bail};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
};

use super::{Netns, netlink::Netlink};

/// What Istio adds to lo when it makes IPv6 rules.
pub const PASSTHROUGH6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// Adds it. False: it was there.
pub fn add_passthrough(netns: &Netns) -> Result<bool> {
    netns.within(|| {
        let mut netlink = Netlink::open()?;
        match netlink.create(RouteNetlinkMessage::NewAddress(message()?)) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(error) => bail!("add {PASSTHROUGH6}/128 to lo: {error}"),
        }
    })
}

/// Removes it. That it is gone already is no error.
pub fn remove_passthrough(netns: &Netns) -> Result<()> {
    netns.within(|| {
        let mut netlink = Netlink::open()?;
        match netlink.change(RouteNetlinkMessage::DelAddress(message()?)) {
            Err(error) if error.raw_os_error() != Some(libc::EADDRNOTAVAIL) => {
                bail!("remove {PASSTHROUGH6}/128 from lo: {error}")
            }
            _ => Ok(()),
        }
    })
}

fn message() -> Result<AddressMessage> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = 128;
    // Usable at once: nobody else can have it.
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.index = nix::net::if_::if_nametoindex("lo").map_err(io::Error::from).context("find lo")?;
    message.attributes.push(AddressAttribute::Local(PASSTHROUGH6.into()));
    message.attributes.push(AddressAttribute::Address(PASSTHROUGH6.into()));
    Ok(message)
}
