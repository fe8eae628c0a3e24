//! The server: sends back what comes, to those who came the expected way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use clap::Args;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::out;

/// Source of a sidecar's inner connections.
const INNER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

#[derive(Args, Clone, Debug)]
pub(super) struct EchoArgs {
    #[arg(long)]
    listen: SocketAddr,
    /// Clients come through a sidecar; others are turned away.
    #[arg(long)]
    behind_sidecar: bool,
}

pub(super) fn run(args: &EchoArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(args.listen).await.with_context(|| format!("listen on {}", args.listen))?;
        out::line("ready")?;
        loop {
            let (stream, peer) = listener.accept().await.context("accept")?;
            if (peer.ip() == INNER) == args.behind_sidecar {
                tokio::spawn(serve(stream));
            }
        }
    })
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}
