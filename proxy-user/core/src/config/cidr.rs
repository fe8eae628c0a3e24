//! Address ranges: what is captured, what is left alone, what counts as loopback.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::{
    fault::ConfigFaults,
    go_value::{items, parse_number},
    setting::{LOOPBACK_CIDR, SERVICE_EXCLUDE_CIDR, Setting},
};

/// Which destination addresses are captured outbound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CidrSet {
    All,
    /// In the given order, host bits kept (Istio prints ranges as they were written). Empty captures nothing.
    List(Vec<IpNet>),
}

impl Default for CidrSet {
    fn default() -> Self {
        CidrSet::List(Vec::new())
    }
}

impl CidrSet {
    /// Reads `""`, `"*"` or a list.
    pub(super) fn parse(setting: &Setting, text: &str, faults: &mut ConfigFaults) -> Self {
        match text.trim() {
            "*" => CidrSet::All,
            list => CidrSet::List(parse_cidrs(setting, list, faults)),
        }
    }

    /// True if the list names a range that starts in loopback, of either family.
    pub fn has_loopback(&self) -> bool {
        match self {
            CidrSet::All => false,
            CidrSet::List(nets) => nets.iter().any(|net| net.addr().to_canonical().is_loopback()),
        }
    }
}

/// Reads the exclude list; `*` there is Istio's one explicit error.
pub(super) fn parse_excluded(text: &str, faults: &mut ConfigFaults) -> Vec<IpNet> {
    if text.trim() == "*" {
        faults.add(SERVICE_EXCLUDE_CIDR.fault(
            text,
            "invalid value for OUTBOUND_IP_RANGES_EXCLUDE",
            "to capture nothing outbound, leave --istio-service-cidr empty instead",
        ));
        return Vec::new();
    }
    parse_cidrs(&SERVICE_EXCLUDE_CIDR, text, faults)
}

pub(super) fn parse_cidrs(setting: &Setting, text: &str, faults: &mut ConfigFaults) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for item in items(text) {
        match parse_cidr(item) {
            Ok(net) => nets.push(net),
            Err(reason) => {
                let next = "write address/prefix-length, for example 10.0.0.0/8 or 2001:db8::/32";
                faults.add_item(setting, item, reason, next);
            }
        }
    }
    nets
}

/// Go's netip.ParsePrefix: the length is required, without sign or leading zero; host bits may be set.
pub(super) fn parse_cidr(text: &str) -> Result<IpNet, String> {
    if text == "*" {
        return Err("stands for everything and cannot be one item of a list".into());
    }
    let Some((address, length)) = text.rsplit_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => format!("has no prefix length, {text}/32 is that one address"),
            Ok(IpAddr::V6(_)) => format!("has no prefix length, {text}/128 is that one address"),
            Err(_) => "is not an address range".into(),
        });
    };
    let address: IpAddr = match address.parse() {
        Ok(address) => address,
        Err(_) if address.contains('%') => return Err("has a zone, which a range cannot have".into()),
        Err(_) => return Err("does not start with an IP address".into()),
    };
    if length.len() > 1 && length.starts_with('0') {
        return Err("has a prefix length with a leading zero".into());
    }
    let length: u8 = parse_number(length).map_err(|reason| format!("has a prefix length that {reason}"))?;
    IpNet::new(address, length).map_err(|_| "has a prefix length longer than its address".into())
}

pub(super) fn default_loopback() -> Ipv4Net {
    Ipv4Net::from(Ipv4Addr::LOCALHOST)
}

/// Reads ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR; the texts are Istio's (ValidateIPv4LoopbackCidr).
pub(super) fn parse_loopback(text: &str, faults: &mut ConfigFaults) -> Ipv4Net {
    let reason = match parse_cidr(text.trim()) {
        Ok(IpNet::V4(net)) if net.addr().is_loopback() && net.prefix_len() >= 8 => return net,
        Ok(IpNet::V4(net)) if net.addr().is_loopback() => {
            format!("expected CIDR {text} to have mask in range [8, 32]; found {}", net.prefix_len())
        }
        Ok(net) => format!("expected valid IPv4 loopback address in CIDR {text}; found {}", net.addr()),
        Err(reason) => format!("failed to parse CIDR: it {reason}"),
    };
    faults.add(LOOPBACK_CIDR.fault(text, reason, "use 127.0.0.1/32 or 127.0.0.0/8"));
    default_loopback()
}
