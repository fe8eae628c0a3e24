//! Where a question is asked: in a pod described by flags, or in an attached workload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use ipnet::IpNet;
use proxy_common::wire::Route;

use crate::{
    compile::{Compiled, compile},
    config::Config,
    exit::{Class, Failure},
    network::{Interface, Interfaces, RouteEntry, Routes},
};

const LO: u32 = 1;
const ETH0: &str = "eth0";

/// The tables to decide by, and what is known of the interfaces.
#[derive(Debug)]
pub struct Pod {
    pub config: Config,
    pub tables: Compiled,
    /// None: a pod that only flags describe.
    pub workload: Option<String>,
    /// None: the namespace of the workload could not be looked at.
    interfaces: Option<Interfaces>,
}

impl Pod {
    /// A pod with these addresses, lo, and one way out: `interface`, eth0 unless said. Without addresses there are
    /// IPv6 rules if dual stack is asked for; with them, if Istio would make some.
    pub fn of_flags(config: Config, pod_ips: &[IpAddr], interface: Option<&str>) -> Self {
        let way_out = interface.unwrap_or(ETH0);
        let interfaces = imagined_interfaces(&config, pod_ips, way_out);
        let routes = imagined_routes(pod_ips, interfaces.index(way_out));
        let ipv6 = interfaces.enable_ipv6(config.dual_stack).unwrap_or(config.dual_stack);
        let tables = compile(&config, ipv6, &interfaces, &routes);
        Self { config, tables, workload: None, interfaces: Some(interfaces) }
    }

    /// An attached workload: the tables it has, and its interfaces where its namespace could be looked at.
    pub fn of_workload(
        name: String,
        config: Config,
        tables: Compiled,
        interfaces: Option<Interfaces>,
    ) -> Self {
        Self { config, tables, workload: Some(name), interfaces }
    }

    /// What the routing table says about an address.
    pub fn route(&self, ip: IpAddr) -> Option<&Route> {
        self.tables.route(ip)
    }

    /// Delivered in the pod itself.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.route(ip).is_some_and(Route::is_local)
    }

    /// Bits of the interface a connection arrives by.
    pub(super) fn arrival(&self, name: Option<&str>) -> Result<u8> {
        let Some(interfaces) = &self.interfaces else {
            return match name {
                None => self.anonymous_arrival(),
                Some(name) => Err(usage(format!(
                    "--interface {name}: this workload's namespace is not reachable by the path it was attached \
                     with; name it with --netns PATH"
                ))),
            };
        };
        let name = match name {
            Some(name) => name,
            None if self.workload.is_none() => ETH0,
            None => return self.anonymous_arrival(),
        };
        match interfaces.index(name) {
            Some(index) => Ok(self.tables.interfaces.get(&index).copied().unwrap_or(0)),
            // Flags describe a pod in which every interface exists.
            None if self.workload.is_none() => Ok(0),
            None => {
                let names: Vec<&str> = interfaces.interfaces.iter().map(|i| i.name.as_str()).collect();
                Err(usage(format!(
                    "--interface {name}: the workload has no such interface; it has {}",
                    names.join(", ")
                )))
            }
        }
    }

    fn anonymous_arrival(&self) -> Result<u8> {
        if self.tables.interfaces.is_empty() {
            return Ok(0);
        }
        Err(usage(
            "this workload has rules about interfaces: say by which one the connection arrives, with --interface NIC"
                .to_owned(),
        ))
    }
}

fn usage(message: String) -> anyhow::Error {
    Failure::error(Class::Usage, message)
}

fn imagined_interfaces(config: &Config, pod_ips: &[IpAddr], way_out: &str) -> Interfaces {
    let mut interfaces = vec![Interface { name: "lo".into(), index: LO }];
    let named = config.exclude_interfaces.iter().chain(&config.kube_virt_interfaces);
    for name in [ETH0, way_out].into_iter().chain(named.map(String::as_str)) {
        if !interfaces.iter().any(|known| known.name == name) {
            let index = LO + interfaces.len() as u32;
            interfaces.push(Interface { name: name.to_owned(), index });
        }
    }
    Interfaces { interfaces, addresses: pod_ips.to_vec() }
}

/// Loopback, ::6 as Istio puts it on lo, the pod's addresses, and everything else by `way_out`.
fn imagined_routes(pod_ips: &[IpAddr], way_out: Option<u32>) -> Routes {
    let local = |prefix: IpNet, source: IpAddr| RouteEntry {
        prefix,
        local: true,
        unreachable: false,
        interface: Some(LO),
        source: Some(source),
    };
    let v4: IpAddr = Ipv4Addr::UNSPECIFIED.into();
    let v6: IpAddr = Ipv6Addr::UNSPECIFIED.into();
    let mut entries = Vec::new();
    for any in [v4, v6] {
        entries.extend(IpNet::new(any, 0).map(|prefix| RouteEntry {
            prefix,
            local: false,
            unreachable: false,
            interface: way_out,
            source: pod_ips.iter().copied().find(|ip| ip.is_ipv4() == any.is_ipv4()),
        }));
    }
    let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
    entries.extend(IpNet::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8).map(|net| local(net, loopback)));
    let hosts = [Ipv6Addr::LOCALHOST.into(), Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into()];
    entries.extend(hosts.iter().chain(pod_ips).map(|ip| local(IpNet::from(*ip), *ip)));
    Routes { entries }
}
