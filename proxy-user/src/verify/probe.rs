//! The child process that acts inside the workload: joins its cgroup and network namespace, becomes a user, then
//! listens or connects. It takes its orders as one JSON argument and answers in JSON lines.

use std::{
    fs, io,
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt,
            socket, sockopt,
        },
        time::TimeVal,
    },
    unistd::{Gid, Uid, setgid, setgroups, setuid},
};
use proxy_plane::netns::Netns;
use serde::{Deserialize, Serialize};

use crate::{out, relay::original_dst};

/// However it is forgotten, a probe ends.
const LIFE: Duration = Duration::from_secs(60);

/// Who the probe is and what it does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// The `cgroup.procs` file to enter by.
    pub cgroup_procs: Option<PathBuf>,
    pub netns: Option<PathBuf>,
    /// uid and gid to become.
    pub user: Option<(u32, u32)>,
    pub act: Act,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Act {
    /// Accept until standard input ends.
    Listen {
        at: Vec<SocketAddr>,
    },
    Connect {
        to: SocketAddr,
        bind: Option<IpAddr>,
        timeout_ms: u64,
    },
}

/// One line of its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    Listening,
    Accepted {
        at: SocketAddr,
        peer: SocketAddr,
        original: Option<SocketAddr>,
    },
    Connected {
        local: SocketAddr,
        original: Option<SocketAddr>,
    },
    /// The connection did not come about: the system's words.
    NotConnected(String),
    /// The probe itself could not work.
    Failed(String),
}

/// Carries out the orders, printing [`Said`] lines.
pub fn run(orders: &Orders) -> Result<()> {
    if let Some(procs) = &orders.cgroup_procs {
        fs::write(procs, "0").with_context(|| format!("join {}", procs.display()))?;
    }
    let inside = || {
        if let Some((uid, gid)) = orders.user {
            become_user(uid, gid).with_context(|| format!("become uid {uid}, gid {gid}"))?;
        }
        act(&orders.act)
    };
    match &orders.netns {
        Some(path) => Netns::open(path)?.within(inside),
        None => inside(),
    }
}

/// One line, at once: the other side waits for it.
pub fn say(said: &Said) {
    if let Ok(line) = serde_json::to_string(said) {
        // Who does not listen any more does not need to know.
        let _ = out::json(line);
    }
}

fn become_user(uid: u32, gid: u32) -> nix::Result<()> {
    if Uid::effective().is_root() {
        setgroups(&[])?;
    }
    setgid(Gid::from_raw(gid))?;
    setuid(Uid::from_raw(uid))
}

fn act(act: &Act) -> Result<()> {
    match act {
        Act::Listen { at } => listen_until_told(at),
        Act::Connect { to, bind, timeout_ms } => {
            say(&match open(*to, *bind, Duration::from_millis(*timeout_ms)) {
                Ok(stream) => Said::Connected {
                    local: stream.local_addr().context("the connection's own address")?,
                    original: original_dst::ask(&stream, to.is_ipv4()).ok(),
                },
                Err(error) => Said::NotConnected(words(&error)),
            });
            Ok(())
        }
    }
}

/// A connect that timed out by SO_SNDTIMEO says EINPROGRESS.
fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EINPROGRESS | libc::EAGAIN) => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

fn open(to: SocketAddr, from: Option<IpAddr>, timeout: Duration) -> io::Result<TcpStream> {
    let fd = stream_socket(to)?;
    let seconds = TimeVal::new(timeout.as_secs() as i64, i64::from(timeout.subsec_micros()));
    setsockopt(&fd, sockopt::SendTimeout, &seconds)?;
    if let Some(from) = from {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    }
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(fd))
}

fn stream_socket(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
}

/// With SO_REUSEADDR and SO_REUSEPORT, as istio-validation: a sidecar that starts meanwhile can listen too.
fn listener(at: SocketAddr) -> Result<TcpListener> {
    let open = || -> nix::Result<OwnedFd> {
        let fd = stream_socket(at)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        setsockopt(&fd, sockopt::ReusePort, &true)?;
        if at.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
        listen(&fd, Backlog::new(16)?)?;
        Ok(fd)
    };
    Ok(TcpListener::from(open().with_context(|| format!("listen on {at}"))?))
}

fn listen_until_told(at: &[SocketAddr]) -> Result<()> {
    if at.is_empty() {
        bail!("no address to listen on");
    }
    let listeners = at.iter().map(|at| listener(*at)).collect::<Result<Vec<_>>>()?;
    for (at, listener) in at.iter().copied().zip(listeners) {
        thread::Builder::new().name(format!("accept {at}")).spawn(move || accept(at, &listener))?;
    }
    let (done, end) = mpsc::channel::<()>();
    thread::Builder::new().name("stdin".into()).spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        drop(done);
    })?;
    say(&Said::Listening);
    // Either way it is over; the process ends with the listeners in it.
    let _ = end.recv_timeout(LIFE);
    Ok(())
}

fn accept(at: SocketAddr, listener: &TcpListener) {
    while let Ok((stream, peer)) = listener.accept() {
        say(&Said::Accepted { at, peer, original: original_dst::ask(&stream, at.is_ipv4()).ok() });
    }
}
