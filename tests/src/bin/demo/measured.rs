//! What was measured under one data plane, and what it must be.

use ::tests::report::Outcome;
use serde::Serialize;

/// Where the application listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bound {
    /// 127.0.0.1
    Lo,
    /// The pod's address.
    Eth0,
}

/// Where the sidecar forwards to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Istio {
    #[serde(rename = "<=1.9")]
    UpTo1_9,
    #[serde(rename = ">=1.10")]
    From1_10,
}

impl Istio {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::UpTo1_9 => "Istio <= 1.9 ",
            Self::From1_10 => "Istio >= 1.10",
        }
    }
}

/// What a cell of the table reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Pong,
    /// Refused, reset, or accepted by the sidecar and closed without a byte.
    Refused,
    /// Neither: a timeout, or another server's words.
    Other,
}

impl Verdict {
    pub(crate) fn of(outcome: Outcome, received: &str) -> Self {
        match outcome {
            Outcome::Answered if received.trim() == "pong" => Self::Pong,
            Outcome::Refused | Outcome::Reset | Outcome::Closed => Self::Refused,
            Outcome::Answered | Outcome::Timeout | Outcome::Failed => Self::Other,
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Pong => "pong",
            Self::Refused => "refused",
            Self::Other => "OTHER",
        }
    }
}

/// What the sidecar's access log says of a connection; ephemeral ports are letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SidecarSaw {
    pub(crate) downstream_remote: String,
    pub(crate) downstream_local: String,
    pub(crate) upstream_local: String,
    pub(crate) upstream_host: String,
    pub(crate) flags: String,
}

impl SidecarSaw {
    fn rows(&self, prefix: &str) -> Vec<Row> {
        let fields = [
            ("downstream remote", &self.downstream_remote),
            ("downstream local", &self.downstream_local),
            ("upstream local", &self.upstream_local),
            ("upstream host", &self.upstream_host),
            ("flags", &self.flags),
        ];
        fields.into_iter().map(|(name, value)| Row::new(format!("{prefix}sidecar: {name}"), value)).collect()
    }
}

/// One inbound case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cell {
    pub(crate) istio: Istio,
    pub(crate) bound: Bound,
    pub(crate) verdict: Verdict,
    /// How the client's connection ended.
    pub(crate) client: Outcome,
    pub(crate) client_sockname: String,
    pub(crate) client_peername: String,
    pub(crate) sidecar: SidecarSaw,
    /// Peer of the connection the application accepted; `-` when it accepted none.
    pub(crate) app_peer: String,
}

impl Cell {
    fn expected(&self) -> Verdict {
        match (self.istio, self.bound) {
            (Istio::UpTo1_9, Bound::Lo) | (Istio::From1_10, Bound::Eth0) => Verdict::Pong,
            (Istio::UpTo1_9, Bound::Eth0) | (Istio::From1_10, Bound::Lo) => Verdict::Refused,
        }
    }

    pub(crate) fn name(&self) -> String {
        let bound = match self.bound {
            Bound::Lo => "app on lo",
            Bound::Eth0 => "app on eth0",
        };
        format!("{}, {bound}", self.istio.label().trim_end())
    }

    fn rows(&self) -> Vec<Row> {
        let prefix = format!("{}: ", self.name());
        let mut rows = vec![
            Row::new(format!("{prefix}verdict"), self.verdict.label()),
            Row::new(format!("{prefix}client: outcome"), &format!("{:?}", self.client).to_lowercase()),
            Row::new(format!("{prefix}client: getsockname"), &self.client_sockname),
            Row::new(format!("{prefix}client: getpeername"), &self.client_peername),
        ];
        rows.extend(self.sidecar.rows(&prefix));
        rows.push(Row::new(format!("{prefix}app: peer"), &self.app_peer));
        rows
    }
}

/// One call from the pod to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outbound {
    pub(crate) app_sockname: String,
    pub(crate) app_peername: String,
    pub(crate) sidecar: SidecarSaw,
    pub(crate) server_peer: String,
    pub(crate) server_local: String,
}

impl Outbound {
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = vec![
            Row::new("app: getsockname".into(), &self.app_sockname),
            Row::new("app: getpeername".into(), &self.app_peername),
        ];
        rows.extend(self.sidecar.rows(""));
        rows.push(Row::new("server: peer".into(), &self.server_peer));
        rows.push(Row::new("server: own address".into(), &self.server_local));
        rows
    }
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Row {
    fn new(name: String, value: &str) -> Self {
        Self { name, value: value.to_owned() }
    }
}

/// Everything measured under one data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Measured {
    pub(crate) data_plane: String,
    pub(crate) inbound: Vec<Cell>,
    pub(crate) outbound: Outbound,
}

impl Measured {
    pub(crate) fn cell(&self, istio: Istio, bound: Bound) -> Option<&Cell> {
        self.inbound.iter().find(|cell| cell.istio == istio && cell.bound == bound)
    }

    /// All observations of the inbound cases.
    pub(crate) fn inbound_rows(&self) -> Vec<Row> {
        self.inbound.iter().flat_map(Cell::rows).collect()
    }

    /// Cells that do not read what the experiment must show.
    pub(crate) fn unexpected(&self) -> Vec<String> {
        let wrong = self.inbound.iter().filter(|cell| cell.verdict != cell.expected());
        wrong
            .map(|cell| {
                let (got, want) = (cell.verdict.label(), cell.expected().label());
                format!("{}: {}: {got} ({:?}), expected {want}", self.data_plane, cell.name(), cell.client)
            })
            .collect()
    }

    /// Observations that are not the same under both.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let rows = |of: &Self| [of.inbound_rows(), of.outbound.rows()].concat();
        let (ours, theirs) = (rows(self), rows(other));
        let pairs = ours.iter().zip(&theirs).filter(|(a, b)| a != b);
        pairs
            .map(|(a, b)| {
                format!("{}: {} {}, {} {}", a.name, self.data_plane, a.value, other.data_plane, b.value)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saw(upstream_host: &str) -> SidecarSaw {
        let text = |text: &str| text.to_owned();
        SidecarSaw {
            downstream_remote: text("10.10.0.9:a"),
            downstream_local: text("10.10.0.26:8080"),
            upstream_local: text("127.0.0.1:b"),
            upstream_host: text(upstream_host),
            flags: text("-"),
        }
    }

    fn measured(data_plane: &str, verdict: Verdict, upstream_host: &str) -> Measured {
        let cell = Cell {
            istio: Istio::UpTo1_9,
            bound: Bound::Lo,
            verdict,
            client: Outcome::Answered,
            client_sockname: "10.10.0.9:a".to_owned(),
            client_peername: "10.10.0.26:8080".to_owned(),
            sidecar: saw(upstream_host),
            app_peer: "127.0.0.1:b".to_owned(),
        };
        let outbound = Outbound {
            app_sockname: "10.10.0.26:a".to_owned(),
            app_peername: "10.96.7.7:80".to_owned(),
            sidecar: saw("10.96.7.7:80"),
            server_peer: "10.10.0.26:b".to_owned(),
            server_local: "10.96.7.7:80".to_owned(),
        };
        Measured { data_plane: data_plane.to_owned(), inbound: vec![cell], outbound }
    }

    #[test]
    fn equal_measurements_have_no_fault() {
        let (ours, theirs) = (measured("a", Verdict::Pong, "x"), measured("b", Verdict::Pong, "x"));
        assert!(ours.unexpected().is_empty() && ours.differences(&theirs).is_empty());
    }

    #[test]
    fn one_address_that_differs_is_a_fault() {
        let (ours, theirs) = (measured("a", Verdict::Pong, "x"), measured("b", Verdict::Pong, "y"));
        assert_eq!(ours.differences(&theirs), ["Istio <= 1.9, app on lo: sidecar: upstream host: a x, b y"]);
    }

    #[test]
    fn a_cell_that_reads_wrong_is_a_fault_under_both() {
        let ours = measured("a", Verdict::Refused, "x");
        assert_eq!(ours.unexpected(), ["a: Istio <= 1.9, app on lo: refused (Answered), expected pong"]);
    }
}
