//! A flow: one TCP connection as one workload sees it, put together from the records of its ends.

use std::{fmt, net::SocketAddr, sync::Arc};

use proxy_common::{
    accel::Reason,
    flow::{Close, Direction, Forward, Hop},
    verdict::{Rule, Target},
};
use serde::{Serialize, Serializer};

/// Version of the JSON form; raised when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// One connection. Field by field in `docs/flows.md`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Flow {
    /// Unique on this node until it boots: the cookie of the end that counts for the workload.
    pub id: u64,
    pub state: State,
    /// As `sidestep status` names it.
    pub workload: Arc<str>,
    /// The pod of Kubernetes that is, where whoever attached it has said so.
    pub namespace: Option<Arc<str>>,
    pub pod: Option<Arc<str>>,
    #[serde(serialize_with = "named")]
    pub direction: Direction,
    #[serde(serialize_with = "named")]
    pub hop: Hop,
    /// Both ends are in workloads of this node: what it carries could skip the stack.
    pub local: bool,
    /// Of an inner hop only.
    #[serde(serialize_with = "maybe_named")]
    pub forward: Option<Forward>,
    /// Addresses as the sockets have them.
    pub client: SocketAddr,
    pub server: SocketAddr,
    /// The client a TPROXY connection stands for; else the client itself, where that is one and not the sidecar.
    pub original_client: Option<SocketAddr>,
    /// Where the client wanted to go.
    pub original_destination: SocketAddr,
    /// Port of the listener of the sidecar or the agent that took the connection.
    pub listener: Option<u16>,
    /// The row of `docs/decisions.md`.
    #[serde(serialize_with = "maybe_named")]
    pub rule: Option<Rule>,
    #[serde(serialize_with = "named")]
    pub verdict: Target,
    /// Processes at both ends; none: not on this node, not of an attached workload, or there before the attach.
    pub client_process: Option<Process>,
    pub server_process: Option<Process>,
    pub times: Times,
    /// Microseconds from SYN to the close; of a live one to the moment it was looked at.
    pub duration_us: Option<u64>,
    /// What the client sends.
    pub upload: Stream,
    /// What the server sends.
    pub download: Stream,
    #[serde(serialize_with = "named")]
    pub path: Path,
    /// Smoothed round trip in microseconds, where the stack carried enough to measure one.
    pub rtt_us: Option<u32>,
    /// Microseconds since TCP sent or received anything of it; none: closed, or bytes were redirected, whose times TCP does
    /// not know.
    pub idle_us: Option<u64>,
    /// Segments sent again, both ends known here together.
    pub retransmits: u32,
    /// None: live.
    #[serde(serialize_with = "maybe_named")]
    pub close: Option<Close>,
    /// The side that closed first, where its end is known.
    pub closed_by: Option<Side>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Live,
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Client,
    Server,
}

/// Who has an end open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Process {
    pub pid: u32,
    /// Up to 15 bytes, as the kernel names the task.
    pub comm: String,
    pub uid: u32,
}

/// Microseconds since the Unix epoch; none: did not happen, or was not seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Times {
    /// The client's SYN; of a client elsewhere: this end's answer to it.
    pub syn: Option<u64>,
    pub established: Option<u64>,
    /// The server's process took the connection.
    pub accepted: Option<u64>,
    /// First byte sent by an end of this node.
    pub first_byte: Option<u64>,
    pub close: Option<u64>,
}

/// One direction.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Stream {
    /// Bytes the sending application wrote; none: its end is not known here.
    pub written: Option<Split>,
    /// Bytes the receiving application read; none: its end is not known here.
    pub read: Option<Split>,
    /// Messages (sends), while the socket was in the acceleration's map; none: it never was.
    pub messages: Option<Split>,
    /// Changes between redirected and stacked.
    pub switches: u32,
    /// Why messages went over the stack, in the order of [`Reason`].
    #[serde(serialize_with = "all_named")]
    pub reasons: Vec<Reason>,
    /// The latest of them.
    #[serde(serialize_with = "maybe_named")]
    pub last_reason: Option<Reason>,
    /// The end whose process is that reason, where it is one's.
    pub because_of: Option<Side>,
    /// What waits now; none: the connection is closed.
    pub waiting: Option<Waiting>,
}

/// Bytes on their way; none: the end that has them is not known here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Waiting {
    /// Written, and not acknowledged by the other side.
    pub send: Option<u64>,
    /// Received over the stack, and not read by the process.
    pub receive: Option<u64>,
    /// Redirected, and not read by the process.
    pub redirected: Option<u64>,
}

/// By path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Split {
    pub redirected: u64,
    pub stacked: u64,
}

/// What carried a flow's bytes so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Path {
    Redirected,
    Stacked,
    Mixed,
}

impl Split {
    pub fn total(self) -> u64 {
        self.redirected + self.stacked
    }
}

impl Stream {
    /// Bytes, counted where they were written, else where they were read.
    pub fn bytes(&self) -> Split {
        self.written.or(self.read).unwrap_or_default()
    }
}

impl Waiting {
    /// Of those that are known.
    pub fn total(self) -> u64 {
        [self.send, self.receive, self.redirected].into_iter().flatten().sum()
    }
}

impl Path {
    pub const ALL: &'static [Self] = &[Self::Redirected, Self::Stacked, Self::Mixed];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
            Self::Stacked => "stacked",
            Self::Mixed => "mixed",
        }
    }

    /// Nothing redirected is stacked, nothing at all too.
    pub fn of(upload: &Stream, download: &Stream) -> Self {
        let (up, down) = (upload.bytes(), download.bytes());
        match (up.redirected + down.redirected, up.stacked + down.stacked) {
            (0, _) => Self::Stacked,
            (_, 0) => Self::Redirected,
            _ => Self::Mixed,
        }
    }
}

impl Flow {
    /// Bytes of both directions.
    pub fn bytes(&self) -> Split {
        let (up, down) = (self.upload.bytes(), self.download.bytes());
        Split { redirected: up.redirected + down.redirected, stacked: up.stacked + down.stacked }
    }

    /// From SYN to established, in microseconds.
    pub fn connect_us(&self) -> Option<u64> {
        Some(self.times.established?.saturating_sub(self.times.syn?))
    }

    /// From established to taken by the server's process, in microseconds.
    pub fn hand_off_us(&self) -> Option<u64> {
        Some(self.times.accepted?.saturating_sub(self.times.established?))
    }

    /// The JSON form: one object, no line break.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Versioned { schema: SCHEMA, flow: self })
    }
}

#[derive(Serialize)]
struct Versioned<'a> {
    schema: u32,
    #[serde(flatten)]
    flow: &'a Flow,
}

/// What has a label for output, filters and metrics.
pub trait Named: Copy + 'static {
    fn label(self) -> &'static str;
    fn all() -> &'static [Self];
}

macro_rules! label {
    ($($type:ty),*) => {
        $(impl Named for $type {
            fn label(self) -> &'static str {
                self.name()
            }
            fn all() -> &'static [Self] {
                <$type>::ALL
            }
        })*
    };
}

label!(Direction, Hop, Forward, Close, Rule, Reason, Path);

impl Named for Target {
    fn label(self) -> &'static str {
        self.name()
    }
    fn all() -> &'static [Self] {
        &[Target::Bypass, Target::Outbound, Target::Inbound, Target::Dns]
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

pub(super) fn named<T: Named, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.label())
}

pub(super) fn maybe_named<T: Named, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.map(Named::label).serialize(serializer)
}

fn all_named<T: Named, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| value.label()))
}
