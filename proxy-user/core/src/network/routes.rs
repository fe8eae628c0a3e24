//! The routing table as the decision needs it: for each prefix, whether it is local, by which interface it leaves, and
//! which source the kernel would choose.

use std::net::IpAddr;

use ipnet::IpNet;

/// What the kernel answers for a prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteEntry {
    pub prefix: IpNet,
    pub local: bool,
    pub unreachable: bool,
    /// Index of the interface it leaves by.
    pub interface: Option<u32>,
    /// The source an unbound socket gets.
    pub source: Option<IpAddr>,
}

#[derive(Clone, Debug, Default)]
pub struct Routes {
    pub entries: Vec<RouteEntry>,
}

impl Routes {
    /// Local host addresses but loopback and link-local ones: where other pods reach this one.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        let host =
            |entry: &&RouteEntry| entry.local && entry.prefix.prefix_len() == entry.prefix.max_prefix_len();
        let elsewhere = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => {
                !v6.is_loopback() && !v6.is_unicast_link_local() && v6.segments()[..7] != [0; 7]
            }
        };
        self.entries.iter().filter(host).map(|entry| entry.prefix.addr()).filter(elsewhere).collect()
    }
}
