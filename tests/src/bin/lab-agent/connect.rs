//! One TCP connection.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use tests::report::{Connected, Failure};

use crate::enter::{become_ids, become_user};

#[derive(Debug, Args)]
pub(crate) struct Connect {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    bind: Option<SocketAddr>,
    /// SO_MARK.
    #[arg(long)]
    mark: Option<u32>,
    /// IP_TRANSPARENT, which is IPV6_TRANSPARENT on an IPv6 socket (net/ipv6/ipv6_sockglue.c).
    #[arg(long)]
    transparent: bool,
    #[arg(long)]
    nonblocking: bool,
    #[arg(long)]
    v4_mapped: bool,
    /// uid:gid to become between socket and connect.
    #[arg(long)]
    then_user: Option<String>,
    /// Real uid, effective uid, real gid, effective gid to take before the socket exists.
    #[arg(long, value_delimiter = ',')]
    first_ids: Option<Vec<u32>>,
    #[arg(long)]
    send: Option<String>,
    #[arg(long)]
    one_line: bool,
    #[arg(long, default_value_t = 3000)]
    timeout_ms: u32,
}

impl Connect {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(ids) = &self.first_ids {
            become_ids(ids)?;
        }
        let socket = self.socket().context("socket")?;
        if let Some(user) = &self.then_user {
            let (uid, gid) = user.split_once(':').context("--then-user wants uid:gid")?;
            become_user(uid.parse()?, gid.parse()?)?;
        }
        let mut connected = Connected::default();
        connected.failure = self.attempt(socket, &mut connected).err();
        println!("{}", serde_json::to_string(&connected)?);
        Ok(())
    }

    fn socket(&self) -> Result<OwnedFd> {
        let family =
            if self.to.is_ipv4() && !self.v4_mapped { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let mut flags = SockFlag::SOCK_CLOEXEC;
        flags.set(SockFlag::SOCK_NONBLOCK, self.nonblocking);
        let fd = socket(family, SockType::Stream, flags, None)?;
        let timeout = TimeVal::milliseconds(i64::from(self.timeout_ms));
        setsockopt(&fd, sockopt::SendTimeout, &timeout)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &timeout)?;
        if let Some(mark) = self.mark {
            setsockopt(&fd, sockopt::Mark, &mark)?;
        }
        if self.transparent {
            setsockopt(&fd, sockopt::IpTransparent, &true)?;
        }
        Ok(fd)
    }

    fn attempt(&self, socket: OwnedFd, connected: &mut Connected) -> Result<(), Failure> {
        if let Some(address) = self.bind {
            bind(socket.as_raw_fd(), &self.address(address)).map_err(failure("bind"))?;
        }
        connected.in_progress = self.connect(&socket).map_err(failure("connect"))?;
        let mut stream = TcpStream::from(socket);
        stream.set_nonblocking(false).map_err(io_failure("fcntl"))?;
        connected.sockname = Some(stream.local_addr().map_err(io_failure("getsockname"))?);
        match stream.peer_addr() {
            Ok(peer) => connected.peername = Some(peer),
            Err(error) => connected.peername_error = Some(io_failure("getpeername")(error)),
        }
        if let Some(text) = &self.send {
            stream.write_all(text.as_bytes()).map_err(io_failure("write"))?;
        }
        self.read(&mut stream, connected)
    }

    /// Whether it said EINPROGRESS first.
    fn connect(&self, socket: &OwnedFd) -> Result<bool, Errno> {
        match connect(socket.as_raw_fd(), &self.address(self.to)) {
            Ok(()) => return Ok(false),
            Err(Errno::EINPROGRESS) if self.nonblocking => {}
            // What a blocking connect says when SO_SNDTIMEO runs out.
            Err(Errno::EINPROGRESS) => return Err(Errno::ETIMEDOUT),
            Err(errno) => return Err(errno),
        }
        let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(self.timeout_ms).unwrap_or(PollTimeout::MAX);
        if poll(&mut waiting, timeout)? == 0 {
            return Err(Errno::ETIMEDOUT);
        }
        match getsockopt(socket, sockopt::SocketError)? {
            0 => Ok(true),
            code => Err(Errno::from_raw(code)),
        }
    }

    fn read(&self, stream: &mut TcpStream, connected: &mut Connected) -> Result<(), Failure> {
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer).map_err(io_failure("read"))?;
            connected.received.push_str(&String::from_utf8_lossy(&buffer[..length]));
            if length == 0 || (self.one_line && connected.received.contains('\n')) {
                return Ok(());
            }
        }
    }

    fn address(&self, address: SocketAddr) -> SockaddrStorage {
        let ip = match address.ip() {
            IpAddr::V4(v4) if self.v4_mapped => IpAddr::V6(v4.to_ipv6_mapped()),
            other => other,
        };
        SockaddrStorage::from(SocketAddr::new(ip, address.port()))
    }
}

fn failure(call: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure { call: call.to_owned(), errno: errno as i32 }
}

fn io_failure(call: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure { call: call.to_owned(), errno: error.raw_os_error().unwrap_or(0) }
}
