//! The agent of this node is asked where it has its page.

use std::{fmt, net::Ipv4Addr, str::FromStr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proxy_core::exit::{Class, Failure};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::node::Answer;
use crate::serve::Listen;

/// An agent that has much to do reads its pins first.
const WITHIN: Duration = Duration::from_secs(10);
/// A node with a thousand pods has a tenth of it.
const MOST: usize = 32 << 20;

/// Where it is asked: the forms of its own `--listen`.
#[derive(Clone, Debug)]
pub struct Where(Listen);

impl FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What it knows of its node.
///
/// # Errors
/// Where nobody answers, or somebody else than an agent does.
pub fn ask(place: &Where) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async { timeout(WITHIN, get(&place.0, "/api/v1/node")).await });
    let text = asked.with_context(|| format!("no answer in {} s", WITHIN.as_secs())).flatten();
    let text = text.map_err(|error| nobody(place, &error))?;
    let answer: Answer = serde_json::from_slice(&text)
        .with_context(|| format!("what answers at {place} is no sidestep of this version"))?;
    Ok(answer)
}

fn nobody(place: &Where, error: &anyhow::Error) -> anyhow::Error {
    Failure::error(
        Class::Unavailable,
        format!(
            "no agent answers at {place}: {error:#}; `sidestep run` is the agent, and --agent says where it listens \
             (its own --listen)"
        ),
    )
}

async fn get(listen: &Listen, path: &str) -> Result<Bytes> {
    match listen {
        Listen::Unix(socket) => exchange(UnixStream::connect(socket).await?, "localhost", path).await,
        Listen::Named(host, port) => exchange(TcpStream::connect((&**host, *port)).await?, host, path).await,
        Listen::At(at) => {
            // Every address is this host's own.
            let unspecified = at.ip().is_unspecified();
            let ip = if unspecified { Ipv4Addr::LOCALHOST.into() } else { at.ip() };
            exchange(TcpStream::connect((ip, at.port())).await?, "localhost", path).await
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: &str,
) -> Result<Bytes> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("read its answer: {error}"))?.to_bytes();
    connection.abort();
    ensure!(status.is_success(), "it answers {status}: {}", String::from_utf8_lossy(&body).trim());
    Ok(body)
}
