//! What sidestep recorded of a pod: how often each rule decided, and what happened besides.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::pod::Pod;
use crate::sidestep;

/// Counters of one workload, from `sidestep status --output json`; what never happened is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Counters {
    pub rules: BTreeMap<String, u64>,
    pub events: BTreeMap<String, u64>,
}

/// The acceleration of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceleration {
    /// Why the workload is not accelerated, if it is not.
    pub reason_if_not: Option<String>,
    /// What the self-test found.
    pub kernel_differs: Vec<String>,
    /// Programs that stay on the stack.
    pub hazardous: Vec<PathBuf>,
    /// By reason; what never happened is absent.
    pub counters: BTreeMap<String, Paths>,
}

/// Sockets, messages and bytes that took one path for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Paths {
    pub sockets: u64,
    pub messages: u64,
    pub bytes: u64,
}

#[derive(Deserialize)]
struct Workload {
    counters: Counters,
    acceleration: BTreeMap<String, Paths>,
    meta: Meta,
}

#[derive(Deserialize)]
struct Meta {
    not_accelerated: Option<String>,
    kernel_differs: Vec<String>,
    hazardous: Vec<Hazardous>,
}

#[derive(Deserialize)]
struct Hazardous {
    program: PathBuf,
}

fn workload(pod: &Pod) -> Result<Workload> {
    let status = sidestep::status_of(pod)?;
    serde_json::from_value(status).context("what sidestep status says of a workload")
}

impl Counters {
    /// Those of `pod`.
    pub fn of_pod(pod: &Pod) -> Result<Self> {
        Ok(workload(pod)?.counters)
    }

    /// Count of a rule ("O15") or an event ("no_listener").
    pub fn of(&self, name: &str) -> u64 {
        self.rules.get(name).or_else(|| self.events.get(name)).copied().unwrap_or(0)
    }
}

impl Acceleration {
    /// That of `pod`.
    pub fn of_pod(pod: &Pod) -> Result<Self> {
        let Workload { meta, acceleration, .. } = workload(pod)?;
        Ok(Self {
            reason_if_not: meta.not_accelerated,
            kernel_differs: meta.kernel_differs,
            hazardous: meta.hazardous.into_iter().map(|it| it.program).collect(),
            counters: acceleration,
        })
    }

    /// What took the path of `reason` ("redirected").
    pub fn of(&self, reason: &str) -> Paths {
        self.counters.get(reason).copied().unwrap_or_default()
    }
}
