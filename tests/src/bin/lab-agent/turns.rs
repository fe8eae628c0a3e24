//! HTTP/1.1 on connections that are kept: a server that waits before it answers as long as the path says, and a client that
//! asks one request after the other.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use tests::report::Turns;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct Verb {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    Answer {
        #[arg(long)]
        listen: SocketAddr,
        /// Ends a connection with its answer to so many requests
        #[arg(long, default_value_t = u32::MAX)]
        most: u32,
    },
    Ask {
        #[arg(long)]
        to: SocketAddr,
        /// How long the server is to wait, in turn.
        #[arg(long, value_delimiter = ',', required = true)]
        wait_ms: Vec<u64>,
        /// Requests with each of these.
        #[arg(long)]
        requests: u32,
        /// Each request in so many pieces.
        #[arg(long, default_value_t = 1)]
        pieces: usize,
    },
}

impl Verb {
    pub(crate) fn run(self) -> Result<()> {
        match self.role {
            Role::Answer { listen, most } => answer(listen, most),
            Role::Ask { to, wait_ms, requests, pieces } => ask(to, &wait_ms, requests, pieces),
        }
    }
}

fn answer(listen: SocketAddr, most: u32) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listen on {listen}"))?;
    println!("ready");
    for stream in listener.incoming() {
        let stream = stream.context("accept")?;
        std::thread::spawn(move || converse(stream, most));
    }
    Ok(())
}

/// Until the client closes, or has had its answers.
fn converse(stream: TcpStream, most: u32) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    for number in 1..=most {
        let Some(line) = head(&mut stream)? else { break };
        let path = line.split(' ').nth(1).context("no path")?;
        let wait = path.trim_start_matches('/').parse().with_context(|| format!("wait for {path}"))?;
        std::thread::sleep(Duration::from_millis(wait));
        let close = if number == most { "Connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 200 OK\r\n{close}Content-Length: 0\r\n\r\n");
        stream.get_mut().write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Reads up to the empty line; the first of the lines. None: the other side has closed.
fn head(stream: &mut BufReader<TcpStream>) -> Result<Option<String>> {
    let mut first = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(first);
        }
        first.get_or_insert(line);
    }
}

fn ask(to: SocketAddr, wait_ms: &[u64], requests: u32, pieces: usize) -> Result<()> {
    let stream = TcpStream::connect_timeout(&to, ANSWER_WITHIN).context("connect")?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut us = Vec::new();
    for wait in wait_ms {
        for _ in 0..requests {
            let request = format!("GET /{wait} HTTP/1.1\r\nHost: app\r\n\r\n");
            for piece in request.as_bytes().chunks(request.len().div_ceil(pieces)) {
                stream.get_mut().write_all(piece).context("ask")?;
            }
            let asked = Instant::now();
            let Some(status) = head(&mut stream).context("read the answer")? else { bail!("no answer") };
            us.push(u64::try_from(asked.elapsed().as_micros())?);
            ensure!(status.starts_with("HTTP/1.1 200"), "{status}");
        }
    }
    println!("{}", serde_json::to_string(&Turns { us })?);
    Ok(())
}
