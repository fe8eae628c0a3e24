//! Steady traffic: what goes on while a data plane is attached, detached or replaced underneath.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::pod::Pod;
use crate::process::Process;
use crate::report::Exchanges;
use crate::scale::full_or;
use crate::server::APP_USER;

const END_WITHIN: Duration = Duration::from_secs(15);
/// Between two exchanges of a connection.
const PAUSE_MS: u64 = 1;
/// The same where every millisecond would take all of the machine.
const SHORT_PAUSE_MS: u64 = 250;

/// Traffic to an echo server (see [`crate::server::Server::echo`]), as [`APP_USER`].
#[derive(Clone, Debug)]
pub struct Load {
    flags: Vec<String>,
    user: (u32, u32),
}

impl Load {
    /// `connections` connections that live as long as the load, each with an exchange every `PAUSE_MS` or
    /// `SHORT_PAUSE_MS`. One that breaks counts as one failure.
    pub fn lasting(to: SocketAddr, connections: u32) -> Self {
        let flags = ["--to".into(), to.to_string(), "--connections".into(), connections.to_string()];
        Self { flags: flags.into(), user: APP_USER }.pause_ms(full_or(SHORT_PAUSE_MS, PAUSE_MS))
    }

    /// `workers` clients that make a new connection for every exchange.
    pub fn churning(to: SocketAddr, workers: u32) -> Self {
        let mut load = Self::lasting(to, workers);
        load.flags.push("--renew".into());
        load
    }

    /// Milliseconds between two exchanges of a connection.
    pub fn pause_ms(mut self, pause: u64) -> Self {
        self.flags.retain(|word| !word.starts_with("--pause-ms="));
        self.flags.push(format!("--pause-ms={pause}"));
        self
    }

    /// As this user.
    pub fn user(mut self, user: (u32, u32)) -> Self {
        self.user = user;
        self
    }

    /// Starts it in `pod`; returns once each connection or worker has had its first exchange, failed ones included.
    pub fn start(&self, pod: &Pod) -> Result<RunningLoad> {
        let (uid, gid) = self.user;
        let process = pod.agent("load")?.user(uid, gid).args(&self.flags).hold_input().spawn()?;
        process.wait_for("ready")?;
        Ok(RunningLoad { process })
    }
}

/// Traffic that goes on.
#[derive(Debug)]
pub struct RunningLoad {
    process: Process,
}

impl RunningLoad {
    /// Stops it and counts.
    pub fn finish(mut self) -> Result<Exchanges> {
        self.process.close_input();
        self.process.wait(END_WITHIN)?;
        self.process.records().pop().with_context(|| format!("no counts: {}", self.process.stderr().trim()))
    }
}
