//! Many concurrent connections from a pod.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::pod::Pod;
use crate::process::{Process, records};
use crate::report;
use crate::server::APP_USER;

/// One process may open 20,000 files where root cannot raise the limit.
const MOST_PER_PROCESS: u32 = 15_000;
const COUNTED_WITHIN: Duration = Duration::from_secs(120);

/// What an answer has to say for a connection to count as matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The server (a sidecar stand-in) reports the target as SO_ORIGINAL_DST.
    OriginalDst,
    /// The server (the real target, behind a sidecar) reports the target as its own address.
    Local,
}

/// Connections to make: one per address, from the first of a prefix on, wrapping round.
#[derive(Clone, Debug)]
pub struct Crowd {
    user: (u32, u32),
    flags: Vec<String>,
    count: u32,
}

impl Crowd {
    /// `count` connections to port `port` of the addresses of `prefix` ("10.96.0.0/16"), as [`APP_USER`].
    pub fn to(prefix: &str, port: u16, count: u32) -> Self {
        let flags = ["--targets".into(), prefix.into(), "--port".into(), port.to_string()];
        Self { user: APP_USER, flags: flags.into(), count }
    }

    /// As this user.
    pub fn user(mut self, user: (u32, u32)) -> Self {
        self.user = user;
        self
    }

    /// Reads one report line on each connection and compares.
    pub fn expect(mut self, what: Expect) -> Self {
        let value = match what {
            Expect::OriginalDst => "original-dst",
            Expect::Local => "local",
        };
        self.flags.extend(["--expect".into(), value.into()]);
        self
    }

    /// All from this one port.
    pub fn bind_port(mut self, port: u16) -> Self {
        self.flags.extend(["--bind-port".into(), port.to_string()]);
        self
    }

    /// Opens them from `pod`, 15,000 a process, and keeps them open until the guard drops. Returns when each has
    /// succeeded or failed.
    pub fn open(&self, pod: &Pod) -> Result<OpenCrowd> {
        let mut processes = Vec::new();
        for first in (0..self.count).step_by(MOST_PER_PROCESS as usize) {
            let count = MOST_PER_PROCESS.min(self.count - first);
            let share = ["--first".into(), first.to_string(), "--count".into(), count.to_string()];
            let (uid, gid) = self.user;
            let command = pod.agent("connect-many")?.user(uid, gid).args(&self.flags).args(share);
            processes.push(command.hold_input().spawn()?);
        }
        let mut counts = report::Crowd::default();
        for process in &processes {
            let counted = process.output().wait(COUNTED_WITHIN, |text| records(text).pop());
            counts.add(counted.with_context(|| format!("no counts: {}", process.stderr().trim()))?);
        }
        Ok(OpenCrowd { counts, processes })
    }
}

/// Connections that are open.
#[derive(Debug)]
pub struct OpenCrowd {
    pub counts: report::Crowd,
    processes: Vec<Process>,
}

impl OpenCrowd {
    /// The processes that hold them.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }
}
