//! Writing to readers that never read, until nothing more goes.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use nix::errno::Errno;
use tests::report::Filled;

/// So long without a byte is the end.
const QUIET: Duration = Duration::from_millis(700);
/// What no bound would allow.
const TOO_MUCH: u64 = 256 << 20;

#[derive(Debug, Args)]
pub(crate) struct Fill {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, default_value_t = 1)]
    connections: u32,
    #[arg(long, default_value_t = 16_384)]
    chunk: usize,
    /// Then keep the connections until standard input closes.
    #[arg(long)]
    hold: bool,
}

impl Fill {
    pub(crate) fn run(self) -> Result<()> {
        let mut streams = Vec::new();
        for _ in 0..self.connections {
            let stream = TcpStream::connect(self.to).context("connect")?;
            stream.set_nonblocking(true)?;
            streams.push((stream, 0u64));
        }
        // Accepted, so that the kernel knows how the other end reads.
        std::thread::sleep(Duration::from_millis(200));
        let chunk = vec![b'x'; self.chunk];
        let mut error = String::new();
        let mut last = Instant::now();
        while last.elapsed() < QUIET {
            for (stream, written) in &mut streams {
                match stream.write(&chunk) {
                    Ok(length) if *written < TOO_MUCH => {
                        *written += length as u64;
                        last = Instant::now();
                    }
                    Ok(_) => anyhow::bail!("no bound: {written} bytes went to a reader that does not read"),
                    Err(why) => error = format!("{:?}", Errno::from_raw(why.raw_os_error().unwrap_or(0))),
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let filled = Filled {
            most: streams.iter().map(|(_, written)| *written).max().unwrap_or(0),
            all: streams.iter().map(|(_, written)| *written).sum(),
            error,
        };
        println!("{}", serde_json::to_string(&filled)?);
        if self.hold {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
        }
        Ok(())
    }
}
