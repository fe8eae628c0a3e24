//! The workload's interfaces, addresses and routes: the same for every case.

use std::net::IpAddr;

use ipnet::IpNet;
use proxy_core::network::{Interface, Interfaces, RouteEntry, Routes};

/// In the order of their indexes, from 1. `vnet0` is where a guest's packets come in.
pub(crate) const INTERFACES: [&str; 4] = ["lo", "eth0", "net1", "vnet0"];

/// Destination, interface, and whether it is delivered here.
const ROUTES: [(&str, &str, bool); 18] = [
    ("0.0.0.0/0", "eth0", false),
    ("10.244.0.0/24", "eth0", false),
    ("10.244.0.2/32", "lo", true),
    ("192.168.77.0/24", "net1", false),
    ("192.168.77.2/32", "lo", true),
    ("172.31.0.0/24", "vnet0", false),
    ("172.31.0.1/32", "lo", true),
    ("127.0.0.0/8", "lo", true),
    ("::/0", "eth0", false),
    ("fd00:244::/64", "eth0", false),
    ("fd00:244::2/128", "lo", true),
    ("fd00:77::/64", "net1", false),
    ("fd00:77::2/128", "lo", true),
    ("fd00:31::/64", "vnet0", false),
    ("fd00:31::1/128", "lo", true),
    ("::1/128", "lo", true),
    ("::6/128", "lo", true),
    ("10.77.0.0/16", "net1", false),
];

/// Addresses of interfaces other than lo.
pub(crate) const OWN: [&str; 6] =
    ["10.244.0.2", "192.168.77.2", "172.31.0.1", "fd00:244::2", "fd00:77::2", "fd00:31::1"];

fn routes() -> impl Iterator<Item = (IpNet, &'static str, bool)> {
    ROUTES.iter().map(|(net, interface, local)| (net.parse().expect("a route"), *interface, *local))
}

/// The interface a packet to `dst` leaves by.
pub(crate) fn out_interface(dst: IpAddr) -> &'static str {
    let covering = routes().filter(|(net, ..)| net.contains(&dst));
    let longest = covering.max_by_key(|(net, ..)| net.prefix_len());
    longest.map(|(_, interface, _)| interface).expect("a default route")
}

pub(crate) fn index(name: &str) -> Option<u32> {
    INTERFACES.iter().zip(1..).find(|(known, _)| **known == name).map(|(_, index)| index)
}

/// As `attach` reads them from a namespace.
pub(crate) fn as_read() -> (Interfaces, Routes) {
    let interfaces =
        INTERFACES.iter().zip(1..).map(|(name, index)| Interface { name: (*name).into(), index });
    let addresses = OWN.iter().map(|address| address.parse().expect("an address")).collect();
    let entries = routes().map(|(prefix, interface, local)| RouteEntry {
        prefix,
        local,
        unreachable: false,
        interface: index(interface),
        source: None,
    });
    (Interfaces { interfaces: interfaces.collect(), addresses }, Routes { entries: entries.collect() })
}
