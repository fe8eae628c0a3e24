//! Servers that tell each client who they are, over TCP and UDP, IPv4 and IPv6: for asking who got a connection.

use std::net::SocketAddr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::pod::Pod;
use crate::process::Process;
use crate::report::OriginalDst;

/// What a server says to its client, as one JSON line or datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// `name:port` of the listener.
    pub who: String,
    /// The client, as the server sees it.
    pub peer: SocketAddr,
    /// SO_ORIGINAL_DST at the level of the connection's family; none over UDP.
    pub original_dst: Option<OriginalDst>,
}

/// Listeners of one process on all of `ports`.
#[derive(Clone, Debug)]
pub struct Answerer<'a> {
    pub pod: &'a Pod,
    pub name: &'a str,
    pub ports: &'a [u16],
    pub user: (u32, u32),
    /// Listen with IP_TRANSPARENT over TCP, as a sidecar in TPROXY mode does.
    pub transparent: bool,
    /// Listen on 127.0.0.1 and ::1 only.
    pub loopback: bool,
}

impl Answerer<'_> {
    /// Starts it; returns once it listens.
    pub fn start(&self) -> Result<Process> {
        let (uid, gid) = self.user;
        let mut command = self.pod.agent("answer")?.args(["--name", self.name]);
        for port in self.ports {
            command = command.args(["--port", &port.to_string()]);
        }
        // Transparent sockets take CAP_NET_ADMIN: the agent becomes the user once they are open.
        command = command.args(["--user", &format!("{uid}:{gid}")]);
        for (flag, on) in [("--transparent", self.transparent), ("--loopback", self.loopback)] {
            if on {
                command = command.arg(flag);
            }
        }
        let process = command.spawn()?;
        process.wait_for("ready")?;
        Ok(process)
    }
}
