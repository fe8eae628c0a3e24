//! One line of the history: `docs/schema/history.json`.

use std::{
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use proxy_core::config::{Change, PodName};
use serde::{Deserialize, Serialize};

/// Raised when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;
/// Letters of a reason: what a kernel's verifier says may be long.
const LONGEST: usize = 400;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub schema: u32,
    /// Microseconds since the epoch.
    pub time: u64,
    /// As `status` names it.
    pub workload: String,
    /// Of the pod it is, where that is known.
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub action: Action,
    pub by: Actor,
    /// Of the settings it has from now on, or had at last.
    pub config_hash: Option<String>,
    pub changes: Vec<Change>,
    pub given_up: Vec<GivenUp>,
    /// Who had attached it before, where that was another version.
    pub from: Option<Predecessor>,
    /// Why it was detached, where nobody asked for that; how long it is paused, which port is captured.
    pub reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Attached,
    /// Attached again with other settings.
    Changed,
    /// Attached again with the same.
    Renewed,
    /// Its addresses, routes or interfaces are others.
    Refreshed,
    /// From another version, or another layout of the pins.
    TakenOver,
    Detached,
    /// Nothing of it is redirected for a while.
    Paused,
    /// A pause was ended early.
    Resumed,
    /// What it sends and is sent is shown to somebody.
    Captured,
}

impl Action {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Changed => "changed",
            Self::Renewed => "renewed",
            Self::Refreshed => "refreshed",
            Self::TakenOver => "taken over",
            Self::Detached => "detached",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Captured => "captured",
        }
    }
}

/// Who did it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Actor {
    /// `agent`, or the verb of the command line.
    pub who: String,
    pub pid: u32,
    pub version: String,
    pub commit: String,
}

/// A part of what was asked for that the workload does without.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GivenUp {
    pub what: String,
    pub reason: String,
}

impl GivenUp {
    pub(crate) fn new(what: &str, reason: &str) -> Self {
        Self { what: what.to_owned(), reason: reason.chars().take(LONGEST).collect() }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Predecessor {
    pub version: String,
    pub layout: u32,
}

static ACTING: OnceLock<(String, String)> = OnceLock::new();

/// Says once what this process is, and what commit it is built from.
pub fn acting_as(who: &str, commit: &str) {
    // The first word stands.
    let _ = ACTING.set((who.to_owned(), commit.to_owned()));
}

impl Actor {
    fn this() -> Self {
        let unsaid = || ("unknown".to_owned(), String::new());
        let (who, commit) = ACTING.get().cloned().unwrap_or_else(unsaid);
        Self { who, pid: std::process::id(), version: env!("CARGO_PKG_VERSION").to_owned(), commit }
    }
}

impl Entry {
    /// What this process has done now.
    pub(crate) fn now(workload: String, pod: Option<&PodName>, action: Action) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            schema: SCHEMA,
            time: u64::try_from(now.as_micros()).unwrap_or(u64::MAX),
            workload,
            namespace: pod.map(|pod| pod.namespace.clone()),
            pod: pod.map(|pod| pod.name.clone()),
            action,
            by: Actor::this(),
            config_hash: None,
            changes: Vec::new(),
            given_up: Vec::new(),
            from: None,
            reason: None,
        }
    }

    /// Whether `name` is its workload, or its pod as NAMESPACE/NAME.
    pub fn is_of(&self, name: &str) -> bool {
        self.workload == name || self.pod_name().is_some_and(|pod| pod == name)
    }

    /// NAMESPACE/NAME.
    pub fn pod_name(&self) -> Option<String> {
        Some(format!("{}/{}", self.namespace.as_ref()?, self.pod.as_ref()?))
    }
}
