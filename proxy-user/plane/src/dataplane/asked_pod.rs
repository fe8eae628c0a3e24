//! An attached workload as a pod to ask about connections.

use anyhow::{Context, Result};
use proxy_common::names::map;
use proxy_core::explain::Pod;

use super::{meta::Meta, pins::WorkloadPins};
use crate::netns::{self, Netns};

/// The workload's own tables, from its pins. `netns` is looked at for interface names only.
pub fn asked_pod(pins: &WorkloadPins, netns: Option<&Netns>) -> Result<Pod> {
    let meta = Meta::read(&pins.map(map::META))
        .with_context(|| format!("workload {}: run `sidestep attach` again", pins.name()))?;
    let tables = meta.compiled();
    let interfaces = match netns {
        Some(netns) => Some(netns::interfaces(netns)?),
        None => Netns::open(&meta.netns_path)
            .ok()
            .filter(|netns| netns.id() == meta.netns)
            .and_then(|netns| netns::interfaces(&netns).ok()),
    };
    Ok(Pod::of_workload(pins.name(), meta.config, tables, interfaces))
}
