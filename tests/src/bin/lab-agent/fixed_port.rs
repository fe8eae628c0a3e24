//! Several connections from one source port, each to a destination of its own, all open at once.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use tests::report::{Connected, Failure};

#[derive(Debug, Args)]
pub(crate) struct FixedPort {
    #[arg(long)]
    bind: SocketAddr,
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
    #[arg(long, default_value_t = 3000)]
    timeout_ms: i64,
}

impl FixedPort {
    pub(crate) fn run(self) -> Result<()> {
        let mut open = Vec::new();
        let mut all = Vec::new();
        for to in &self.to {
            let socket = self.socket().context("socket")?;
            let mut connected = Connected::default();
            match self.connect(socket, *to, &mut connected) {
                Ok(stream) => open.push(stream),
                Err(failure) => connected.failure = Some(failure),
            }
            all.push(connected);
        }
        println!("{}", serde_json::to_string(&all)?);
        Ok(())
    }

    fn socket(&self) -> Result<OwnedFd> {
        let family = if self.bind.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        let timeout = TimeVal::milliseconds(self.timeout_ms);
        setsockopt(&fd, sockopt::SendTimeout, &timeout)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &timeout)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        Ok(fd)
    }

    fn connect(&self, fd: OwnedFd, to: SocketAddr, connected: &mut Connected) -> Result<TcpStream, Failure> {
        let failed =
            |call: &'static str| move |errno: Errno| Failure { call: call.to_owned(), errno: errno as i32 };
        let io = |call: &'static str| {
            move |error: std::io::Error| Failure {
                call: call.to_owned(),
                errno: error.raw_os_error().unwrap_or(0),
            }
        };
        bind(fd.as_raw_fd(), &SockaddrStorage::from(self.bind)).map_err(failed("bind"))?;
        let to = match to.ip() {
            IpAddr::V4(v4) if self.bind.is_ipv6() => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).map_err(failed("connect"))?;
        let stream = TcpStream::from(fd);
        connected.sockname = Some(stream.local_addr().map_err(io("getsockname"))?);
        connected.peername = Some(stream.peer_addr().map_err(io("getpeername"))?);
        BufReader::new(&stream).read_line(&mut connected.received).map_err(io("read"))?;
        Ok(stream)
    }
}
