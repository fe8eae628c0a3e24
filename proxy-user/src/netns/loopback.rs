//! The loopback interface of a fresh namespace.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{LinkFlags, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// `lo` is the first interface of every namespace.
const LOOPBACK: u32 = 1;

/// Sets `lo` up in the caller's namespace; with it come 127.0.0.1/8 and ::1.
pub fn up() -> Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    change(RouteNetlinkMessage::SetLink(link), 0).context("set lo up")
}

/// Gives it one more address.
pub fn add(address: Ipv4Addr) -> Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 32;
    message.header.index = LOOPBACK;
    let ip = IpAddr::V4(address);
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE)
        .with_context(|| format!("add {address} to lo"))
}

/// Sends one change and waits for the kernel's word on it.
fn change(request: RouteNetlinkMessage, flags: u16) -> Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    let mut socket = Socket::new(NETLINK_ROUTE).context("open a netlink socket")?;
    socket.bind_auto().context("bind the netlink socket")?;
    socket.send_to(&buffer, &SocketAddr::new(0, 0), 0).context("send to netlink")?;
    let (answer, _) = socket.recv_from_full().context("receive from netlink")?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).context("decode netlink")?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io().into()),
        _ => Ok(()),
    }
}
