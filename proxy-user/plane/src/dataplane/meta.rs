//! Who is attached and how.

use std::{fs, net::IpAddr, os::unix::fs::MetadataExt as _, path::PathBuf};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use proxy_common::{addr::Addr, names::map, wire::Route};
use proxy_core::{
    compile::{Compiled, compile},
    config::{Acceleration, Config, Observe, PodName, Settings},
    network::{Interfaces, Routes},
};
use serde::{Deserialize, Serialize};

use super::{
    attach_options::Sandbox,
    blob,
    pins::{self, WorkloadPins},
    readers::Hazardous,
};
use crate::netns::NetnsId;

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
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
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
    /// Programs to which nothing is redirected, as the attach found them.
    #[serde(default)]
    pub hazardous: Vec<Hazardous>,
    #[serde(default)]
    pub observe: Observe,
    /// Why its connections are not observed, if they are not.
    pub not_observed: Option<String>,
    /// Why turnarounds are not measured though its connections are observed, if they are not.
    #[serde(default)]
    pub not_timed: Option<String>,
    /// Why splice(2) is not refused from sockets that are redirected to, if it is not.
    #[serde(default)]
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
    pub interfaces: Vec<(u32, u8)>,
    /// Its routing table when somebody last looked.
    pub routes: Vec<(IpNet, KnownRoute)>,
}

impl Meta {
    /// Whether the cgroup is still the one that was attached.
    pub fn cgroup_exists(&self) -> bool {
        std::fs::metadata(&self.cgroup_path).is_ok_and(|meta| meta.ino() == self.cgroup_id)
    }

    /// Reads a pinned description.
    pub fn read(path: &std::path::Path) -> Result<Self> {
        blob::read(path)
    }

    /// Pins it in a fresh directory where nobody looks for it ([`WorkloadPins::staging`]), which is returned.
    pub(super) fn stage(&self, pins: &WorkloadPins) -> Result<PathBuf> {
        let stage = pins.staging();
        // One that was killed halfway may have left it.
        pins::remove(&stage)?;
        fs::create_dir(&stage).with_context(|| format!("create {}", stage.display()))?;
        let done = blob::pin(self, map::META, &pins::map_in(&stage, map::META));
        done.inspect_err(|_| drop(pins::remove(&stage)))?;
        Ok(stage)
    }

    /// Puts the one that was staged into the place of the workload's.
    pub(super) fn put_staged(pins: &WorkloadPins) -> Result<()> {
        let pinned = pins.map(map::META);
        fs::rename(pins::map_in(&pins.staging(), map::META), &pinned)
            .with_context(|| format!("rename to {}", pinned.display()))
    }

    /// Takes the place of the pinned one, whose workload's lock the caller has.
    pub(super) fn replace(&self, pins: &WorkloadPins) -> Result<()> {
        let stage = self.stage(pins)?;
        let done = Self::put_staged(pins);
        pins::remove(&stage)?;
        done
    }

    /// How people call it: by its pod, where that is known.
    pub fn called(&self, pins: &WorkloadPins) -> String {
        self.pod.as_ref().map_or_else(|| pins.name(), ToString::to_string)
    }

    /// Nobody has to say again which pod it is.
    pub(super) fn is_still(&mut self, old: &Self) {
        self.pod = self.pod.take().or_else(|| old.pod.clone());
        self.sandbox = self.sandbox.take().or_else(|| old.sandbox.clone());
    }

    /// What its user has decided.
    pub fn settings(&self) -> Settings<'_> {
        Settings {
            pod: self.pod.as_ref(),
            config: &self.config,
            acceleration: &self.acceleration,
            observe: self.observe,
        }
    }

    /// The same workload with other rules, which are made from these routes.
    pub(super) fn with_rules(self, compiled: &Compiled, routes: &Routes) -> Self {
        Self {
            policy_flags: compiled.policy.flags,
            addresses: routes.own_addresses(),
            interfaces: compiled.interfaces.iter().map(|(index, bits)| (*index, *bits)).collect(),
            routes: compiled.routes.iter().map(|(net, route)| (*net, route.into())).collect(),
            ..self
        }
    }

    /// The rules its decisions are made by, as they were compiled.
    pub fn compiled(&self) -> Compiled {
        let mut compiled = compile(&self.config, self.ipv6, &Interfaces::default(), &Routes::default());
        compiled.policy.flags = self.policy_flags;
        compiled.interfaces = self.interfaces.iter().copied().collect();
        compiled.routes = self.routes.iter().map(|(net, route)| (*net, Route::from(route))).collect();
        compiled
    }
}

/// What the routing table said about a prefix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KnownRoute {
    /// None: the destination itself.
    pub(super) source: Option<IpAddr>,
    /// Bits of [`proxy_common::wire::route_flag`].
    pub(super) flags: u8,
}

impl From<&KnownRoute> for Route {
    fn from(known: &KnownRoute) -> Self {
        let src = known.source.map_or(Addr::UNSPECIFIED, Addr::from);
        Self { src, flags: known.flags, reserved: [0; 3] }
    }
}

impl From<&Route> for KnownRoute {
    fn from(route: &Route) -> Self {
        let source = (route.src != Addr::UNSPECIFIED).then(|| IpAddr::from(route.src));
        Self { source, flags: route.flags }
    }
}
