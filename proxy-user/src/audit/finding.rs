//! What is not as it should be.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{reach::Forward, server::Server};

/// What a finding comes down to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Clients reach what they should not, or not this way.
    Exposed,
    /// Clients do not reach what is there for them.
    Unreachable,
    /// Something is in the sidecar's place.
    Conflict,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Bound to loopback, and the sidecar hands clients to it.
    LoopbackExposed,
    /// Clients come to it without the sidecar.
    AroundSidecar,
    /// The sidecar's own administration is open to clients.
    AdminExposed,
    /// Bound to loopback, where this forwarding mode does not go.
    LoopbackUnreachable,
    /// Bound to an address of the pod, where this forwarding mode does not go.
    PodAddressUnreachable,
    /// Bound to an address that is none of the pod's.
    ForeignAddress,
    /// The rules capture, and no sidecar listens.
    NoSidecar,
    /// An application listens on a port of the sidecar.
    ReservedPort,
    /// An application runs as the sidecar's user or group.
    ProxyIdentity,
}

impl Kind {
    pub const fn class(self) -> Class {
        match self {
            Self::LoopbackExposed | Self::AroundSidecar | Self::AdminExposed => Class::Exposed,
            Self::LoopbackUnreachable
            | Self::PodAddressUnreachable
            | Self::ForeignAddress
            | Self::NoSidecar => Class::Unreachable,
            Self::ReservedPort | Self::ProxyIdentity => Class::Conflict,
        }
    }
}

/// One finding. Its text names the thing, the reason and the next step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    pub class: Class,
    pub kind: Kind,
    /// `tcp 127.0.0.1:8080`, or `pid 12` where no server is meant.
    pub subject: String,
    /// The mode in which it holds; None: in every one.
    pub forward: Option<Forward>,
    pub detail: String,
    pub next: String,
    /// Seen since attach: how often the rows that decide about it did. They count for the whole pod.
    pub seen: BTreeMap<&'static str, u64>,
    /// Connections to the server's port, live and recent, by the way they took.
    pub flows: BTreeMap<&'static str, u64>,
}

impl Finding {
    pub(super) fn about(
        subject: String,
        kind: Kind,
        forward: Option<Forward>,
        detail: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        let (detail, next) = (detail.into(), next.into());
        Self {
            class: kind.class(),
            kind,
            subject,
            forward,
            detail,
            next,
            seen: BTreeMap::new(),
            flows: BTreeMap::new(),
        }
    }

    pub(super) fn of_server(
        server: &Server,
        kind: Kind,
        forward: Option<Forward>,
        detail: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self::about(server.to_string(), kind, forward, detail, next)
    }

    /// With the rows' counts as evidence, those that counted.
    pub(super) fn seen<'a>(
        mut self,
        rules: &BTreeMap<&'static str, u64>,
        rows: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        for row in rows {
            if let Some((name, count)) = rules.get_key_value(row) {
                self.seen.insert(name, *count);
            }
        }
        self
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Exposed => "exposed",
            Self::Unreachable => "unreachable",
            Self::Conflict => "conflict",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<11}  {}", self.class, self.subject)?;
        if let Some(forward) = self.forward {
            write!(f, "  (mode {})", forward.name())?;
        }
        write!(f, "\n  {}\n  next: {}", self.detail, self.next)?;
        if !self.seen.is_empty() {
            let seen: Vec<String> = self.seen.iter().map(|(row, count)| format!("{row} {count}")).collect();
            write!(f, "\n  seen since attach, whole pod: {}", seen.join(", "))?;
        }
        if !self.flows.is_empty() {
            let flows: Vec<String> = self.flows.iter().map(|(way, count)| format!("{count} {way}")).collect();
            write!(f, "\n  live and recent connections to its port: {}", flows.join(", "))?;
        }
        Ok(())
    }
}
