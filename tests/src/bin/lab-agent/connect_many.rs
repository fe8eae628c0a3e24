//! Many TCP connections, all open at the same time.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use tests::report::{Accepted, Crowd, canonical};

const DONE_WITHIN: Duration = Duration::from_secs(100);
/// How many handshakes are under way at a time: within every listener's backlog.
const WINDOW: usize = 1024;
const MISMATCHES_SHOWN: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Expect {
    OriginalDst,
    Local,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectMany {
    /// address/length.
    #[arg(long)]
    targets: String,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    count: u32,
    /// Index of the first target.
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// Source port of all of them.
    #[arg(long)]
    bind_port: Option<u16>,
    #[arg(long)]
    expect: Option<Expect>,
}

struct Connection {
    target: SocketAddr,
    stream: TcpStream,
    connected: bool,
    received: Vec<u8>,
}

enum Step {
    Pending,
    Done,
    Failed(String),
}

impl ConnectMany {
    pub(crate) fn run(self) -> Result<()> {
        let targets = Targets::parse(&self.targets)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let deadline = Instant::now() + DONE_WITHIN;
        let mut open: Vec<Option<Connection>> = Vec::new();
        let mut crowd = Crowd::default();
        let mut pending = 0;
        let mut events = vec![EpollEvent::empty(); WINDOW];
        while crowd.attempted < self.count || pending > 0 {
            while pending < WINDOW && crowd.attempted < self.count {
                let target = SocketAddr::new(targets.nth(self.first + crowd.attempted), self.port);
                crowd.attempted += 1;
                match start(&epoll, target, open.len() as u64, self.bind_port) {
                    Ok(connection) => {
                        open.push(Some(connection));
                        pending += 1;
                    }
                    Err(error) => count_failure(&mut crowd, format!("{error:?}")),
                }
            }
            if Instant::now() > deadline {
                *crowd.failed.entry("TIMEOUT".into()).or_default() += u32::try_from(pending)?;
                break;
            }
            let ready = epoll.wait(&mut events, 1000u16)?;
            for event in &events[..ready] {
                let slot = &mut open[usize::try_from(event.data())?];
                let Some(connection) = slot else { continue };
                match self.advance(connection, &mut crowd) {
                    Step::Pending => continue,
                    Step::Done => {
                        crowd.connected += 1;
                        epoll.delete(&connection.stream)?;
                    }
                    Step::Failed(why) => {
                        count_failure(&mut crowd, why);
                        // Closing takes it out of the epoll set.
                        *slot = None;
                    }
                }
                pending -= 1;
            }
        }
        println!("{}", serde_json::to_string(&crowd)?);
        std::io::stdin().read_to_end(&mut Vec::new()).context("wait on standard input")?;
        Ok(())
    }

    fn advance(&self, connection: &mut Connection, crowd: &mut Crowd) -> Step {
        if !connection.connected {
            match connection.stream.take_error() {
                Ok(None) => connection.connected = true,
                Ok(Some(error)) | Err(error) => return Step::Failed(error_name(&error)),
            }
        }
        let Some(expect) = self.expect else { return Step::Done };
        let mut buffer = [0; 2048];
        match connection.stream.read(&mut buffer) {
            Ok(0) => return Step::Failed("EOF".into()),
            Ok(length) => connection.received.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Step::Pending,
            Err(error) => return Step::Failed(error_name(&error)),
        }
        if !connection.received.contains(&b'\n') {
            return Step::Pending;
        }
        let answer =
            serde_json::from_slice::<Accepted>(&connection.received).ok().and_then(|seen| match expect {
                Expect::OriginalDst => seen.original_dst().address,
                Expect::Local => Some(seen.local),
            });
        if answer.map(canonical) != Some(connection.target) {
            crowd.mismatches += 1;
            if crowd.mismatched.len() < MISMATCHES_SHOWN {
                crowd.mismatched.push(format!("{} {answer:?}", connection.target));
            }
        }
        Step::Done
    }
}

fn count_failure(crowd: &mut Crowd, why: String) {
    *crowd.failed.entry(why).or_default() += 1;
}

fn error_name(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| format!("{:?}", Errno::from_raw(code)))
}

fn start(epoll: &Epoll, target: SocketAddr, index: u64, bind_port: Option<u16>) -> Result<Connection, Errno> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    if let Some(port) = bind_port {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        let any: IpAddr =
            if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any, port)))?;
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(errno) => return Err(errno),
    }
    // Edge triggered: one event when connected, one for every arrival after it.
    let flags = EpollFlags::EPOLLOUT | EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(&fd, EpollEvent::new(flags, index))?;
    Ok(Connection { target, stream: TcpStream::from(fd), connected: false, received: Vec::new() })
}

/// Addresses of a prefix, without its first one.
struct Targets {
    base: IpAddr,
    size: u128,
}

impl Targets {
    fn parse(text: &str) -> Result<Self> {
        let (base, length) = text.split_once('/').context("--targets wants address/length")?;
        let base: IpAddr = base.parse().with_context(|| format!("bad address {base}"))?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let length: u32 = length.parse().with_context(|| format!("bad prefix length {length}"))?;
        if length >= bits {
            bail!("--targets {text}: at least two addresses are needed");
        }
        // At most 2^64 of them: more than a count can ask for.
        Ok(Self { base, size: 1 << (bits - length).min(64) })
    }

    fn nth(&self, index: u32) -> IpAddr {
        let offset = 1 + u128::from(index) % (self.size - 1);
        match self.base {
            IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from(u32::from(base) + offset as u32)),
            IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base) + offset)),
        }
    }
}
