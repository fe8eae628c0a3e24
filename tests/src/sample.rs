//! A sample of connections, each made by a thread of its own with its own user.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::answerer::Answer;
use crate::pod::Pod;

/// One connection, or one question over UDP, to somebody who [`Answer`]s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub transport: Transport,
    pub to: SocketAddr,
    /// Source address to bind to, the port left open.
    pub bind: Option<IpAddr>,
    pub uid: u32,
    pub gid: u32,
    /// An IPv4 address in an AF_INET6 socket.
    pub v4_mapped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    Tcp,
    /// sendto without connect.
    Udp,
    /// connect, then send.
    UdpConnected,
}

/// What the client saw of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub answer: Option<Answer>,
    /// getsockname and getpeername after connect; ports of the kernel's choice are 0.
    pub sockname: Option<IpAddr>,
    pub peername: Option<SocketAddr>,
    /// Where a datagram's answer came from.
    pub reply_from: Option<SocketAddr>,
    /// The call that failed and its errno, as `connect ECONNREFUSED`.
    pub error: Option<String>,
}

/// Makes all of them from `pod`, several at a time; the answers are in the same order.
pub fn observe(pod: &Pod, attempts: &[Attempt]) -> Result<Vec<Observed>> {
    let question = serde_json::to_string(attempts)?;
    // By file: a pipe that is not read yet would hold up the writer.
    let path = pod.scratch().join("attempts.json");
    std::fs::write(&path, question).with_context(|| format!("write {}", path.display()))?;
    pod.agent("attempt")?.arg("--attempts").arg(&path).run_json()
}
