//! What a namespace that was just made lacks. Both act on the caller's own.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{LinkFlags, LinkMessage},
};

use super::netlink::Netlink;

/// `lo` is the first interface of every namespace.
const LOOPBACK: u32 = 1;

/// Sets `lo` up; with it come 127.0.0.1/8 and ::1.
pub fn lo_up() -> Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    Netlink::open()?.change(RouteNetlinkMessage::SetLink(link)).context("set lo up")
}

/// Gives `lo` one more address.
pub fn add_to_lo(address: Ipv4Addr) -> Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 32;
    message.header.index = LOOPBACK;
    message.attributes.push(AddressAttribute::Local(address.into()));
    message.attributes.push(AddressAttribute::Address(address.into()));
    let request = RouteNetlinkMessage::NewAddress(message);
    Netlink::open()?.create(request).with_context(|| format!("add {address} to lo"))
}
