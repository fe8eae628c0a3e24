//! One TCP connection from a pod.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::pod::Pod;
use crate::process::Command;
use crate::report::Connected;
use crate::server::APP_USER;

/// A connection to make: connects, optionally sends, reads to the end of the stream.
#[derive(Clone, Debug)]
pub struct Connect {
    to: SocketAddr,
    user: (u32, u32),
    flags: Vec<String>,
}

impl Connect {
    /// To `address`, as [`APP_USER`], giving up after 3 s.
    pub fn to(address: SocketAddr) -> Self {
        Self { to: address, user: APP_USER, flags: Vec::new() }
    }

    fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.into());
        self
    }

    fn option(mut self, flag: &str, value: impl ToString) -> Self {
        self.flags.extend([flag.into(), value.to_string()]);
        self
    }

    /// As this user from the start.
    pub fn user(mut self, (uid, gid): (u32, u32)) -> Self {
        self.user = (uid, gid);
        self
    }

    /// Changes to this user after the socket exists and before it connects.
    pub fn then_user(self, (uid, gid): (u32, u32)) -> Self {
        self.option("--then-user", format!("{uid}:{gid}"))
    }

    /// With ids that differ: real uid, effective uid, real gid, effective gid, taken before the socket exists.
    pub fn ids(self, ids: [u32; 4]) -> Self {
        let text = ids.map(|id| id.to_string()).join(",");
        self.user((0, 0)).option("--first-ids", text)
    }

    /// Binds first; port 0 lets the kernel choose.
    pub fn bind(self, address: SocketAddr) -> Self {
        self.option("--bind", address)
    }

    /// As the sidecar's upstream connections in TPROXY mode: transparent, with this SO_MARK.
    pub fn transparent(self, mark: u32) -> Self {
        self.flag("--transparent").mark(mark)
    }

    /// With this SO_MARK.
    pub fn mark(self, mark: u32) -> Self {
        self.option("--mark", mark)
    }

    /// Connects a non-blocking socket and waits for it with poll(2).
    pub fn nonblocking(self) -> Self {
        self.flag("--nonblocking")
    }

    /// Uses an AF_INET6 socket and the v4-mapped form of an IPv4 address.
    pub fn v4_mapped(self) -> Self {
        self.flag("--v4-mapped")
    }

    /// Sends this once connected.
    pub fn send(self, text: &str) -> Self {
        self.option("--send", text)
    }

    /// Reads one line instead of the whole stream, for servers that keep connections open.
    pub fn one_line(self) -> Self {
        self.flag("--one-line")
    }

    /// Gives up after this long, in connect and in read.
    pub fn within(self, timeout: Duration) -> Self {
        self.option("--timeout-ms", timeout.as_millis())
    }

    /// The command that makes it from `pod`: for changing its cgroup or namespace before running it with
    /// [`Command::run_json`].
    pub fn command(&self, pod: &Pod) -> Result<Command> {
        let (uid, gid) = self.user;
        Ok(pod.agent("connect")?.user(uid, gid).args(["--to", &self.to.to_string()]).args(&self.flags))
    }

    /// Makes it from `pod`. A refused or reset connection is an answer, not an error.
    pub fn from(&self, pod: &Pod) -> Result<Connected> {
        self.command(pod)?.run_json()
    }
}

/// Connections from one source address and port, as [`APP_USER`]: one to each of `to`, all open at once. Each reads a line.
pub fn from_one_port(pod: &Pod, bind: SocketAddr, to: &[SocketAddr]) -> Result<Vec<Connected>> {
    let command = pod.agent("fixed-port")?.user(APP_USER.0, APP_USER.1).args(["--bind", &bind.to_string()]);
    to.iter().fold(command, |command, to| command.args(["--to", &to.to_string()])).run_json()
}
