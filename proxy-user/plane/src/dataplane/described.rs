//! How a workload was attached, as `status` says it. The names are those of `sidestep status --output json`; what is pinned
//! ([`Meta`]) may change with the layout, and this does not.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use proxy_core::config::{Acceleration, Config, Observe, PodName};
use serde::Serialize;

use super::{
    attach_options::Sandbox,
    described_json,
    meta::{KnownRoute, Meta},
    readers::Hazardous,
};
use crate::netns::NetnsId;

#[derive(Clone, Debug, Serialize)]
pub struct Described {
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
    pub pod: Option<PodName>,
    /// The sandbox, where the agent has enrolled it.
    pub sandbox: Option<Sandbox>,
    /// Whether IPv6 rules exist.
    pub ipv6: bool,
    /// `::6` on lo is our work: detach takes it away.
    pub added_passthrough6: bool,
    /// Seconds since the epoch.
    pub attached_at: u64,
    /// The same for workloads with the same settings.
    pub config_hash: String,
    #[serde(serialize_with = "described_json::config")]
    pub config: Config,
    pub acceleration: Acceleration,
    /// Why the workload is not accelerated, if it is not.
    pub not_accelerated: Option<String>,
    /// What the self-test found this kernel to do otherwise than stock TCP with sockets in the map.
    pub kernel_differs: Vec<String>,
    /// Programs to which nothing is redirected, as the attach found them.
    pub hazardous: Vec<Hazardous>,
    pub observe: Observe,
    /// Why its connections are not observed, if they are not.
    pub not_observed: Option<String>,
    /// Why turnarounds are not measured though its connections are observed, if they are not.
    pub not_timed: Option<String>,
    /// Why splice(2) is not refused from sockets that are redirected to, though the workload is accelerated, if it is not.
    pub not_guarded: Option<String>,
    /// Its number among the workloads of the node.
    pub slot: u32,
    /// Tells this workload from others that had its name or its slot; a second attach keeps it.
    pub number: u32,
    /// Which of its sets of rules it decides by.
    pub tables: u32,
    /// Which programs it runs: bits of [`proxy_common::workload::feature`].
    pub features: u32,
    /// Bits of [`proxy_common::policy::flag`].
    pub policy_flags: u32,
    /// Its addresses other than loopback ones.
    pub addresses: Vec<IpAddr>,
    /// Named interfaces, by index, with bits of [`proxy_common::policy::interface_flag`].
    #[serde(serialize_with = "described_json::interfaces")]
    pub interfaces: Vec<(u32, u8)>,
    /// Its routing table when somebody last looked.
    #[serde(serialize_with = "described_json::routes")]
    pub routes: Vec<(IpNet, KnownRoute)>,
}

impl From<Meta> for Described {
    fn from(pinned: Meta) -> Self {
        Self {
            config_hash: pinned.settings().hash(),
            version: pinned.version,
            layout: pinned.layout,
            netns: pinned.netns,
            netns_path: pinned.netns_path,
            netns_cookie: pinned.netns_cookie,
            cgroup_path: pinned.cgroup_path,
            cgroup_id: pinned.cgroup_id,
            pod: pinned.pod,
            sandbox: pinned.sandbox,
            ipv6: pinned.ipv6,
            added_passthrough6: pinned.added_passthrough6,
            attached_at: pinned.attached_at,
            config: pinned.config,
            acceleration: pinned.acceleration,
            not_accelerated: pinned.not_accelerated,
            kernel_differs: pinned.kernel_differs,
            hazardous: pinned.hazardous,
            observe: pinned.observe,
            not_observed: pinned.not_observed,
            not_timed: pinned.not_timed,
            not_guarded: pinned.not_guarded,
            slot: pinned.slot,
            number: pinned.number,
            tables: pinned.tables,
            features: pinned.features,
            policy_flags: pinned.policy_flags,
            addresses: pinned.addresses,
            interfaces: pinned.interfaces,
            routes: pinned.routes,
        }
    }
}
