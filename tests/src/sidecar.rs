//! The sidecar of a pod: real Envoy, or `sidestep relay` on a machine without it. Both write the same access log.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer};

use crate::envoy_config::SidecarConfig;
use crate::pod::Pod;
use crate::process::{Process, print_tail, records};
use crate::{envoy, relay};

const LOGGED_WITHIN: Duration = Duration::from_secs(10);
const READ_EVERY: Duration = Duration::from_millis(10);

/// Which program is the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Envoy,
    Relay,
}

/// One line of the access log, written when the connection (HTTP: the request) ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Logged {
    /// `inbound` or `outbound`.
    pub direction: String,
    pub cluster: Option<String>,
    #[serde(deserialize_with = "address")]
    pub downstream_remote: Option<SocketAddr>,
    /// The destination the client asked for, as the sidecar restored it.
    #[serde(deserialize_with = "address")]
    pub downstream_local: Option<SocketAddr>,
    #[serde(deserialize_with = "address")]
    pub upstream_host: Option<SocketAddr>,
    #[serde(deserialize_with = "address")]
    pub upstream_local: Option<SocketAddr>,
    /// Envoy's response flags, e.g. `UF`: upstream connection failure.
    pub flags: Option<String>,
    pub failure: Option<String>,
    /// Of an HTTP request: from its last byte to the answer's first, as the sidecar receives and sends them, and as it sends
    /// and receives them.
    pub downstream_us: Option<u64>,
    pub upstream_us: Option<u64>,
}

/// Envoy writes `-` or null for what there is not.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.and_then(|text| text.parse().ok()))
}

/// A sidecar that listens, as uid and gid 1337.
#[derive(Debug)]
pub struct Sidecar {
    kind: Kind,
    access_log: PathBuf,
    process: Process,
}

impl Sidecar {
    /// The sidecar this machine has: Envoy if its binary is there.
    pub fn available() -> Result<Kind> {
        if envoy::binary().is_some() {
            return Ok(Kind::Envoy);
        }
        match crate::sidestep::binary() {
            Ok(_) => Ok(Kind::Relay),
            Err(error) => {
                Err(error).context("no Envoy (`cargo xtask setup` fetches it) and no `sidestep relay`")
            }
        }
    }

    /// Starts the available one in `pod`; returns once it listens.
    pub fn start(pod: &Pod, config: &SidecarConfig) -> Result<Self> {
        Self::start_kind(Self::available()?, pod, config)
    }

    /// Starts this one.
    pub fn start_kind(kind: Kind, pod: &Pod, config: &SidecarConfig) -> Result<Self> {
        let access_log = pod.scratch().join(format!("access-{}.log", access_log_number()));
        let process = match kind {
            Kind::Envoy => envoy::start(pod, config, &access_log),
            Kind::Relay => relay::start(pod, config, &access_log),
        }?;
        Ok(Self { kind, access_log, process })
    }

    /// Which program it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it as a deployment does (SIGTERM), waiting at most `within`.
    pub fn terminate(mut self, within: Duration) -> Result<()> {
        self.process.terminate(within).map(drop)
    }

    /// The access log so far. Lines appear up to 20 ms after the connection's end.
    pub fn logged(&self) -> Vec<Logged> {
        records(&read(&self.access_log))
    }

    /// Waits for a line that satisfies `wanted`.
    pub fn wait_logged(&self, wanted: impl Fn(&Logged) -> bool) -> Result<Logged> {
        let deadline = Instant::now() + LOGGED_WITHIN;
        loop {
            let lines = self.logged();
            if let Some(line) = lines.iter().find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            if Instant::now() > deadline {
                bail!("no such line in the access log: {lines:#?}");
            }
            std::thread::sleep(READ_EVERY);
        }
    }

    /// Waits for the line of the connection that came from `client`.
    pub fn wait_logged_from(&self, client: SocketAddr) -> Result<Logged> {
        self.wait_logged(|line| line.downstream_remote == Some(client))
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn access_log_number() -> u32 {
    static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_tail("access log", &read(&self.access_log));
        }
    }
}
