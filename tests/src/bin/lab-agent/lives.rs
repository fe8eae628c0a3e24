//! One socket with several lives: connected, disconnected (AF_UNSPEC), connected to another server, listening.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, socket,
};

/// Over loopback everything is there at once.
const MOMENT: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(crate) struct Lives {
    /// A captured destination the socket is connected to before it listens.
    #[arg(long)]
    captured: SocketAddrV4,
    /// The address it then listens on.
    #[arg(long)]
    listen: SocketAddrV4,
}

impl Lives {
    pub(crate) fn run(self) -> Result<()> {
        println!("second connection read {:?}", second_connection()?);
        println!("accept says {}", self.listening_after_capture()?);
        Ok(())
    }

    /// Connects to a captured destination, disconnects, listens; whom accept names, and who that is.
    fn listening_after_capture(&self) -> Result<String> {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
        connect(fd.as_raw_fd(), &SockaddrIn::from(self.captured)).context("connect")?;
        disconnect(&fd)?;
        bind(fd.as_raw_fd(), &SockaddrIn::from(self.listen)).context("bind")?;
        listen(&fd, Backlog::new(8)?).context("listen")?;
        let listener = TcpListener::from(fd);
        let client = TcpStream::connect(self.listen).context("connect to the listener")?;
        let (_, named) = listener.accept().context("accept")?;
        let who = client.local_addr()?;
        Ok(if named == who { "who it is".to_owned() } else { format!("{named}, it is {who}") })
    }
}

/// An answer is left unread on the first connection; what is read on the second one, of the same socket.
fn second_connection() -> Result<String> {
    let servers = [server()?, server()?];
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)?;
    begin(&fd, &servers[0])?;
    let mut first = accept(&servers[0])?;
    let mut client = TcpStream::from(fd);
    for _ in 0..2 {
        client.write_all(b"question").context("send")?;
        read_some(&mut first)?;
    }
    first.write_all(b"old answer").context("send")?;
    std::thread::sleep(MOMENT);
    drop(first);
    std::thread::sleep(MOMENT);
    disconnect(&client)?;
    begin(&client, &servers[1])?;
    let mut second = accept(&servers[1])?;
    client.write_all(b"question").context("send")?;
    read_some(&mut second)?;
    second.write_all(b"new answer").context("send")?;
    std::thread::sleep(MOMENT);
    read_some(&mut client)
}

fn server() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn begin(socket: &(impl AsFd + AsRawFd), to: &TcpListener) -> Result<()> {
    let std::net::SocketAddr::V4(to) = to.local_addr()? else { bail!("not IPv4") };
    match connect(socket.as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) => return Ok(()),
        Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error).context("connect"),
    }
    let mut wait = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    poll(&mut wait, PollTimeout::from(5000u16)).context("wait")?;
    Ok(())
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let mut wait = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut wait, PollTimeout::from(5000u16)).context("wait")?;
    let (stream, _) = listener.accept().context("accept")?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

fn read_some(stream: &mut TcpStream) -> Result<String> {
    let mut got = [0; 64];
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match stream.read(&mut got) {
            Ok(read) => return Ok(String::from_utf8_lossy(&got[..read]).into_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error).context("receive"),
        }
    }
}

fn disconnect(socket: &impl AsRawFd) -> Result<()> {
    // `struct sockaddr` with AF_UNSPEC, which is 0.
    let nowhere = [0u8; 16];
    // SAFETY: an address and its size.
    let done = unsafe { libc::connect(socket.as_raw_fd(), nowhere.as_ptr().cast(), 16) };
    Errno::result(done).context("disconnect").map(drop)
}
