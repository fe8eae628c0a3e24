//! TCP listeners of the caller's namespace, from `NETLINK_SOCK_DIAG`.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

use super::Listener;

pub(super) fn listeners() -> Result<Vec<Listener>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("open a netlink socket")?;
    socket.bind_auto().context("bind the netlink socket")?;
    socket.connect(&NetlinkAddr::new(0, 0)).context("connect the netlink socket")?;
    let mut found = Vec::new();
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        send(&socket, family, socket_id)?;
        receive(&socket, &mut found)?;
    }
    Ok(found)
}

fn send(socket: &Socket, family: u8, socket_id: SocketId) -> Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id,
    });
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    socket.send(&buffer, 0).map(drop).context("send to netlink")
}

/// Until the dump is done.
fn receive(socket: &Socket, found: &mut Vec<Listener>) -> Result<()> {
    loop {
        let (data, _) = socket.recv_from_full().context("receive from netlink")?;
        let mut rest = &data[..];
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<SockDiagMessage>::deserialize(rest).context("decode a netlink message")?;
            let length = (message.header.length as usize).next_multiple_of(4).max(16);
            rest = rest.get(length..).unwrap_or(&[]);
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => bail!("netlink: {}", error.to_io()),
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    let header = &response.header;
                    let id = &header.socket_id;
                    found.push(Listener {
                        inode: header.inode.into(),
                        addr: SocketAddr::new(id.source_address, id.source_port),
                        uid: header.uid,
                    });
                }
                _ => {}
            }
        }
    }
}
