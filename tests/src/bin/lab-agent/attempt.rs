//! A sample of connections.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use tests::answerer::Answer;
use tests::report::canonical;
use tests::sample::{Attempt, Observed, Transport};

const AT_ONCE: usize = 256;
/// Longest a connection and its answer may take.
const WITHIN: Duration = Duration::from_millis(1200);

#[derive(Debug, Args)]
pub(crate) struct Attempts {
    /// JSON array of attempts.
    #[arg(long)]
    attempts: PathBuf,
}

impl Attempts {
    pub(crate) fn run(self) -> Result<()> {
        let text = std::fs::read_to_string(&self.attempts).context("read the attempts")?;
        let attempts: Vec<Attempt> = serde_json::from_str(&text).context("parse the attempts")?;
        let mut observed = Vec::with_capacity(attempts.len());
        for some in attempts.chunks(AT_ONCE) {
            let threads = some.iter().map(|attempt| {
                let attempt = attempt.clone();
                std::thread::spawn(move || observe(&attempt))
            });
            for thread in threads.collect::<Vec<_>>() {
                observed.push(thread.join().map_err(|_| anyhow::anyhow!("an attempt panicked"))??);
            }
        }
        println!("{}", serde_json::to_string(&observed)?);
        Ok(())
    }
}

fn observe(attempt: &Attempt) -> Result<Observed> {
    become_user_in_this_thread(attempt.uid, attempt.gid)?;
    let mut observed = Observed::default();
    observed.error = ask(attempt, &mut observed).err();
    Ok(observed)
}

fn ask(attempt: &Attempt, observed: &mut Observed) -> Result<(), String> {
    let fd = open(attempt).map_err(failed("socket"))?;
    if let Some(ip) = attempt.bind {
        bind(fd.as_raw_fd(), &address(attempt, SocketAddr::new(ip, 0))).map_err(failed("bind"))?;
    }
    let to = address(attempt, attempt.to);
    if attempt.transport != Transport::Udp {
        connect(fd.as_raw_fd(), &to).map_err(failed("connect"))?;
    }
    let text = if attempt.transport == Transport::Tcp {
        let mut stream = TcpStream::from(fd);
        name(observed, stream.local_addr(), stream.peer_addr())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(io_failed("read"))?;
        text
    } else {
        let socket = UdpSocket::from(fd);
        if attempt.transport == Transport::UdpConnected {
            name(observed, socket.local_addr(), socket.peer_addr())?;
            socket.send(b"?").map_err(io_failed("send"))?;
        } else {
            let mapped = mapped(attempt, attempt.to);
            socket.send_to(b"?", mapped).map_err(io_failed("sendto"))?;
        }
        let mut buffer = [0; 1024];
        let (length, from) = socket.recv_from(&mut buffer).map_err(io_failed("recvfrom"))?;
        observed.reply_from = Some(from);
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut answer: Answer = serde_json::from_str(&text).map_err(|_| format!("an answer of {text:?}"))?;
    answer.peer = canonical(answer.peer);
    observed.answer = Some(answer);
    Ok(())
}

fn name(
    observed: &mut Observed,
    sockname: std::io::Result<SocketAddr>,
    peername: std::io::Result<SocketAddr>,
) -> Result<(), String> {
    observed.sockname = Some(sockname.map_err(io_failed("getsockname"))?.ip());
    observed.peername = Some(peername.map_err(io_failed("getpeername"))?);
    Ok(())
}

fn open(attempt: &Attempt) -> nix::Result<OwnedFd> {
    let v4 = attempt.to.is_ipv4() && !attempt.v4_mapped;
    let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = if attempt.transport == Transport::Tcp { SockType::Stream } else { SockType::Datagram };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    let within = TimeVal::milliseconds(i64::try_from(WITHIN.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&fd, sockopt::SendTimeout, &within)?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &within)?;
    Ok(fd)
}

fn mapped(attempt: &Attempt, address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) if attempt.v4_mapped => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        _ => address,
    }
}

fn address(attempt: &Attempt, address: SocketAddr) -> SockaddrStorage {
    SockaddrStorage::from(mapped(attempt, address))
}

fn failed(call: &'static str) -> impl Fn(Errno) -> String {
    move |errno| format!("{call} {errno:?}")
}

fn io_failed(call: &'static str) -> impl Fn(std::io::Error) -> String {
    move |error| failed(call)(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// libc changes the user of all threads; the system calls change this thread's only.
fn become_user_in_this_thread(uid: u32, gid: u32) -> Result<()> {
    let none = std::ptr::null::<libc::gid_t>();
    // SAFETY: no pointer but a null one of length 0.
    let failed = unsafe {
        libc::syscall(libc::SYS_setgroups, 0, none) != 0
            || libc::syscall(libc::SYS_setresgid, gid, gid, gid) != 0
            || libc::syscall(libc::SYS_setresuid, uid, uid, uid) != 0
    };
    ensure!(!failed, "become {uid}:{gid}: {}", Errno::last());
    Ok(())
}
