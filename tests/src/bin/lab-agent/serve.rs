//! TCP servers: each accepted connection is recorded on standard output.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use tests::report::Accepted;

use crate::original_dst;

const BACKLOG: i32 = 4096;
/// Longest a closing server waits for the client's end of the stream.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    /// Send this line and close.
    #[arg(long, group = "speech")]
    banner: Option<String>,
    /// Send what was seen of the connection, one JSON line, and close.
    #[arg(long, group = "speech")]
    report: bool,
    /// Send back what comes.
    #[arg(long, group = "speech")]
    echo: bool,
    /// Keep connections open.
    #[arg(long)]
    hold: bool,
    /// `[::]` takes IPv4 too.
    #[arg(long)]
    dual: bool,
    /// IP_TRANSPARENT, which is IPV6_TRANSPARENT on an IPv6 socket (net/ipv6/ipv6_sockglue.c).
    #[arg(long)]
    transparent: bool,
    /// MPTCP, as Go programs listen.
    #[arg(long)]
    mptcp: bool,
    /// Listening sockets per address.
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// Share the addresses with other processes.
    #[arg(long)]
    reuseport: bool,
    /// Accept without an address, and ask for it so much later.
    #[arg(long)]
    ask_later_ms: Option<u64>,
    /// Listen without blocking, as gunicorn's workers do; what is accepted blocks.
    #[arg(long)]
    nonblocking_listener: bool,
    /// Echo without blocking at first, and blocking after so many messages of a connection.
    #[arg(long, requires = "echo")]
    block_after: Option<u32>,
    /// Buffer offered to SO_ORIGINAL_DST.
    #[arg(long, default_value_t = 128)]
    optlen: u32,
}

impl Serve {
    pub(crate) fn run(self) -> Result<()> {
        let server = Arc::new(self);
        let mut listeners = Vec::new();
        for &address in &server.listen {
            for _ in 0..server.workers {
                let listener = server.open(address).with_context(|| format!("listen on {address}"))?;
                listeners.push((address, listener));
            }
        }
        println!("ready");
        let threads: Vec<_> = listeners
            .into_iter()
            .map(|(address, listener)| {
                let server = Arc::clone(&server);
                std::thread::spawn(move || server.accept(address, &listener))
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a listener's thread panicked"))??;
        }
        Ok(())
    }

    fn open(&self, address: SocketAddr) -> Result<TcpListener> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let fd = self.socket(family)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        if self.transparent {
            setsockopt(&fd, sockopt::IpTransparent, &true)?;
        }
        if self.workers > 1 || self.reuseport {
            setsockopt(&fd, sockopt::ReusePort, &true)?;
        }
        if address.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6V6Only, &!self.dual)?;
        }
        bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))?;
        listen(&fd, Backlog::new(BACKLOG)?)?;
        let listener = TcpListener::from(fd);
        listener.set_nonblocking(self.nonblocking_listener)?;
        Ok(listener)
    }

    fn socket(&self, family: AddressFamily) -> Result<OwnedFd> {
        if !self.mptcp {
            return Ok(socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?);
        }
        // SAFETY: socket takes numbers.
        let fd = unsafe {
            libc::socket(family as i32, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_MPTCP)
        };
        let fd = Errno::result(fd).context("an MPTCP socket")?;
        // SAFETY: the kernel gave it to us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn accept(self: &Arc<Self>, address: SocketAddr, listener: &TcpListener) -> Result<()> {
        let mut held = Vec::new();
        loop {
            let (mut stream, peer) = match self.take(listener) {
                Ok(accepted) => accepted,
                // The client left between its handshake and this call.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("accept"),
            };
            let record = self.record(address, &stream, peer)?;
            println!("{record}");
            if self.hold {
                self.greet(&mut stream, &record).ok();
                held.push(stream);
                continue;
            }
            let server = Arc::clone(self);
            std::thread::spawn(move || server.converse(stream, &record));
        }
    }

    fn take(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        if self.nonblocking_listener {
            wait_readable(listener)?;
        }
        let Some(later) = self.ask_later_ms else { return listener.accept() };
        let none = std::ptr::null_mut();
        // SAFETY: no address is asked for.
        let fd = unsafe { libc::accept4(listener.as_raw_fd(), none, none.cast(), libc::SOCK_CLOEXEC) };
        // SAFETY: the kernel gave it to us alone.
        let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(Errno::result(fd)?) });
        std::thread::sleep(Duration::from_millis(later));
        let peer = stream.peer_addr()?;
        Ok((stream, peer))
    }

    fn record(&self, listener: SocketAddr, stream: &TcpStream, peer: SocketAddr) -> Result<String> {
        let accepted = Accepted {
            peer,
            peername: stream.peer_addr().ok(),
            local: stream.local_addr().context("getsockname")?,
            listener,
            sol_ip: original_dst::read(stream, libc::SOL_IP, self.optlen),
            sol_ipv6: original_dst::read(stream, libc::SOL_IPV6, self.optlen),
        };
        Ok(serde_json::to_string(&accepted)?)
    }

    fn greet(&self, stream: &mut TcpStream, record: &str) -> io::Result<()> {
        match &self.banner {
            Some(text) => writeln!(stream, "{text}"),
            None if self.report => writeln!(stream, "{record}"),
            None => Ok(()),
        }
    }

    /// Closing with unread bytes would reset the connection and take the greeting with it.
    fn converse(&self, mut stream: TcpStream, record: &str) -> io::Result<()> {
        if let Some(messages) = self.block_after {
            return echo_turning(stream, messages);
        }
        if self.echo {
            let mut reader = stream.try_clone()?;
            io::copy(&mut reader, &mut stream)?;
            return stream.shutdown(Shutdown::Write);
        }
        self.greet(&mut stream, record)?;
        if self.banner.is_some() || self.report {
            stream.shutdown(Shutdown::Write)?;
            stream.set_read_timeout(Some(DRAIN_WITHIN))?;
        }
        let mut rest = [0; 4096];
        while stream.read(&mut rest)? > 0 {}
        Ok(())
    }
}

/// Without blocking for so many messages, then blocking.
fn echo_turning(mut stream: TcpStream, messages: u32) -> io::Result<()> {
    let mut message = [0; 4096];
    for number in 0u64.. {
        let blocks = number >= u64::from(messages);
        stream.set_nonblocking(!blocks)?;
        if !blocks {
            wait_readable(&stream)?;
        }
        match stream.read(&mut message)? {
            0 => break,
            length => stream.write_all(&message[..length])?,
        }
    }
    stream.shutdown(Shutdown::Write)
}

fn wait_readable(socket: &impl AsFd) -> io::Result<()> {
    poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
    Ok(())
}
