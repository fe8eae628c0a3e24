//! Where a captured connection was going.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::AsFd,
};

use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::TcpStream;

/// The address the client connected to, before anything redirected it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OriginalDst(pub(super) SocketAddr);

/// How it is found; tests put their own in place of the kernel's.
pub(super) type Lookup = dyn Fn(&TcpStream) -> io::Result<OriginalDst> + Send + Sync;

/// SO_ORIGINAL_DST, or the socket's own address where the kernel knows of no redirection: a transparent socket
/// carries the original destination there, and on any other it is the relay's port, which nothing is forwarded to.
///
/// # Errors
/// When the connection is gone already.
pub(super) fn from_kernel(stream: &TcpStream) -> io::Result<OriginalDst> {
    let local = stream.local_addr()?;
    Ok(OriginalDst(ask(stream, local.is_ipv4()).unwrap_or(local)))
}

/// SO_ORIGINAL_DST of the socket's family.
pub(crate) fn ask(socket: &impl AsFd, is_v4: bool) -> nix::Result<SocketAddr> {
    if is_v4 {
        getsockopt(socket, sockopt::OriginalDst).map(|addr| v4(&addr))
    } else {
        getsockopt(socket, sockopt::Ip6tOriginalDst).map(|addr| v6(&addr))
    }
}

fn v4(addr: &libc::sockaddr_in) -> SocketAddr {
    let ip = Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr));
    SocketAddrV4::new(ip, u16::from_be(addr.sin_port)).into()
}

fn v6(addr: &libc::sockaddr_in6) -> SocketAddr {
    let ip = Ipv6Addr::from(addr.sin6_addr.s6_addr);
    // Link-local destinations mean nothing without their interface.
    SocketAddrV6::new(ip, u16::from_be(addr.sin6_port), 0, addr.sin6_scope_id).into()
}
