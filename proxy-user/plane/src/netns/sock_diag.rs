//! TCP listeners of the caller's namespace, from `NETLINK_SOCK_DIAG`.

use std::net::SocketAddr;

use anyhow::Result;
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};

use super::{Listener, netlink::Netlink};

pub(super) fn listeners() -> Result<Vec<Listener>> {
    let mut netlink = Netlink::open()?;
    let mut found = Vec::new();
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id,
        };
        for message in netlink.dump(SockDiagMessage::InetRequest(request))? {
            let SockDiagMessage::InetResponse(response) = message else { continue };
            let header = response.header;
            found.push(Listener {
                inode: header.inode.into(),
                addr: SocketAddr::new(header.socket_id.source_address, header.socket_id.source_port),
                uid: header.uid,
            });
        }
    }
    Ok(found)
}
