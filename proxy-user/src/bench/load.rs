//! The client: messages and their echoes on connections that last.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::out;

#[derive(Args, Clone, Debug)]
pub(super) struct LoadArgs {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    connections: u32,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    seconds: u32,
}

/// What the client saw.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Exchanged {
    pub(super) exchanges: u64,
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

pub(super) fn run(args: &LoadArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut times, elapsed) = runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..args.connections {
            let stream =
                TcpStream::connect(args.to).await.with_context(|| format!("connect to {}", args.to))?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let started = Instant::now();
        let deadline = started + Duration::from_secs(args.seconds.into());
        let tasks: Vec<_> =
            streams.into_iter().map(|stream| tokio::spawn(exchange(stream, args.size, deadline))).collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await??);
        }
        anyhow::Ok((times, started.elapsed()))
    })?;
    ensure!(!times.is_empty(), "no message came back");
    times.sort_unstable();
    let at = |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]) / 1000.0;
    let exchanged = Exchanged {
        exchanges: times.len() as u64,
        per_second: times.len() as f64 / elapsed.as_secs_f64(),
        p50_us: at(0.5),
        p99_us: at(0.99),
    };
    out::json(serde_json::to_string(&exchanged)?)?;
    Ok(())
}

/// Nanoseconds of each exchange.
async fn exchange(mut stream: TcpStream, size: usize, deadline: Instant) -> Result<Vec<u32>> {
    let sent = vec![b'x'; size];
    let mut got = vec![0; size];
    let mut times = Vec::new();
    loop {
        let started = Instant::now();
        if started > deadline {
            return Ok(times);
        }
        stream.write_all(&sent).await.context("send")?;
        stream.read_exact(&mut got).await.context("receive: the server turns away who comes another way")?;
        ensure!(got == sent, "another message came back than was sent");
        times.push(u32::try_from(started.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
}
