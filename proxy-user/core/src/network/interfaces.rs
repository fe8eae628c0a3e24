//! Interfaces and addresses.

use std::net::IpAddr;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    pub name: String,
    pub index: u32,
}

/// The interfaces of a namespace, and its addresses.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    pub interfaces: Vec<Interface>,
    /// In the kernel's order, as Istio walks them.
    pub addresses: Vec<IpAddr>,
}

impl Interfaces {
    pub fn index(&self, name: &str) -> Option<u32> {
        self.interfaces.iter().find(|i| i.name == name).map(|i| i.index)
    }

    /// Whether Istio would make IPv6 rules: the first usable address is IPv6, or with dual stack any is.
    /// None: no usable address at all.
    pub fn enable_ipv6(&self, dual_stack: bool) -> Option<bool> {
        let mut usable = self.addresses.iter().filter(|ip| is_usable(ip));
        let first = usable.next()?;
        Some(first.is_ipv6() || (dual_stack && usable.any(IpAddr::is_ipv6)))
    }
}

fn is_usable(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !ip.is_loopback() && !link_local && !ip.is_multicast() && !ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(addresses: &[&str]) -> Interfaces {
        Interfaces {
            interfaces: Vec::new(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn ipv6_rules_follow_the_first_usable_address_or_any_with_dual_stack() {
        assert_eq!(with(&["127.0.0.1", "::1"]).enable_ipv6(true), None);
        assert_eq!(with(&["127.0.0.1", "10.0.0.1", "fd00::1"]).enable_ipv6(false), Some(false));
        assert_eq!(with(&["127.0.0.1", "10.0.0.1", "fd00::1"]).enable_ipv6(true), Some(true));
        assert_eq!(with(&["fe80::1", "fd00::1"]).enable_ipv6(false), Some(true));
    }
}
