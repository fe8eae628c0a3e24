//! `::6` on lo, the source of the sidecar's IPv6 passthrough connections. IPv4's 127.0.0.6 needs nothing: all of
//! 127.0.0.0/8 is lo's.

use std::{
    io,
    net::Ipv6Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
};

use super::{Netns, netlink::Netlink, routes};

/// What Istio adds to lo when it makes IPv6 rules.
pub const PASSTHROUGH6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// The kernel makes an address' route in a work queue; on a machine with much to do that takes milliseconds.
const ROUTE_WITHIN: Duration = Duration::from_secs(1);

/// Adds it, with its route: who reads the routes afterwards knows it as local. False: it was there.
pub fn add_passthrough(netns: &Netns) -> Result<bool> {
    netns.within(|| {
        let mut netlink = Netlink::open()?;
        let added = match netlink.create(RouteNetlinkMessage::NewAddress(message()?)) {
            Ok(()) => true,
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => false,
            Err(error) => bail!("add {PASSTHROUGH6}/128 to lo: {error}"),
        };
        let started = Instant::now();
        // net/ipv6/addrconf.c: addrconf_dad_work makes it, also without duplicate address detection.
        while !routes::is_local(&mut netlink, PASSTHROUGH6.into())? && started.elapsed() < ROUTE_WITHIN {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(added)
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
