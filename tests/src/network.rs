//! The usual network of a test: a workload pod, and the outside it reaches over its eth0.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Result;

use crate::pod::Pod;
use crate::veth::{self, End};

/// Addresses of both sides: IPv4 in a /24, IPv6 in a /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub pod4: Ipv4Addr,
    pub pod6: Ipv6Addr,
    pub outside4: Ipv4Addr,
    pub outside6: Ipv6Addr,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            pod4: Ipv4Addr::new(10, 10, 0, 26),
            pod6: Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0x26),
            outside4: Ipv4Addr::new(10, 10, 0, 9),
            outside6: Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0x9),
        }
    }
}

/// Prefixes the outside answers for by default: service addresses that belong to nobody else.
pub const SERVICES: [&str; 2] = ["10.96.0.0/16", "fd00:96::/64"];

/// A pod behind its eth0. Two networks never share anything, also with identical addresses.
#[derive(Clone, Debug)]
pub struct Network {
    /// The workload: sidecar and application.
    pub pod: Pod,
    /// Everything else: clients of the pod and the services it calls.
    pub outside: Pod,
    pub addresses: Addresses,
}

impl Network {
    /// A network with the default addresses.
    pub fn new(name: &str) -> Result<Self> {
        let network = Self::with_addresses(name, Addresses::default())?;
        network.outside.mark_alike();
        Ok(network)
    }

    /// A network whose addresses no other of this process has: for two workloads that know each other by them, as pods of a
    /// node do, while other tests have theirs there.
    pub fn with_own_addresses(name: &str) -> Result<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let six = |last| Ipv6Addr::new(0xfd00, 0x11, 0, u16::from(count), 0, 0, 0, last);
        let addresses = Addresses {
            pod4: Ipv4Addr::new(10, 11, count, 26),
            pod6: six(0x26),
            outside4: Ipv4Addr::new(10, 11, count, 9),
            outside6: six(0x9),
        };
        Self::with_addresses(name, addresses)
    }

    /// A network with these addresses, default routes both ways, `::6` on the pod's lo as Istio has it, and
    /// [`SERVICES`] answered by the outside.
    pub fn with_addresses(name: &str, addresses: Addresses) -> Result<Self> {
        let pod = Pod::new(name)?;
        let outside = Pod::new(&format!("{name}-outside"))?;
        let Addresses { pod4, pod6, outside4, outside6 } = addresses;
        veth::connect(
            End { pod: &pod, name: "eth0", addresses: &[format!("{pod4}/24"), format!("{pod6}/64")] },
            End {
                pod: &outside,
                name: "veth0",
                addresses: &[format!("{outside4}/24"), format!("{outside6}/64")],
            },
        )?;
        pod.ip(&format!(
            "addr add ::6/128 dev lo nodad\nroute add default via {outside4}\nroute add default via {outside6}\n"
        ))?;
        let network = Self { pod, outside, addresses };
        for prefix in SERVICES {
            network.answer_for(prefix)?;
        }
        Ok(network)
    }

    /// Makes every address of `prefix` local to the outside, so that its servers on 0.0.0.0 or `[::]` answer there.
    pub fn answer_for(&self, prefix: &str) -> Result<()> {
        self.outside.ip(&format!("route add local {prefix} dev lo\n"))
    }

    /// The pod's IPv4 address with `port`.
    pub fn pod4(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.addresses.pod4), port)
    }

    /// The pod's IPv6 address with `port`.
    pub fn pod6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.addresses.pod6), port)
    }

    /// The outside's IPv4 address with `port`.
    pub fn outside4(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.addresses.outside4), port)
    }

    /// The outside's IPv6 address with `port`.
    pub fn outside6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.addresses.outside6), port)
    }
}
