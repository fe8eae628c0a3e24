//! A connection whose socket names a host its packets go by: a source route, or segment routing.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

const IP_OPTIONS: i32 = 4;
const IPV6_RTHDR: i32 = 57;

#[derive(Debug, Args)]
pub(crate) struct Detour {
    #[arg(long)]
    to: SocketAddr,
    /// The host to go by.
    #[arg(long)]
    by: IpAddr,
}

impl Detour {
    pub(crate) fn run(self) -> Result<()> {
        let family = if self.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let to = SockaddrStorage::from(self.to);
        let before = socket(family, SockType::Stream, SockFlag::empty(), None)?;
        self.set(&before).context("set before connect")?;
        println!("before connect: {}", said(connect(before.as_raw_fd(), &to)));
        let after = socket(family, SockType::Stream, SockFlag::empty(), None)?;
        connect(after.as_raw_fd(), &to).context("connect")?;
        println!("after connect: {}", said(self.set(&after)));
        Ok(())
    }

    fn set(&self, socket: &impl AsRawFd) -> Result<(), Errno> {
        let (level, name, value) = match self.by {
            IpAddr::V4(by) => (libc::IPPROTO_IP, IP_OPTIONS, loose_source_route(by.octets())),
            IpAddr::V6(by) => (libc::IPPROTO_IPV6, IPV6_RTHDR, segments(by.octets())),
        };
        // SAFETY: bytes and how many there are.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                name,
                value.as_ptr().cast(),
                value.len() as libc::socklen_t,
            )
        };
        Errno::result(done).map(drop)
    }
}

/// RFC 791: one host, then the destination.
fn loose_source_route(by: [u8; 4]) -> Vec<u8> {
    const LSRR: u8 = 131;
    const NOP: u8 = 1;
    // Length, and where the next host stands.
    [&[NOP, LSRR, 7, 4], &by[..]].concat()
}

/// RFC 8754: the last segment, which the kernel replaces by the destination, and one to go by.
fn segments(by: [u8; 16]) -> Vec<u8> {
    const SRH: u8 = 4;
    // Next header, length in eights behind the first, type, segments left, last entry, flags, tag.
    [&[0, 4, SRH, 1, 1, 0, 0, 0], &[0; 16][..], &by[..]].concat()
}

fn said(result: Result<(), Errno>) -> String {
    match result {
        Ok(()) => "taken".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}
