//! Who is attached and how: JSON in a pinned map, because a bpffs holds no files.

use std::{net::IpAddr, os::unix::fs::MetadataExt as _, path::PathBuf};

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use proxy_common::wire::MetaChunk;
use serde::{Deserialize, Serialize};

use super::{acceleration::Acceleration, observation::Observe, readers::Hazardous};
use crate::{
    config::{Config, PodName},
    netns::NetnsId,
};

const CHUNK: usize = size_of::<MetaChunk>();

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// Version of sidestep that attached.
    pub version: String,
    /// Version of the maps' layout; another one is not re-used.
    pub layout: u32,
    pub netns: NetnsId,
    pub netns_path: PathBuf,
    pub netns_cookie: Option<u64>,
    pub cgroup_path: PathBuf,
    pub cgroup_id: u64,
    /// The pod of Kubernetes it is, where the one who attached has said so.
    #[serde(default)]
    pub pod: Option<PodName>,
    /// Whether IPv6 rules exist.
    pub ipv6: bool,
    /// `::6` on lo is our work: detach takes it away.
    #[serde(default)]
    pub added_passthrough6: bool,
    /// Seconds since the epoch.
    pub attached_at: u64,
    pub config: Config,
    pub acceleration: Acceleration,
    /// Why the workload is not accelerated, if it is not.
    pub not_accelerated: Option<String>,
    /// What the self-test found this kernel to do otherwise than stock TCP with sockets in the map.
    #[serde(default)]
    pub kernel_differs: Vec<String>,
    /// Programs whose connections stay on the stack, as the attach found them.
    #[serde(default)]
    pub hazardous: Vec<Hazardous>,
    #[serde(default)]
    pub observe: Observe,
    /// Why its connections are not observed, if they are not.
    pub not_observed: Option<String>,
    /// Its number among the workloads of the node.
    pub slot: u32,
    /// Its addresses other than loopback ones.
    pub addresses: Vec<IpAddr>,
}

impl Meta {
    /// Raised when a state map's key, value or meaning changes.
    pub const LAYOUT: u32 = 6;

    /// Whether the cgroup is still the one that was attached.
    pub fn cgroup_exists(&self) -> bool {
        std::fs::metadata(&self.cgroup_path).is_ok_and(|meta| meta.ino() == self.cgroup_id)
    }

    pub(super) fn to_chunks(&self) -> Result<Vec<MetaChunk>> {
        let json = serde_json::to_vec(self).context("encode the workload's description")?;
        Ok(json
            .chunks(CHUNK)
            .map(|piece| {
                let mut chunk = [0u8; CHUNK];
                chunk[..piece.len()].copy_from_slice(piece);
                chunk
            })
            .collect())
    }

    /// Reads a pinned description.
    pub fn read(path: &std::path::Path) -> Result<Self> {
        let data = MapData::from_pin(path).with_context(|| format!("open {}", path.display()))?;
        let chunks: Array<_, MetaChunk> =
            Array::try_from(Map::Array(data)).context("read the description")?;
        let mut json = Vec::new();
        for chunk in chunks.iter() {
            json.extend_from_slice(&chunk.context("read the description")?);
        }
        let end = json.iter().position(|byte| *byte == 0).unwrap_or(json.len());
        serde_json::from_slice(&json[..end]).context("decode the workload's description")
    }
}
