//! The pod under audit: its rules and its addresses.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Result, ensure};
use proxy_common::{
    ingress::{Ingress, ingress},
    policy::interface_flag,
    verdict::Verdict,
};
use proxy_core::{
    compile::{Compiled, compile},
    network::Interfaces,
};
use proxy_core::{
    config::{Config, PodName},
    exit::{Class, Failure},
};
use proxy_plane::{
    dataplane::{Counters, Meta, WorkloadPins},
    netns::{self, Netns},
};

use super::traffic::Traffic;

const LO: &str = "lo";

/// A pod with its rules, attached or not.
#[derive(Debug)]
pub struct AuditedPod {
    pub config: Config,
    pub(super) tables: Compiled,
    pub(super) interfaces: Interfaces,
    /// None: the rules are those of flags, and nothing is attached.
    pub workload: Option<String>,
    /// The pod of Kubernetes it is, where whoever attached it has said so.
    pub(super) pod: Option<PodName>,
    /// How often each row decided since attach.
    pub(super) rules: BTreeMap<&'static str, u64>,
    pub(super) traffic: Traffic,
}

impl AuditedPod {
    /// An attached workload. `netns` is how the caller reaches its namespace, if not by the path it was attached with.
    pub fn of_pins(pins: &WorkloadPins, netns: Option<&Netns>) -> Result<(Self, Netns)> {
        Self::of_pins_with(pins, netns, Traffic::of(&pins.name()))
    }

    /// The same with connections that were seen already.
    pub(super) fn of_pins_with(
        pins: &WorkloadPins,
        netns: Option<&Netns>,
        traffic: Traffic,
    ) -> Result<(Self, Netns)> {
        let meta = Meta::read(&pins.map(proxy_common::names::map::META))?;
        let path = netns.map_or(meta.netns_path.as_path(), Netns::path);
        let netns = Netns::open(path)?;
        ensure!(
            netns.id() == meta.netns,
            Failure::error(
                Class::Usage,
                format!(
                    "workload {}: {} is another network namespace by now; name it with --netns /proc/<pid>/ns/net of a \
                     process of the pod, or run `sidestep detach` if the pod is gone",
                    pins.name(),
                    path.display()
                )
            )
        );
        let pod = Self {
            tables: meta.compiled(),
            config: meta.config,
            interfaces: netns::interfaces(&netns)?,
            workload: Some(pins.name()),
            rules: Counters::read(meta.slot)?.rules,
            pod: meta.pod,
            traffic,
        };
        Ok((pod, netns))
    }

    /// A pod without rules, as if these were attached.
    pub fn of_config(config: Config, netns: &Netns) -> Result<Self> {
        let interfaces = netns::interfaces(netns)?;
        let Some(ipv6) = interfaces.enable_ipv6(config.dual_stack) else {
            return Err(Failure::error(
                Class::Other,
                format!(
                    "no valid local IP address found in {}: audit after the pod's interface is configured",
                    netns.path().display()
                ),
            ));
        };
        let tables = compile(&config, ipv6, &interfaces, &netns::routes(netns)?);
        Ok(Self::not_attached(config, tables, interfaces))
    }

    pub(super) fn not_attached(config: Config, tables: Compiled, interfaces: Interfaces) -> Self {
        let (rules, traffic) = (BTreeMap::new(), Traffic::default());
        Self { config, tables, interfaces, workload: None, pod: None, rules, traffic }
    }

    /// Addresses clients outside can call: not loopback, not the sidecar's `::6`, not link-local ones, which need an
    /// interface besides.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let outside = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => v6.segments()[..7] != [0; 7] && !v6.is_unicast_link_local(),
        };
        let mut found: Vec<IpAddr> = self.interfaces.addresses.iter().copied().filter(outside).collect();
        found.dedup();
        found
    }

    /// What becomes of a connection from outside to one of the pod's addresses, by each interface it may arrive by. A
    /// virtual interface leads to a guest, which is in the pod.
    pub(super) fn arrivals(&self, tcp: bool, ip: IpAddr, port: u16) -> impl Iterator<Item = (&str, Verdict)> {
        let ways_in = self.interfaces.interfaces.iter().filter(|interface| interface.name != LO);
        ways_in.filter_map(move |interface| {
            let bits = self.tables.interfaces.get(&interface.index).copied().unwrap_or(0);
            let arriving = Ingress { tcp, dst: ip.into(), dport: port, interface: bits };
            let guest = bits & interface_flag::VIRTUAL != 0;
            (!guest).then(|| (interface.name.as_str(), ingress(&self.tables, &arriving)))
        })
    }

    /// Whether a process with these ids counts as the sidecar: its own calls are left alone.
    pub(super) fn is_proxy(&self, uid: u32, gid: u32) -> bool {
        self.config.proxy_uids.contains(&uid) || self.config.proxy_gids.contains(&gid)
    }
}
