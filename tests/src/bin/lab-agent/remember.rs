//! One connection that is held, and asked again and again where it goes.

use std::io::{BufRead as _, stdin};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};

use crate::original_dst;

#[derive(Debug, clap::Args)]
pub(crate) struct Remember {
    /// Connect there, and say the peer
    #[arg(long, conflicts_with = "listen", required_unless_present = "listen")]
    to: Option<SocketAddr>,
    /// Accept one connection there, and say where it wanted to go
    #[arg(long)]
    listen: Option<SocketAddr>,
}

impl Remember {
    /// Says it once, and once more for each line of standard input.
    pub(crate) fn run(&self) -> Result<()> {
        let socket = match (self.to, self.listen) {
            (Some(to), _) => TcpStream::connect(to).with_context(|| format!("connect to {to}"))?,
            (None, Some(listen)) => {
                let listener = TcpListener::bind(listen).with_context(|| format!("listen on {listen}"))?;
                println!("listening");
                listener.accept().context("accept")?.0
            }
            (None, None) => anyhow::bail!("neither --to nor --listen"),
        };
        self.say(&socket)?;
        for line in stdin().lock().lines() {
            line.context("read standard input")?;
            self.say(&socket)?;
        }
        Ok(())
    }

    fn say(&self, socket: &TcpStream) -> Result<()> {
        if self.to.is_some() {
            println!("peer {}", socket.peer_addr().context("getpeername")?);
        } else {
            let wanted = original_dst::read(socket, libc::SOL_IP, 16);
            println!("wanted {}", wanted.address.context("SO_ORIGINAL_DST has no answer")?);
        }
        Ok(())
    }
}
