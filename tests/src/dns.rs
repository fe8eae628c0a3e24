//! DNS in the lab: a real server outside, the agent's forwarder in the pod, and a resolver that checks its replies.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::network::Network;
use crate::pod::Pod;
use crate::process::{Process, records};
use crate::report::{DnsAnswer, DnsQuery};
use crate::requirement::Requirement;
use crate::server::{APP_USER, PROXY_USER};

/// The name the server knows, and its addresses.
pub const NAME: &str = "app.test";
pub const ADDRESS4: &str = "10.96.7.7";
pub const ADDRESS6: &str = "fd00:96::7";
/// The program the server is.
pub const SERVER: Requirement = Requirement::Program("dnsmasq", "dnsmasq-base");
/// Where the agent listens.
pub const AGENT: [&str; 2] = ["127.0.0.1:15053", "[::1]:15053"];
const READY_WITHIN: Duration = Duration::from_secs(10);

/// IPv6 servers besides the outside's own address: dnsmasq answers only from addresses an interface has.
pub const SERVERS6: [&str; 2] = ["fd00:96::10", "fd00:96::11"];

/// dnsmasq in the outside, on port 53 of each of its addresses; returns once it answers.
pub fn server(network: &Network) -> Result<Process> {
    for address in SERVERS6 {
        network.outside.ip(&format!("addr add {address}/128 dev lo nodad\n"))?;
    }
    let process = network
        .outside
        .command("dnsmasq")
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="])
        .args(["--user=root", "--group=root", "--port=53", "--log-queries", "--log-facility=-"])
        .arg(format!("--host-record={NAME},{ADDRESS4},{ADDRESS6}"))
        .spawn()?;
    let deadline = Instant::now() + READY_WITHIN;
    let ask = Ask::new([network.outside4(53)]).within(Duration::from_millis(100));
    while ask.from(&network.outside)?.iter().any(|answer| answer.addresses.is_empty()) {
        // It closes its standard output, so that `is_running` would not tell.
        if Instant::now() > deadline {
            bail!("{} does not answer: {}", process.line(), process.stderr().trim());
        }
    }
    Ok(process)
}

/// The agent's DNS proxy in the pod, as the sidecar's user.
#[derive(Debug)]
pub struct Agent(Process);

impl Agent {
    /// Starts it in front of the outside's server; returns once it listens.
    pub fn start(network: &Network) -> Result<Self> {
        let mut command = network.pod.agent("dns-forward")?.user(PROXY_USER.0, PROXY_USER.1);
        for address in AGENT {
            command = command.args(["--listen", address]);
        }
        let process = command.args(["--upstream", &network.outside4(53).to_string()]).spawn()?;
        process.wait_for("ready")?;
        Ok(Self(process))
    }

    /// Queries it got so far.
    pub fn queries(&self) -> Vec<DnsQuery> {
        records(&self.0.stdout())
    }
}

/// Questions about [`NAME`] to several servers.
#[derive(Clone, Debug)]
pub struct Ask {
    flags: Vec<String>,
}

impl Ask {
    /// Asks these servers from one unconnected socket, everything before reading anything. With an IPv6 server among
    /// them the socket is an IPv6 one and IPv4 servers are asked v4-mapped, as musl does.
    pub fn new(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let flags = servers.into_iter().flat_map(|server| ["--server".into(), server.to_string()]).collect();
        Self { flags }
    }

    fn option(mut self, flag: &str, value: impl ToString) -> Self {
        self.flags.extend([flag.into(), value.to_string()]);
        self
    }

    /// From one connected socket for each server.
    pub fn connected(mut self) -> Self {
        self.flags.push("--connected".into());
        self
    }

    /// From sockets that have a port before they connect (dig).
    pub fn bound(mut self) -> Self {
        self.flags.push("--bound".into());
        self
    }

    /// Binds the one socket.
    pub fn bind(self, address: IpAddr) -> Self {
        self.option("--bind", SocketAddr::new(address, 0))
    }

    /// Asks each server this often.
    pub fn rounds(self, rounds: u16) -> Self {
        self.option("--rounds", rounds)
    }

    /// Waits this long for the replies.
    pub fn within(self, timeout: Duration) -> Self {
        self.option("--timeout-ms", timeout.as_millis())
    }

    /// Asks from `pod` as an application: one answer for each question, in their order.
    pub fn from(&self, pod: &Pod) -> Result<Vec<DnsAnswer>> {
        self.from_user(pod, APP_USER)
    }

    /// Asks as this user.
    pub fn from_user(&self, pod: &Pod, (uid, gid): (u32, u32)) -> Result<Vec<DnsAnswer>> {
        let text = pod.agent("dns-ask")?.user(uid, gid).args(["--name", NAME]).args(&self.flags).run()?;
        Ok(records(&text))
    }
}
