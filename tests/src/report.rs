//! What `lab-agent` prints, one JSON object a line.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// Answer of `getsockopt(level, 80)`, SO_ORIGINAL_DST or its IPv6 twin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalDst {
    pub address: Option<SocketAddr>,
    /// optlen after the call.
    pub length: Option<u32>,
    pub errno: Option<i32>,
}

/// One accepted connection, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// What accept(2) said.
    pub peer: SocketAddr,
    /// What getpeername(2) says afterwards.
    pub peername: Option<SocketAddr>,
    pub local: SocketAddr,
    /// Address the accepting listener was started on.
    pub listener: SocketAddr,
    /// SOL_IP (0).
    pub sol_ip: OriginalDst,
    /// SOL_IPV6 (41).
    pub sol_ipv6: OriginalDst,
}

impl Accepted {
    /// The answer at the level of the connection's family: SOL_IP for IPv4 and v4-mapped, SOL_IPV6 otherwise.
    pub fn original_dst(&self) -> OriginalDst {
        if canonical(self.local).is_ipv4() { self.sol_ip } else { self.sol_ipv6 }
    }
}

/// `addr` without the v4-mapped prefix.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// The call that failed and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub call: String,
    pub errno: i32,
}

impl Failure {
    /// The errno as nix's enum.
    pub fn errno(&self) -> Errno {
        Errno::from_raw(self.errno)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}", self.call, self.errno())
    }
}

/// One connection, as the client saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// Set once connect succeeded.
    pub sockname: Option<SocketAddr>,
    pub peername: Option<SocketAddr>,
    pub peername_error: Option<Failure>,
    /// Everything up to the end of the stream.
    pub received: String,
    pub failure: Option<Failure>,
    /// A non-blocking connect said EINPROGRESS first.
    #[serde(default)]
    pub in_progress: bool,
}

/// How a client's attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Bytes came.
    Answered,
    /// connect: ECONNREFUSED.
    Refused,
    /// Accepted, then reset.
    Reset,
    /// Accepted, then closed without a byte.
    Closed,
    /// No answer in time.
    Timeout,
    /// Anything else; `Connected::failure` says what.
    Failed,
}

impl Connected {
    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        let errno = self.failure.as_ref().map(Failure::errno);
        match errno {
            _ if !self.received.is_empty() => Outcome::Answered,
            None => Outcome::Closed,
            Some(Errno::ECONNREFUSED) => Outcome::Refused,
            Some(Errno::ECONNRESET | Errno::EPIPE) => Outcome::Reset,
            Some(Errno::ETIMEDOUT | Errno::EAGAIN) => Outcome::Timeout,
            Some(_) => Outcome::Failed,
        }
    }

    /// The server's own report, when it was one that sends [`Accepted`].
    pub fn report(&self) -> Option<Accepted> {
        serde_json::from_str(self.received.lines().next()?).ok()
    }
}

/// Many connections at once, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crowd {
    pub attempted: u32,
    /// Connected, and answered when answers were asked for.
    pub connected: u32,
    /// Failed connections by errno name.
    pub failed: BTreeMap<String, u32>,
    /// Answered by a server whose report names another destination: the first few, as `wanted got`.
    pub mismatched: Vec<String>,
    pub mismatches: u32,
}

impl Crowd {
    /// Adds what another process counted.
    pub fn add(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.connected += other.connected;
        self.mismatches += other.mismatches;
        self.mismatched.extend(other.mismatched);
        for (why, count) in other.failed {
            *self.failed.entry(why).or_default() += count;
        }
    }
}

/// Exchanges with an echo server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanges {
    /// Sent, and came back the same.
    pub completed: u64,
    /// By errno name, or what was wrong.
    pub failed: BTreeMap<String, u64>,
}

/// Connects in a row, timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectTimes {
    pub count: usize,
    pub median_ns: u64,
    pub min_ns: u64,
    pub max_ns: u64,
}

/// How long the answers of one connection took, request by request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turns {
    /// From the last byte written to the last byte read.
    pub us: Vec<u64>,
}

/// Status line and body of one HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAnswer {
    pub status: u16,
    pub body: String,
}

/// Answers of getsockopt by `level/option/length`.
pub type Options = BTreeMap<String, Answer>;

/// Answer of one getsockopt call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub errno: Option<i32>,
    /// optlen after the call.
    pub length: u32,
    /// The buffer's first bytes, in hexadecimal.
    pub value: String,
}

/// Streams in both directions, compared byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    pub completed: u64,
    /// Streams of which one end received a byte that was not sent there.
    pub corrupted: u64,
    /// Offset of the first such byte; u64::MAX: at the other end.
    pub first_difference: Option<u64>,
    /// Streams that ended early, by what was said.
    pub broken: BTreeMap<String, u64>,
    /// Sent and received by the client.
    pub bytes: u64,
    pub milliseconds: u64,
}

/// One direction of a connection through a relay that splices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spliced {
    pub bytes: u64,
    /// Of those, from the socket with splice(2).
    pub spliced: u64,
    /// Calls of it that failed with EINVAL: the rest was read.
    pub refused: u64,
}

/// One DNS question and its reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAnswer {
    /// The server that was asked.
    pub server: SocketAddr,
    /// What getpeername(2) says on a connected socket.
    pub peername: Option<SocketAddr>,
    /// Where the reply with the question's id came from.
    pub from: Option<SocketAddr>,
    pub addresses: Vec<IpAddr>,
    pub error: Option<String>,
}

impl Default for DnsAnswer {
    fn default() -> Self {
        let server = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { server, peername: None, from: None, addresses: Vec::new(), error: None }
    }
}

/// One question, as the agent's DNS proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsQuery {
    pub client: SocketAddr,
    pub tcp: bool,
    /// SO_ORIGINAL_DST of a TCP connection.
    pub original_dst: Option<SocketAddr>,
}

/// What went to readers that never read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// Bytes of the connection that took most.
    pub most: u64,
    pub all: u64,
    /// What the writer was told at the end.
    pub error: String,
}
