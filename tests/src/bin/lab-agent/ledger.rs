//! One connection, both ends in this process, each step after the other: what each end wrote and read is known.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::json;

/// Bytes of a request, of an answer, and of what a reader that gives up has read.
const REQUEST: usize = 70_001;
const ANSWER: usize = 50_003;
const PART: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct Ledger {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    story: Story,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Story {
    /// Both read everything, the client closes first.
    Plain,
    /// The client ends its direction before the server answers.
    HalfClose,
    /// The client reads the answer after both directions have ended.
    ReadsAfterTheEnd,
    /// The client closes with bytes of the answer unread.
    LeavesBytesUnread,
    /// The server resets after a part of the request.
    Reset,
    /// The server closes first, and the client never reads so far.
    NeverReadsTheEnd,
}

impl Ledger {
    pub(crate) fn run(self) -> Result<()> {
        let listener = TcpListener::bind(self.listen).context("listen")?;
        let client = TcpStream::connect(self.listen).context("connect")?;
        let (server, _) = listener.accept().context("accept")?;
        let told = play(self.story, client, server)?;
        println!(
            "{}",
            json!({
                "upload": { "written": told[0], "read": told[1] },
                "download": { "written": told[2], "read": told[3] },
            })
        );
        Ok(())
    }
}

/// Written and read of the upload, and of the download.
fn play(story: Story, mut client: TcpStream, mut server: TcpStream) -> Result<[usize; 4]> {
    let sent = write(&mut client, REQUEST)?;
    match story {
        Story::Plain => {
            let read = take(&mut server, REQUEST)?;
            let answered = write(&mut server, ANSWER)?;
            let got = take(&mut client, ANSWER)?;
            drop(client);
            end(&mut server)?;
            Ok([sent, read, answered, got])
        }
        Story::HalfClose | Story::ReadsAfterTheEnd => {
            client.shutdown(Shutdown::Write).context("shutdown")?;
            let read = take(&mut server, REQUEST)?;
            end(&mut server)?;
            let answered = write(&mut server, ANSWER)?;
            if story == Story::ReadsAfterTheEnd {
                drop(server);
                let got = take(&mut client, ANSWER)?;
                end(&mut client)?;
                return Ok([sent, read, answered, got]);
            }
            let got = take(&mut client, ANSWER)?;
            drop(server);
            end(&mut client)?;
            Ok([sent, read, answered, got])
        }
        Story::LeavesBytesUnread => {
            let read = take(&mut server, REQUEST)?;
            let answered = write(&mut server, ANSWER)?;
            let got = take(&mut client, PART)?;
            drop(client);
            // The end or a reset, whichever it is.
            let _ = server.read(&mut [0; 1]);
            Ok([sent, read, answered, got])
        }
        Story::Reset => {
            let read = take(&mut server, PART)?;
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&server.as_fd(), sockopt::Linger, &linger).context("SO_LINGER")?;
            drop(server);
            let _ = client.read(&mut [0; 1]);
            Ok([sent, read, 0, 0])
        }
        Story::NeverReadsTheEnd => {
            let read = take(&mut server, REQUEST)?;
            let answered = write(&mut server, ANSWER)?;
            drop(server);
            let got = take(&mut client, ANSWER)?;
            drop(client);
            Ok([sent, read, answered, got])
        }
    }
}

fn write(socket: &mut TcpStream, bytes: usize) -> Result<usize> {
    socket.write_all(&vec![b'x'; bytes]).context("write")?;
    Ok(bytes)
}

/// Reads this many bytes, not one more.
fn take(socket: &mut TcpStream, bytes: usize) -> Result<usize> {
    socket.read_exact(&mut vec![0; bytes]).context("read")?;
    Ok(bytes)
}

fn end(socket: &mut TcpStream) -> Result<()> {
    anyhow::ensure!(socket.read(&mut [0; 1]).context("read the end")? == 0, "bytes after the end");
    Ok(())
}
