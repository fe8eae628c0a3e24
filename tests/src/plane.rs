//! The two data planes under one name, for tests that hold one against the other.

use anyhow::Result;

use crate::iptables::{self, Backend};
use crate::network::Network;
use crate::requirement::{Requirement, met};
use crate::sidestep::Sidestep;

/// What redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// The rules `sidestep rules` prints for the flags, and in TPROXY mode the routing Istio adds to them.
    Iptables,
    Sidestep,
}

/// A network with a data plane underneath.
#[derive(Debug)]
pub struct Planed {
    pub network: Network,
    pub plane: Plane,
    sidestep: Option<Sidestep>,
}

impl Plane {
    /// A new network with this data plane for `flags`, IPv4 and IPv6. None, after saying why, if the machine cannot.
    pub fn network(self, name: &str, flags: &[&str]) -> Option<Planed> {
        let tools = [Requirement::Iptables(Backend::Nft), Requirement::Sidestep];
        if !met(&[Requirement::Root, Requirement::Cgroup2]) || !met(&tools) {
            return None;
        }
        let network = Network::new(name).expect("make the network");
        let sidestep = self.apply(&network, flags).expect("apply the data plane");
        Some(Planed { network, plane: self, sidestep })
    }

    /// Puts this data plane under `network`.
    pub fn apply(self, network: &Network, flags: &[&str]) -> Result<Option<Sidestep>> {
        let flags: Vec<&str> = flags.iter().copied().chain(["--dual-stack"]).collect();
        if self == Self::Sidestep {
            return Sidestep::attach(&network.pod, &flags).map(Some);
        }
        iptables::apply(&network.pod, &iptables::rules_for(&flags)?, Backend::Nft)?;
        if flags.contains(&"TPROXY") {
            for (family, everything) in [("-4", "0.0.0.0/0"), ("-6", "::/0")] {
                let ip = |line: &str| network.pod.command("ip").arg(family).args(line.split(' ')).run();
                ip("rule add fwmark 1337 lookup 133")?;
                ip(&format!("route add local {everything} dev lo table 133"))?;
            }
        }
        Ok(None)
    }
}

impl Planed {
    /// The attached workload, if it is sidestep's.
    pub fn sidestep(&self) -> Option<&Sidestep> {
        self.sidestep.as_ref()
    }

    /// How often sidestep counted an event; 0 under iptables.
    pub fn event(&self, name: &str) -> u64 {
        self.sidestep.as_ref().map_or(0, |sidestep| sidestep.event(name).expect("read the counters"))
    }
}
