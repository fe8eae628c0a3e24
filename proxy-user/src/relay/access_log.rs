//! One JSON line per connection, written when it has ended.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::Mutex,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::listener::Direction;

/// What is known of a connection; `null` is what never came to be. The names are those of Envoy's command operators,
/// which the lab's Envoys log too.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) direction: Direction,
    /// The client.
    pub(super) downstream_remote: SocketAddr,
    /// The accepted socket's own address.
    pub(super) downstream_direct_local: Option<SocketAddr>,
    /// The original destination.
    pub(super) downstream_local: Option<SocketAddr>,
    pub(super) upstream_host: Option<SocketAddr>,
    pub(super) upstream_local: Option<SocketAddr>,
    /// From the client.
    pub(super) bytes_received: u64,
    /// To the client.
    pub(super) bytes_sent: u64,
    pub(super) failure: Option<String>,
}

impl Entry {
    pub(super) fn new(direction: Direction, client: SocketAddr) -> Self {
        Self {
            direction,
            downstream_remote: client,
            downstream_direct_local: None,
            downstream_local: None,
            upstream_host: None,
            upstream_local: None,
            bytes_received: 0,
            bytes_sent: 0,
            failure: None,
        }
    }
}

pub(super) struct AccessLog(Option<Mutex<Box<dyn Write + Send>>>);

impl AccessLog {
    /// Nothing, stdout (`-`) or a file that is appended to.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let sink: Box<dyn Write + Send> = match path {
            None => return Ok(Self(None)),
            Some(path) if path == Path::new("-") => Box::new(io::stdout()),
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                Box::new(file.with_context(|| format!("open the access log {}", path.display()))?)
            }
        };
        Ok(Self(Some(Mutex::new(sink))))
    }

    /// A line goes out in one write, so that two relays can share a file. A full disk stops no traffic.
    pub(super) fn write(&self, entry: &Entry) {
        let Some(sink) = &self.0 else { return };
        let line = serde_json::to_string(entry).map(|json| json + "\n");
        let outcome = line.map_err(io::Error::from).and_then(|line| {
            let mut sink = sink.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sink.write_all(line.as_bytes())?;
            sink.flush()
        });
        if let Err(error) = outcome {
            tracing::warn!("access log: {error}");
        }
    }
}
