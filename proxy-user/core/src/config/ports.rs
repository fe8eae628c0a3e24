//! Ports: the sidecar's own, and the lists that choose traffic.

use proxy_common::dns::AGENT;
use serde::{Deserialize, Serialize};

use super::{
    fault::ConfigFaults,
    go_value::{items, parse_number},
    setting::Setting,
};

/// Where the sidecar listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Envoy's virtualOutbound listener.
    pub outbound: u16,
    /// Envoy's virtualInbound listener.
    pub inbound: u16,
    /// HBONE: reached directly, never redirected. 0 exempts no connection.
    pub tunnel: u16,
    /// The agent's DNS listener; Istio has no flag for it.
    pub dns: u16,
}

/// Which inbound ports are captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortSet {
    #[default]
    None,
    All,
    /// Istio makes the jump to ISTIO_INBOUND for a non-empty text, so `","` is an empty list and not `None`.
    List(Vec<u16>),
}

const PORT_STEP: &str = "write decimal port numbers between 0 and 65535, separated by commas";

impl Default for Ports {
    fn default() -> Self {
        Self { outbound: 15001, inbound: 15006, tunnel: 15008, dns: AGENT }
    }
}

impl PortSet {
    /// Reads `""`, `"*"` or a list.
    pub(super) fn parse(setting: &Setting, text: &str, faults: &mut ConfigFaults) -> Self {
        match text.trim() {
            "" => PortSet::None,
            "*" => PortSet::All,
            list => PortSet::List(parse_ports(setting, items(list), faults)),
        }
    }
}

/// Reads the items of a list of ports. 0 is accepted in a list, as iptables and Istio's webhook accept it.
///
/// istio-iptables pastes the items into `--dport` unchecked, so by accident it also takes what iptables takes there:
/// ranges (`8000:8010`) and service names (`http`). Both are refused: the annotations that feed these flags refuse
/// them too, and a name means a different port on every host.
pub(super) fn parse_ports<'a>(
    setting: &Setting,
    items: impl IntoIterator<Item = &'a str>,
    faults: &mut ConfigFaults,
) -> Vec<u16> {
    let mut ports = Vec::new();
    for item in items {
        match parse_number::<u16>(item) {
            Ok(port) => ports.push(port),
            Err(_) if item == "*" => {
                faults.add_item(setting, item, "is not a port", "list ports, or leave it empty")
            }
            Err(_) if item.contains([':', '-']) => faults.add_item(
                setting,
                item,
                "is a port range, which Istio does not define",
                "list each port, separated by commas",
            ),
            Err(reason) => faults.add_item(setting, item, reason, PORT_STEP),
        }
    }
    ports
}

/// Reads one port that something listens on; `default` stands in for a faulty value.
pub(super) fn parse_listener(setting: &Setting, text: &str, default: u16, faults: &mut ConfigFaults) -> u16 {
    match parse_number::<u16>(text.trim()) {
        Ok(0) => faults.add(setting.fault(
            text,
            "port 0 cannot be listened on",
            "give the sidecar's port, 1 to 65535",
        )),
        Ok(port) => return port,
        Err(reason) => faults.add(setting.fault(text, reason, "give one port, 1 to 65535")),
    }
    default
}
