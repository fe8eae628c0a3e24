//! From the configuration and the namespace to the tables of the decision. The same value answers the decision in
//! userspace (`explain`, the property tests) and fills the maps.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use proxy_common::{
    addr::Addr,
    policy::{Policy, Table, flag, id_flag, interface_flag, port_flag, range_flag},
    wire::{Route, route_flag},
};

use crate::{
    config::{CidrSet, Config, DnsServers, Mode, OwnerGroups, PortSet},
    network::{Interfaces, RouteEntry, Routes},
};

/// The tables of one workload.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub policy: Policy,
    /// All 65,536 ports, [`port_flag`] bits.
    pub ports: Vec<u8>,
    /// [`id_flag`] bits.
    pub ids: HashMap<u32, u8>,
    /// [`range_flag`] bits, those of covering ranges included.
    pub ranges: BTreeMap<IpNet, u8>,
    /// Named interfaces that exist, with [`interface_flag`] bits.
    pub interfaces: HashMap<u32, u8>,
    pub routes: Vec<(IpNet, Route)>,
}

/// `ipv6`: whether IPv6 rules exist ([`Interfaces::enable_ipv6`]).
pub fn compile(config: &Config, ipv6: bool, interfaces: &Interfaces, routes: &Routes) -> Compiled {
    let ports = ports(config);
    let ids = ids(config);
    let ranges = inherit(ranges(config));
    let interfaces = interface_flags(config, interfaces);
    let routes = route_table(routes, &interfaces);
    let mut policy = scalars(config);
    let outbound = port_flag::OUTBOUND_EXCLUDE | port_flag::OUTBOUND_INCLUDE;
    for (bit, on) in [
        (flag::IPV6, ipv6),
        (flag::RANGES, !ranges.is_empty()),
        (flag::OUTBOUND_PORTS, ports.iter().any(|bits| bits & outbound != 0)),
        (flag::INBOUND_PORTS, ports.iter().any(|bits| bits & !outbound != 0)),
        (flag::INTERFACES, !interfaces.is_empty()),
    ] {
        policy.flags |= if on { bit } else { 0 };
    }
    Compiled { policy, ports, ids, ranges, interfaces, routes }
}

fn scalars(config: &Config) -> Policy {
    let mut flags = 0;
    let dns = config.dns_active();
    // Row T1 returns what carries the mark, and a packet nobody marked carries 0.
    let inbound = config.mode == Mode::Redirect || config.tproxy_mark != 0;
    for (bit, on) in [
        (flag::DNS, dns.is_some()),
        (flag::DNS_ALL, dns.is_some_and(|dns| matches!(dns.servers, DnsServers::All))),
        (flag::TPROXY, config.mode == Mode::Tproxy),
        (flag::INBOUND_ALL, inbound && config.inbound_include == PortSet::All),
        (flag::INBOUND_LIST, inbound && matches!(config.inbound_include, PortSet::List(_))),
        (flag::OUTBOUND_ALL, matches!(config.outbound_include, CidrSet::All)),
        (flag::LOOPBACK_INCLUDED, config.includes_loopback()),
        (flag::GROUPS_EXCEPT, matches!(config.owner_groups, OwnerGroups::Except(_))),
        (flag::GROUPS_ONLY, matches!(config.owner_groups, OwnerGroups::Only(_))),
        (flag::MORE_IDS, config.proxy_uids.len() > 1 || config.proxy_gids.len() > 1),
    ] {
        flags |= if on { bit } else { 0 };
    }
    let loopback = config.loopback_cidr.trunc();
    Policy {
        flags,
        first_uid: config.proxy_uids.first().copied().unwrap_or(u32::MAX),
        first_gid: config.proxy_gids.first().copied().unwrap_or(u32::MAX),
        tproxy_mark: config.tproxy_mark,
        outbound_port: config.ports.outbound,
        inbound_port: config.ports.inbound,
        tunnel_port: config.ports.tunnel,
        dns_port: config.ports.dns,
        loopback_net: loopback.addr().octets(),
        loopback_mask: loopback.netmask().octets(),
    }
}

fn ports(config: &Config) -> Vec<u8> {
    let mut table = vec![0u8; 65536];
    let mut mark = |ports: &[u16], bit: u8| {
        for port in ports {
            table[usize::from(*port)] |= bit;
        }
    };
    mark(&config.outbound_ports_exclude, port_flag::OUTBOUND_EXCLUDE);
    mark(&config.outbound_ports_include, port_flag::OUTBOUND_INCLUDE);
    mark(&config.inbound_exclude, port_flag::INBOUND_EXCLUDE);
    if let PortSet::List(ports) = &config.inbound_include {
        mark(ports, port_flag::INBOUND_INCLUDE);
    }
    table
}

fn ids(config: &Config) -> HashMap<u32, u8> {
    let mut table = HashMap::new();
    let mut mark = |ids: &[u32], bit: u8| {
        for id in ids {
            *table.entry(*id).or_insert(0) |= bit;
        }
    };
    mark(&config.proxy_uids, id_flag::PROXY_UID);
    mark(&config.proxy_gids, id_flag::PROXY_GID);
    mark(&config.owner_groups.gids(), id_flag::GROUP);
    table
}

fn ranges(config: &Config) -> BTreeMap<IpNet, u8> {
    let mut table = BTreeMap::new();
    let mut mark = |net: IpNet, bit: u8| *table.entry(net.trunc()).or_insert(0) |= bit;
    for net in &config.outbound_exclude {
        mark(*net, range_flag::OUTBOUND_EXCLUDE);
    }
    if let CidrSet::List(nets) = &config.outbound_include {
        for net in nets {
            mark(*net, range_flag::OUTBOUND_INCLUDE);
        }
    }
    if let Some(DnsServers::List(servers)) = config.dns_active().map(|dns| &dns.servers) {
        for server in servers {
            mark(IpNet::from(*server), range_flag::DNS_SERVER);
        }
    }
    table
}

/// Gives each range the bits of those that cover it. DNS servers are single hosts and cover nothing.
fn inherit(table: BTreeMap<IpNet, u8>) -> BTreeMap<IpNet, u8> {
    // Ordered by address, then length: a covering range always comes before what it covers.
    let mut sorted: Vec<(IpNet, u8)> = table.into_iter().collect();
    sorted.sort_by_key(|(net, _)| (net.network(), net.prefix_len()));
    let mut covering: Vec<(IpNet, u8)> = Vec::new();
    sorted
        .into_iter()
        .map(|(net, bits)| {
            while covering.last().is_some_and(|(outer, _)| !outer.contains(&net)) {
                covering.pop();
            }
            let all = bits | covering.last().map_or(0, |(_, outer)| *outer);
            covering.push((net, all));
            (net, all)
        })
        .collect()
}

fn interface_flags(config: &Config, interfaces: &Interfaces) -> HashMap<u32, u8> {
    let mut table = HashMap::new();
    for (names, bit) in [
        (&config.exclude_interfaces, interface_flag::EXCLUDED),
        (&config.kube_virt_interfaces, interface_flag::VIRTUAL),
    ] {
        for index in names.iter().filter_map(|name| interfaces.index(name)) {
            *table.entry(index).or_insert(0) |= bit;
        }
    }
    table
}

fn route_table(routes: &Routes, interfaces: &HashMap<u32, u8>) -> Vec<(IpNet, Route)> {
    let entry = |route: &RouteEntry| {
        let by = route.interface.and_then(|index| interfaces.get(&index)).copied().unwrap_or(0);
        let mut flags = 0;
        for (bit, on) in [
            (route_flag::LOCAL, route.local),
            (route_flag::UNREACHABLE, route.unreachable),
            (route_flag::EXCLUDED, by & interface_flag::EXCLUDED != 0),
        ] {
            flags |= if on { bit } else { 0 };
        }
        let src = route.source.map_or(Addr::UNSPECIFIED, Addr::from);
        (route.prefix, Route { src, flags, reserved: [0; 3] })
    };
    routes.entries.iter().map(entry).collect()
}

impl Table for Compiled {
    fn policy(&self) -> Policy {
        self.policy
    }

    fn port(&self, port: u16) -> u8 {
        self.ports[usize::from(port)]
    }

    fn id(&self, id: u32) -> u8 {
        self.ids.get(&id).copied().unwrap_or(0)
    }

    fn range(&self, addr: &Addr) -> u8 {
        let ip = IpAddr::from(*addr);
        let longest = match ip {
            IpAddr::V4(_) => 32u8,
            IpAddr::V6(_) => 128,
        };
        (0..=longest)
            .rev()
            .filter_map(|length| IpNet::new(ip, length).ok())
            .find_map(|net| self.ranges.get(&net.trunc()).copied())
            .unwrap_or(0)
    }
}

impl Compiled {
    /// What the routing table says about an address.
    pub fn route(&self, ip: IpAddr) -> Option<&Route> {
        let covers = self.routes.iter().filter(|(net, _)| net.contains(&ip));
        covers.max_by_key(|(net, _)| net.prefix_len()).map(|(_, route)| route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_inherits_from_those_that_cover_it() {
        let nets =
            [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.2.3/32", 4), ("11.0.0.0/8", 2), ("::/0", 1)];
        let table = inherit(nets.iter().map(|(net, bits)| (net.parse().unwrap(), *bits)).collect());
        let bits = |net: &str| table[&net.parse::<IpNet>().unwrap()];
        assert_eq!([bits("10.0.0.0/8"), bits("10.1.0.0/16"), bits("10.1.2.3/32")], [1, 3, 7]);
        assert_eq!([bits("11.0.0.0/8"), bits("::/0")], [2, 1]);
    }
}
