//! The cluster's addresses. They live in namespaces of the cluster's own, so every cluster has the same.

/// 10.244 to 10.252 are the pods' networks.
pub(crate) const MOST_NODES: u8 = 9;
const DNS: [&str; 2] = ["10.96.0.10", "fd00:96::a"];
pub(crate) const API_SERVICE: [&str; 2] = ["10.96.0.1", "fd00:96::1"];
/// A host that belongs to no node: where servers out of the mesh are.
pub(crate) const OUTSIDE: [&str; 2] = ["10.200.0.254", "fd00:200::fe"];

/// One family or both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    pub(crate) dual_stack: bool,
}

impl Network {
    /// IPv4 first, which makes it the cluster's first family.
    fn families(self, four: String, six: String) -> Vec<String> {
        if self.dual_stack { vec![four, six] } else { vec![four] }
    }

    pub(crate) fn node(self, number: u8) -> Vec<String> {
        self.families(address(number), format!("fd00:200::{number}"))
    }

    pub(crate) fn outside(self) -> Vec<String> {
        self.families(OUTSIDE[0].to_owned(), OUTSIDE[1].to_owned())
    }

    /// The network of a node's pods.
    pub(crate) fn pods(self, number: u8) -> Vec<String> {
        self.families(format!("10.{}.0.0/16", 243 + u16::from(number)), format!("fd00:244:{number}::/64"))
    }

    pub(crate) fn services(self) -> Vec<String> {
        self.families("10.96.0.0/16".to_owned(), "fd00:96::/112".to_owned())
    }

    /// The resolvers of pods: the service of CoreDNS.
    pub(crate) fn dns(self) -> Vec<String> {
        self.families(DNS[0].to_owned(), DNS[1].to_owned())
    }

    /// `tests/cluster/dns.yaml`, which is for IPv4 alone, with what the families add to it.
    pub(crate) fn manifest_of_dns(self, manifest: &str) -> String {
        if !self.dual_stack {
            return manifest.to_owned();
        }
        let service = format!("clusterIP: {}", DNS[0]);
        let services =
            format!("{service}, ipFamilyPolicy: RequireDualStack, clusterIPs: [{}, \"{}\"]", DNS[0], DNS[1]);
        let host = format!("{} outside.test\n", OUTSIDE[0]);
        let hosts = format!("{host}        {} outside.test\n", OUTSIDE[1]);
        manifest.replace(&service, &services).replace(&host, &hosts)
    }

    pub(crate) fn default_routes(self) -> Vec<String> {
        self.families("0.0.0.0/0".to_owned(), "::/0".to_owned())
    }
}

pub(crate) fn address(number: u8) -> String {
    format!("10.200.0.{number}")
}

/// With the length of the nodes' network.
pub(crate) fn on_link(address: &str) -> String {
    let length = if address.contains(':') { 64 } else { 24 };
    format!("{address}/{length}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_family_unless_both_are_asked_for() {
        assert_eq!(Network { dual_stack: false }.pods(1), ["10.244.0.0/16"]);
        assert_eq!(Network { dual_stack: true }.pods(9), ["10.252.0.0/16", "fd00:244:9::/64"]);
        let dns = include_str!("../../../tests/cluster/dns.yaml");
        assert_eq!(Network { dual_stack: false }.manifest_of_dns(dns), dns);
        let both = Network { dual_stack: true }.manifest_of_dns(dns);
        assert!(both.contains("clusterIPs: [10.96.0.10, \"fd00:96::a\"]"), "{both}");
        assert!(both.contains("        fd00:200::fe outside.test\n        fallthrough"), "{both}");
        assert_eq!(on_link("fd00:200::1"), "fd00:200::1/64");
    }
}
