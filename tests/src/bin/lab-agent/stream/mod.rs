//! Streams in both directions at once, of random chunks, pauses and readers, compared byte for byte.

mod flow;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use tests::content::Content;
use tests::report::Streams;

use flow::{Flow, Plan, Turn};

const LISTENER: u64 = u64::MAX;
const STALLED_AFTER: Duration = Duration::from_secs(20);
const BUFFER: usize = 256 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Stream {
    #[command(subcommand)]
    side: Side,
}

#[derive(Debug, Subcommand)]
enum Side {
    Serve(Serve),
    Connect(Connect),
}

#[derive(Debug, Args)]
struct Serve {
    #[arg(long)]
    listen: SocketAddr,
    /// Connections are accepted with their first bytes (TCP_DEFER_ACCEPT).
    #[arg(long)]
    defer: bool,
}

#[derive(Debug, Args)]
struct Connect {
    #[arg(long)]
    to: SocketAddr,
    /// At a time.
    #[arg(long, default_value_t = 8)]
    flows: u64,
    /// In all; each of them carries `bytes` each way.
    #[arg(long, default_value_t = 8)]
    streams: u64,
    #[arg(long)]
    bytes: u64,
    #[arg(long, default_value_t = 65_536)]
    chunk: usize,
    /// Most bytes between two pauses; 0: pauses come now and then.
    #[arg(long, default_value_t = 0)]
    burst: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first bytes leave with the SYN (TCP_FASTOPEN_CONNECT).
    #[arg(long)]
    fast_open: bool,
}

/// A stream that is over, and what broke it.
type Ended = (Flow, Option<String>);

impl Stream {
    pub(crate) fn run(self) -> Result<()> {
        match self.side {
            Side::Serve(serve) => serve.run(),
            Side::Connect(connect) => connect.run(),
        }
    }
}

/// Flows in one epoll set.
struct Loop {
    epoll: Epoll,
    content: Content,
    buffer: Vec<u8>,
    flows: BTreeMap<u64, Flow>,
    next: u64,
    moved: u64,
    last_move: Instant,
}

impl Loop {
    fn new() -> Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            content: Content::default(),
            buffer: vec![0; BUFFER],
            flows: BTreeMap::new(),
            next: 0,
            moved: 0,
            last_move: Instant::now(),
        })
    }

    fn add(&mut self, flow: Flow) -> Result<()> {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        self.epoll.add(flow.stream().as_fd(), EpollEvent::new(flags, self.next))?;
        self.flows.insert(self.next, flow);
        self.next += 1;
        Ok(())
    }

    /// A turn for everybody, then waits for events. Returns the flows that ended, and whether the listener has news.
    fn round(&mut self) -> Result<(Vec<Ended>, bool)> {
        let mut ended = Vec::new();
        let mut soonest: Option<Instant> = None;
        let mut busy = false;
        let before: u64 = self.flows.values().map(Flow::moved).sum();
        for (number, flow) in &mut self.flows {
            match flow.turn(&self.content, &mut self.buffer) {
                Ok(Turn::Busy) => busy = true,
                Ok(Turn::Waiting(at)) => soonest = [soonest, at].into_iter().flatten().min(),
                Ok(Turn::Done) => ended.push((*number, None)),
                Err(error) => ended.push((*number, Some(error.to_string()))),
            }
        }
        let after: u64 = self.flows.values().map(Flow::moved).sum();
        self.moved += after - before;
        if after > before || self.flows.is_empty() {
            self.last_move = Instant::now();
        }
        let ended: Vec<_> =
            ended.into_iter().filter_map(|(number, why)| Some((self.flows.remove(&number)?, why))).collect();
        let wait = if busy || !ended.is_empty() {
            Duration::ZERO
        } else {
            // Rounded up to a millisecond by the kernel's interface.
            soonest.map_or(Duration::from_secs(1), |at| at.saturating_duration_since(Instant::now()))
        };
        Ok((ended, self.wait(wait)?))
    }

    fn wait(&mut self, wait: Duration) -> Result<bool> {
        let mut events = [EpollEvent::empty(); 256];
        let ready =
            self.epoll.wait(&mut events, EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::ZERO))?;
        let mut listener = false;
        for event in &events[..ready] {
            listener |= event.data() == LISTENER;
            let Some(flow) = self.flows.get_mut(&event.data()) else { continue };
            // An error or the end shows in the read that follows.
            let trouble = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
            flow.readable |= event.events().intersects(EpollFlags::EPOLLIN | trouble);
            flow.writable |= event.events().contains(EpollFlags::EPOLLOUT);
        }
        Ok(listener)
    }
}

impl Serve {
    fn run(self) -> Result<()> {
        let listener = TcpListener::bind(self.listen).context("listen")?;
        listener.set_nonblocking(true)?;
        if self.defer {
            defer_accept(&listener)?;
        }
        let mut work = Loop::new()?;
        work.epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        println!("ready");
        loop {
            let (ended, news) = work.round()?;
            for (_, why) in ended.iter().filter(|(_, why)| why.is_some()) {
                // The client reports it.
                eprintln!("a flow broke: {why:?}");
            }
            while news && let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                work.add(Flow::server(stream))?;
            }
        }
    }
}

impl Connect {
    fn run(self) -> Result<()> {
        let mut work = Loop::new()?;
        let mut streams = Streams::default();
        let started = Instant::now();
        let mut opened = 0;
        while opened < self.streams || !work.flows.is_empty() {
            while opened < self.streams && (work.flows.len() as u64) < self.flows {
                // Even, so that the server's own is never another flow's.
                let plan = Plan {
                    seed: (self.seed + opened) * 2,
                    bytes: self.bytes,
                    chunk: self.chunk,
                    burst: self.burst,
                };
                work.add(Flow::client(self.connect()?, plan))?;
                opened += 1;
            }
            let (ended, _) = work.round()?;
            for (flow, why) in ended {
                streams.completed += u64::from(why.is_none());
                if let Some(why) = why {
                    *streams.broken.entry(why).or_default() += 1;
                }
                if let Some(at) = flow.difference {
                    streams.corrupted += 1;
                    streams.first_difference.get_or_insert(at);
                }
            }
            if work.last_move.elapsed() > STALLED_AFTER {
                *streams.broken.entry("stalled".into()).or_default() += work.flows.len() as u64;
                break;
            }
        }
        streams.bytes = work.moved;
        streams.milliseconds = started.elapsed().as_millis() as u64;
        println!("{}", serde_json::to_string(&streams)?);
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream> {
        connect_soon(self.to, |fd| {
            if self.fast_open {
                setsockopt(fd, sockopt::TcpFastOpenConnect, &true).context("TCP_FASTOPEN_CONNECT")?;
            }
            Ok(())
        })
    }
}

/// A connection that begins, of a socket that never blocks. `prepare` sees it first.
pub(crate) fn connect_soon(
    to: SocketAddr,
    prepare: impl FnOnce(&OwnedFd) -> Result<()>,
) -> Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    prepare(&fd)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(errno) => Err(errno).context("connect"),
    }
}

fn defer_accept(listener: &TcpListener) -> Result<()> {
    let seconds: libc::c_int = 1;
    // SAFETY: the option's value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    nix::errno::Errno::result(result).map(drop).context("TCP_DEFER_ACCEPT")
}
