//! What is read of a workload's description whatever layout the build has that attached it.

use std::path::PathBuf;

use anyhow::Result;
use proxy_common::names::map;
use serde::Deserialize;

use super::{blob, pins::WorkloadPins};
use crate::netns::NetnsId;

/// What every layout's description says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Kept {
    #[serde(default)]
    pub(super) version: String,
    pub(super) layout: u32,
    pub(super) slot: u32,
    pub(super) netns: NetnsId,
    pub(super) netns_path: PathBuf,
    pub(super) netns_cookie: Option<u64>,
    #[serde(default)]
    pub(super) added_passthrough6: bool,
}

impl Kept {
    pub(super) fn read(pins: &WorkloadPins) -> Result<Self> {
        blob::read(&pins.map(map::META))
    }
}
