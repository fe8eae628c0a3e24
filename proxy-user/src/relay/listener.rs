//! The relay's listening sockets.

use std::{io, net::SocketAddr};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket};

/// Capped by net.core.somaxconn; a burst of connects must not meet a full accept queue before that.
const BACKLOG: u32 = 4096;

/// Seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    Outbound,
    Inbound,
}

impl Direction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Outbound => 15001,
            Self::Inbound => 15006,
        }
    }
}

/// A bound socket and what arrives on it.
pub(super) struct Listener {
    pub(super) direction: Direction,
    pub(super) address: SocketAddr,
    pub(super) socket: TcpListener,
}

/// Listens on `wanted`, or on every address of both families when nothing is wanted in particular. A machine
/// without IPv6 then listens on IPv4 alone.
///
/// # Errors
/// Names the address that cannot be had.
pub(super) fn bind_all(direction: Direction, wanted: &[SocketAddr]) -> Result<Vec<Listener>> {
    if !wanted.is_empty() {
        return wanted.iter().map(|address| bind(direction, *address)).collect();
    }
    let port = direction.default_port();
    let mut listeners = vec![bind(direction, SocketAddr::from(([0; 4], port)))?];
    match bind(direction, SocketAddr::from(([0; 16], port))) {
        Ok(listener) => listeners.push(listener),
        Err(error) if lacks_ipv6(&error) => tracing::warn!("no IPv6 here: {error:#}"),
        Err(error) => return Err(error),
    }
    Ok(listeners)
}

fn lacks_ipv6(error: &anyhow::Error) -> bool {
    let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    matches!(errno, Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn bind(direction: Direction, address: SocketAddr) -> Result<Listener> {
    let socket = listen(address)
        .with_context(|| format!("listen on {address} for {} connections", direction.name()))?;
    let address = socket.local_addr().context("address of a listener")?;
    Ok(Listener { direction, address, socket })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // Each family has its own socket: SO_ORIGINAL_DST of a v4-mapped connection is asked differently.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
