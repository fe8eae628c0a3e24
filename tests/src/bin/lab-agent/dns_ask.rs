//! A resolver that looks where each reply comes from: one socket for all servers (musl), or one connected socket for
//! each (glibc, c-ares).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use tests::report::{DnsAnswer, canonical};

use crate::dns_message;

#[derive(Debug, Args)]
pub(crate) struct DnsAsk {
    #[arg(long, required = true)]
    server: Vec<SocketAddr>,
    #[arg(long)]
    name: String,
    /// One connected socket for each server.
    #[arg(long)]
    connected: bool,
    /// Binds connected sockets too, to the wildcard address, before they connect.
    #[arg(long)]
    bound: bool,
    /// Binds the one socket here first.
    #[arg(long)]
    bind: Option<SocketAddr>,
    /// How often each server is asked.
    #[arg(long, default_value_t = 1)]
    rounds: u16,
    #[arg(long, default_value_t = 3000)]
    timeout_ms: u64,
}

impl DnsAsk {
    pub(crate) fn run(self) -> Result<()> {
        let answers = if self.connected { self.connected()? } else { self.unconnected()? };
        for answer in answers {
            println!("{}", serde_json::to_string(&answer)?);
        }
        Ok(())
    }

    fn blank(&self) -> Vec<DnsAnswer> {
        let rounds = (0..self.rounds).flat_map(|_| &self.server);
        rounds.map(|server| DnsAnswer { server: *server, ..DnsAnswer::default() }).collect()
    }

    /// Everything is asked before anything is read.
    fn unconnected(&self) -> Result<Vec<DnsAnswer>> {
        let mapped = self.server.iter().any(SocketAddr::is_ipv6);
        let socket = self.socket(mapped, true)?;
        let mut answers = self.blank();
        for (index, answer) in answers.iter().enumerate() {
            let to = if mapped { to_mapped(answer.server) } else { answer.server };
            let query = dns_message::query(u16::try_from(index)?, &self.name, false);
            socket.send_to(&query, to).with_context(|| format!("ask {to}"))?;
        }
        let deadline = Instant::now() + Duration::from_millis(self.timeout_ms);
        while answers.iter().any(|answer| answer.from.is_none()) && readable(&socket, deadline)? {
            let mut buffer = [0; 4096];
            let (length, from) = socket.recv_from(&mut buffer).context("receive")?;
            fill(&mut answers, &buffer[..length], from);
        }
        Ok(answers)
    }

    fn connected(&self) -> Result<Vec<DnsAnswer>> {
        let mut answers = self.blank();
        let mut sockets = Vec::new();
        for (index, answer) in answers.iter_mut().enumerate() {
            let socket = self.socket(answer.server.is_ipv6(), self.bound)?;
            socket.connect(answer.server).with_context(|| format!("connect to {}", answer.server))?;
            answer.peername = Some(socket.peer_addr()?);
            socket.send(&dns_message::query(u16::try_from(index)?, &self.name, false))?;
            sockets.push(socket);
        }
        let deadline = Instant::now() + Duration::from_millis(self.timeout_ms);
        for socket in sockets {
            if readable(&socket, deadline)? {
                let mut buffer = [0; 4096];
                let (length, from) = socket.recv_from(&mut buffer).context("receive")?;
                fill(&mut answers, &buffer[..length], from);
            }
        }
        Ok(answers)
    }

    fn socket(&self, ipv6: bool, bound: bool) -> Result<UdpSocket> {
        let family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        if ipv6 {
            setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
        }
        if !bound {
            return Ok(UdpSocket::from(fd));
        }
        let any = if ipv6 { "[::]:0" } else { "0.0.0.0:0" }.parse()?;
        let address = self.bind.unwrap_or(any);
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).with_context(|| format!("bind {address}"))?;
        Ok(UdpSocket::from(fd))
    }
}

fn to_mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(IpAddr::V6(v4.to_ipv6_mapped()), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn readable(socket: &UdpSocket, deadline: Instant) -> Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut waiting, PollTimeout::try_from(left)?)? > 0)
}

/// A reply belongs to the query with its id; a second one to the same query is left out.
fn fill(answers: &mut [DnsAnswer], reply: &[u8], from: SocketAddr) {
    let Some(answer) = dns_message::id(reply).and_then(|id| answers.get_mut(usize::from(id))) else { return };
    if answer.from.is_none() {
        answer.from = Some(canonical(from));
        match dns_message::addresses(reply) {
            Ok(addresses) => answer.addresses = addresses,
            Err(error) => answer.error = Some(format!("{error:#}")),
        }
    }
}
