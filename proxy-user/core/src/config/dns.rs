//! DNS capture: whether, and for which servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{
    accounts::Host,
    fault::{ConfigFaults, Fault},
    setting::{DNS_SERVER, REDIRECT_DNS},
};

/// DNS capture is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsCapture {
    pub servers: DnsServers,
}

/// The servers whose port 53 is captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsServers {
    /// Any address (`--capture-all-dns`; the CNI always).
    All,
    List(Vec<IpAddr>),
}

impl DnsServers {
    pub fn is_none(&self) -> bool {
        matches!(self, DnsServers::List(servers) if servers.is_empty())
    }

    /// The servers of one family, in order.
    pub fn v4(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.listed().iter().filter_map(|server| match server {
            IpAddr::V4(server) => Some(*server),
            IpAddr::V6(_) => None,
        })
    }

    /// The servers of one family, in order.
    pub fn v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.listed().iter().filter_map(|server| match server {
            IpAddr::V4(_) => None,
            IpAddr::V6(server) => Some(*server),
        })
    }

    fn listed(&self) -> &[IpAddr] {
        match self {
            DnsServers::All => &[],
            DnsServers::List(servers) => servers,
        }
    }
}

/// Settles the servers: everything, the `--dns-server` values, or what resolv.conf says, in this order.
pub(super) fn servers(
    capture_all: bool,
    given: &[&str],
    host: &dyn Host,
    faults: &mut ConfigFaults,
) -> DnsServers {
    let given = parse_given(given, faults);
    if capture_all {
        return DnsServers::All;
    }
    if let Some(servers) = given {
        return DnsServers::List(servers);
    }
    match host.resolv_conf() {
        Ok(text) => DnsServers::List(parse_resolv_conf(&text)),
        Err(error) => {
            faults.add(REDIRECT_DNS.fault(
                "true",
                format!("failed to load /etc/resolv.conf: {error}"),
                "name the servers with --dns-server IP (or none), or give --capture-all-dns",
            ));
            DnsServers::List(Vec::new())
        }
    }
}

/// The servers of a resolv.conf text, in order. As the C and Go resolvers read it: one `nameserver` a line, further
/// words ignored, `#` and `;` start comment lines; what is no address is skipped. A zone (`fe80::1%eth0`) is cut off:
/// sockets connect to the address.
pub fn parse_resolv_conf(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next().filter(|word| *word == "nameserver")?;
            let address = words.next()?;
            address.split_once('%').map_or(address, |(address, _)| address).parse().ok()
        })
        .collect()
}

fn parse_given(given: &[&str], faults: &mut ConfigFaults) -> Option<Vec<IpAddr>> {
    if given.is_empty() {
        return None;
    }
    let mut servers = Vec::new();
    for text in given {
        match text.trim().parse() {
            Ok(server) => servers.push(server),
            Err(_) if text.trim() == "none" && given.len() == 1 => {}
            Err(_) => faults.add(given_fault(text)),
        }
    }
    Some(servers)
}

fn given_fault(text: &str) -> Fault {
    if text.trim() == "none" {
        let reason = "\"none\" stands for an empty list and was given next to servers";
        return DNS_SERVER.fault(text, reason, "give either none or addresses");
    }
    DNS_SERVER.fault(text, "is not an IP address", "give the server's IPv4 or IPv6 address, or none")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::parse_resolv_conf;

    #[rstest]
    #[case::usual("nameserver 127.0.0.53\noptions edns0\n", &["127.0.0.53"])]
    #[case::both("nameserver 1.1.1.1\r\n\tnameserver\t::1 # local\n", &["1.1.1.1", "::1"])]
    #[case::zone("nameserver fe80::1%eth0", &["fe80::1"])]
    #[case::comments("#nameserver 1.1.1.1\n; nameserver 1.1.1.1\n", &[])]
    #[case::broken("nameserver\nnameserver x\nnameservers 1.1.1.1\n", &[])]
    fn resolv_conf(#[case] text: &str, #[case] expected: &[&str]) {
        let found: Vec<String> = parse_resolv_conf(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
}
