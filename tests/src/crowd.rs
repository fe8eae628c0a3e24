//! Many concurrent connections from one process of a pod.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::pod::Pod;
use crate::process::Process;
use crate::report;
use crate::server::APP_USER;

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
}

impl Crowd {
    /// `count` connections to port `port` of the addresses of `prefix` ("10.96.0.0/16"), as [`APP_USER`].
    pub fn to(prefix: &str, port: u16, count: u32) -> Self {
        let flags = ["--targets".into(), prefix.into(), "--port".into(), port.to_string()];
        let mut flags = Vec::from(flags);
        flags.extend(["--count".into(), count.to_string()]);
        Self { user: APP_USER, flags }
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

    /// Opens them from `pod` and keeps them open until the guard drops.
    pub fn open(&self, pod: &Pod) -> Result<OpenCrowd> {
        let (uid, gid) = self.user;
        let process = pod.agent("connect-many")?.user(uid, gid).args(&self.flags).hold_input().spawn()?;
        let counts = process
            .output()
            .wait(COUNTED_WITHIN, |text| crate::process::records(text).pop())
            .with_context(|| format!("no counts: {}", process.stderr().trim()))?;
        Ok(OpenCrowd { counts, process })
    }
}

/// Connections that are open.
#[derive(Debug)]
pub struct OpenCrowd {
    pub counts: report::Crowd,
    process: Process,
}

impl OpenCrowd {
    /// The process that holds them.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
