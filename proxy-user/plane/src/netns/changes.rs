//! Tells when a namespace's interfaces, addresses, routes or rules change.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context, Result};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::Netns;

const GROUPS: u32 = group(libc::RTNLGRP_LINK)
    | group(libc::RTNLGRP_IPV4_IFADDR)
    | group(libc::RTNLGRP_IPV4_ROUTE)
    | group(libc::RTNLGRP_IPV4_RULE)
    | group(libc::RTNLGRP_IPV6_IFADDR)
    | group(libc::RTNLGRP_IPV6_ROUTE)
    | group(libc::RTNLGRP_IPV6_RULE);

/// As `bind` takes it.
const fn group(number: u32) -> u32 {
    1 << (number - 1)
}

/// A socket that can be read as soon as something has changed. It does not block, and keeps the namespace as long as it is
/// open.
pub fn changes(netns: &Netns) -> Result<OwnedFd> {
    netns.within(|| {
        let mut socket = Socket::new(NETLINK_ROUTE).context("open a netlink socket")?;
        socket.bind(&SocketAddr::new(0, GROUPS)).context("listen to changes of the network")?;
        socket.set_non_blocking(true).context("listen to changes of the network")?;
        socket.as_fd().try_clone_to_owned().context("keep the netlink socket")
    })
}
