//! A relay that splices, as Go's `io.Copy` and HAProxy do: from one socket into a pipe, and from there into the other. Where
//! the first is refused with EINVAL it reads in its place, until the end of that direction; the second goes on.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tests::report::Spliced;

/// What a pipe takes at once.
const PIECE: usize = 65_536;

#[derive(Debug, Args)]
pub(crate) struct Splice {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    to: SocketAddr,
}

impl Splice {
    pub(crate) fn run(self) -> Result<()> {
        let listener =
            TcpListener::bind(self.listen).with_context(|| format!("listen on {}", self.listen))?;
        // What it accepts is an event loop's: this is one to whoever looks at the listener.
        listener.set_nonblocking(true)?;
        println!("ready");
        loop {
            wait(&listener, PollFlags::POLLIN)?;
            let Some((client, _)) = unless_early(listener.accept())? else { continue };
            client.set_nonblocking(true)?;
            let to = self.to;
            thread::spawn(move || {
                if let Err(error) = relay(&client, to) {
                    eprintln!("{error:#}");
                }
            });
        }
    }
}

fn relay(client: &TcpStream, to: SocketAddr) -> Result<()> {
    let server = connect(to)?;
    let both = thread::scope(|scope| {
        let up = scope.spawn(|| copy(client, &server));
        let down = copy(&server, client);
        [up.join().unwrap_or_else(|_| bail!("panicked")), down]
    });
    for direction in both {
        println!("{}", serde_json::to_string(&direction?)?);
    }
    Ok(())
}

/// Non-blocking before the connection is there.
fn connect(to: SocketAddr) -> Result<TcpStream> {
    let socket = crate::stream::connect_soon(to, |_| Ok(()))?;
    wait(&socket, PollFlags::POLLOUT)?;
    match socket.take_error()? {
        None => Ok(socket),
        Some(error) => Err(error).context("connect"),
    }
}

/// One direction, to its end.
fn copy(mut from: &TcpStream, to: &TcpStream) -> Result<Spliced> {
    let (pipe_out, pipe_in) = nix::unistd::pipe().context("make a pipe")?;
    let mut pipe_in = File::from(pipe_in);
    let mut buffer = vec![0; PIECE];
    let mut done = Spliced::default();
    loop {
        let moved = if done.refused == 0 {
            match splice(from, None, &pipe_in, None, PIECE, SpliceFFlags::SPLICE_F_NONBLOCK) {
                Err(Errno::EINVAL) => {
                    done.refused += 1;
                    continue;
                }
                other => unless_early(other.map_err(Into::into))?,
            }
        } else {
            unless_early(from.read(&mut buffer))?
        };
        match moved {
            None => wait(&from, PollFlags::POLLIN)?,
            Some(0) => break,
            Some(bytes) => {
                if done.refused > 0 {
                    pipe_in.write_all(&buffer[..bytes]).context("write to the pipe")?;
                } else {
                    done.spliced += bytes as u64;
                }
                pass_on(&pipe_out, to, bytes)?;
                done.bytes += bytes as u64;
            }
        }
    }
    to.shutdown(Shutdown::Write).context("shutdown")?;
    Ok(done)
}

fn pass_on(pipe: &OwnedFd, to: &TcpStream, mut bytes: usize) -> Result<()> {
    while bytes > 0 {
        match unless_early(
            splice(pipe, None, to, None, bytes, SpliceFFlags::SPLICE_F_NONBLOCK).map_err(Into::into),
        )
        .context("splice into a socket")?
        {
            None => wait(to, PollFlags::POLLOUT)?,
            Some(moved) => bytes -= moved,
        }
    }
    Ok(())
}

/// None: nothing yet.
fn unless_early<T>(result: std::io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn wait(socket: &impl AsFd, what: PollFlags) -> Result<()> {
    poll(&mut [PollFd::new(socket.as_fd(), what)], PollTimeout::NONE).context("poll").map(drop)
}
