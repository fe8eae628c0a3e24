//! Servers that say who they are.

use std::io::{IoSlice, IoSliceMut, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    SockaddrStorage, bind, listen, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use tests::answerer::Answer;

use crate::enter::become_user;
use crate::original_dst;

const BACKLOG: i32 = 256;

#[derive(Debug, Args)]
pub(crate) struct Answerer {
    #[arg(long)]
    name: String,
    #[arg(long, required = true)]
    port: Vec<u16>,
    /// uid:gid to become before the first socket, or after the last transparent one.
    #[arg(long)]
    user: String,
    #[arg(long)]
    transparent: bool,
    #[arg(long)]
    loopback: bool,
}

impl Answerer {
    pub(crate) fn run(self) -> Result<()> {
        let (uid, gid) = self.user.split_once(':').context("--user wants uid:gid")?;
        let (uid, gid) = (uid.parse()?, gid.parse()?);
        if !self.transparent {
            become_user(uid, gid)?;
        }
        let mut sockets = Vec::new();
        for &port in &self.port {
            for ip in self.addresses() {
                for kind in [SockType::Stream, SockType::Datagram] {
                    let address = SocketAddr::new(ip, port);
                    let fd = self.open(address, kind).with_context(|| format!("{kind:?} on {address}"))?;
                    sockets.push((format!("{}:{port}", self.name), kind, fd));
                }
            }
        }
        if self.transparent {
            become_user(uid, gid)?;
        }
        println!("ready");
        let threads: Vec<_> = sockets
            .into_iter()
            .map(|(who, kind, fd)| {
                std::thread::spawn(move || match kind {
                    SockType::Stream => accept(&who, &TcpListener::from(fd)),
                    _ => echo(&who, &fd),
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a listener's thread panicked"))??;
        }
        Ok(())
    }

    fn addresses(&self) -> [IpAddr; 2] {
        if self.loopback {
            [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        } else {
            [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
        }
    }

    fn open(&self, address: SocketAddr, kind: SockType) -> Result<OwnedFd> {
        let v4 = address.is_ipv4();
        let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        if !v4 {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        if kind == SockType::Datagram {
            // Asked at an address it is one of many of, it has to answer from that one.
            if v4 {
                setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
            } else {
                setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
            }
        } else if self.transparent {
            if v4 {
                setsockopt(&fd, sockopt::IpTransparent, &true)?;
            } else {
                set_ipv6_transparent(&fd)?;
            }
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
        if kind == SockType::Stream {
            listen(&fd, Backlog::new(BACKLOG)?)?;
        }
        Ok(fd)
    }
}

/// nix has no name for it.
fn set_ipv6_transparent(fd: &OwnedFd) -> nix::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the value is read for its own length.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_IPV6,
            libc::IPV6_TRANSPARENT,
            (&raw const on).cast(),
            length,
        )
    };
    nix::errno::Errno::result(result).map(drop)
}

fn accept(who: &str, listener: &TcpListener) -> Result<()> {
    loop {
        let Ok((mut stream, peer)) = listener.accept() else { continue };
        let level = if peer.is_ipv4() { libc::SOL_IP } else { libc::SOL_IPV6 };
        let original_dst = Some(original_dst::read(&stream, level, 128));
        let answer = Answer { who: who.to_owned(), peer, original_dst };
        // The client may be gone; then nobody wants to know.
        writeln!(stream, "{}", serde_json::to_string(&answer)?).ok();
    }
}

fn echo(who: &str, fd: &OwnedFd) -> Result<()> {
    let mut buffer = [0; 64];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let question =
            recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
        // An ICMP error of an earlier answer.
        let Ok(question) = question else { continue };
        let Some(client) = question.address else { continue };
        let peer = client
            .as_sockaddr_in()
            .map(|v4| SocketAddr::from((v4.ip(), v4.port())))
            .or_else(|| client.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
            .context("a client without an address")?;
        let asked = question.cmsgs().context("control messages")?.next();
        let answer = serde_json::to_string(&Answer { who: who.to_owned(), peer, original_dst: None })?;
        let data = [IoSlice::new(answer.as_bytes())];
        let sent = match asked {
            Some(ControlMessageOwned::Ipv4PacketInfo(info)) => {
                let from = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: info.ipi_addr, ..info };
                reply(fd, &data, &[ControlMessage::Ipv4PacketInfo(&from)], &client)
            }
            Some(ControlMessageOwned::Ipv6PacketInfo(info)) => {
                let from = libc::in6_pktinfo { ipi6_ifindex: 0, ..info };
                reply(fd, &data, &[ControlMessage::Ipv6PacketInfo(&from)], &client)
            }
            _ => reply(fd, &data, &[], &client),
        };
        sent.ok();
    }
}

fn reply(
    fd: &OwnedFd,
    data: &[IoSlice<'_>],
    control: &[ControlMessage<'_>],
    client: &SockaddrStorage,
) -> nix::Result<usize> {
    sendmsg(fd.as_raw_fd(), data, control, MsgFlags::empty(), Some(client))
}
