//! Istio's own checks of annotation values, with its texts: operators search for them.

use std::net::IpAddr;

use super::{
    annotations::Defaults,
    cidr::parse_cidr,
    go_value::{LEADING_ZERO, items, parse_number},
    interfaces::check_name,
    setting::{self, Setting},
};

/// `Err` is the inner text, without the wrapping that names the annotation.
pub(super) type Check = fn(&str) -> Result<(), String>;

pub(super) fn mode(defaults: Defaults) -> Check {
    match defaults {
        Defaults::Injector | Defaults::Agent => |value| match value {
            "REDIRECT" | "TPROXY" | "NONE" => Ok(()),
            _ => Err(format!("interceptionMode invalid, use REDIRECT,TPROXY,NONE: {value}")),
        },
        Defaults::Cni => |value| match value {
            "REDIRECT" | "TPROXY" => Ok(()),
            _ => Err(format!("interceptionMode invalid: {value}")),
        },
    }
}

pub(super) fn include_ranges(defaults: Defaults) -> Check {
    match defaults {
        Defaults::Injector => |value| match value {
            "*" => Ok(()),
            list => cidrs(list).map_err(|reason| format!("includeIPRanges invalid: {reason}")),
        },
        Defaults::Cni | Defaults::Agent => |value| match value {
            "*" => Ok(()),
            list => cidrs(list).map_err(|reason| format!("IPRanges invalid: {reason}")),
        },
    }
}

pub(super) fn exclude_ranges(defaults: Defaults) -> Check {
    match defaults {
        Defaults::Injector => {
            |value| cidrs(value).map_err(|reason| format!("excludeIPRanges invalid: {reason}"))
        }
        Defaults::Cni | Defaults::Agent => cidrs,
    }
}

pub(super) fn inbound_include(defaults: Defaults) -> Check {
    match defaults {
        Defaults::Injector => |value| match value {
            "*" => Ok(()),
            list => injector_ports("includeInboundPorts", list),
        },
        Defaults::Cni | Defaults::Agent => |value| if value == "*" { Ok(()) } else { cni_ports(value) },
    }
}

/// The CNI plugin lets `*` through in the three lists below, and iptables then fails on it; here it fails at once.
pub(super) fn inbound_exclude(defaults: Defaults) -> Check {
    match defaults {
        Defaults::Injector => |value| injector_ports("excludeInboundPorts", value),
        Defaults::Cni | Defaults::Agent => cni_ports,
    }
}

/// The injector does not look at this one: istio-iptables drops empty items, and iptables fails on what is no port.
pub(super) fn outbound_include(defaults: Defaults) -> Check {
    match defaults {
        Defaults::Injector => {
            |value| injector_ports("includeOutboundPorts", &items(value).collect::<Vec<_>>().join(","))
        }
        Defaults::Cni | Defaults::Agent => cni_ports,
    }
}

pub(super) fn outbound_exclude(defaults: Defaults) -> Check {
    match defaults {
        Defaults::Injector => |value| injector_ports("excludeOutboundPorts", value),
        Defaults::Cni | Defaults::Agent => cni_ports,
    }
}

/// The text names another annotation than the faulty one; so does Istio's.
pub(super) fn status_port(value: &str) -> Result<(), String> {
    let reason = |error| format!("excludeInboundPorts invalid: failed parsing port '{value}': {error}");
    port(value).map_err(reason)
}

pub(super) fn interfaces(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Ok(());
    }
    value.split(',').try_for_each(|name| check_name(name.trim(), |first| first.is_ascii_alphabetic()))
}

/// The name the CNI plugin's messages use for the annotation.
pub(super) fn cni_key(setting: &Setting) -> &'static str {
    const KEYS: [(&Setting, &str); 10] = [
        (&setting::MODE, "redirectMode"),
        (&setting::SERVICE_CIDR, "includeIPCidrs"),
        (&setting::SERVICE_EXCLUDE_CIDR, "excludeIPCidrs"),
        (&setting::INBOUND_PORTS, "includeInboundPorts"),
        (&setting::INBOUND_EXCLUDE, "excludeInboundPorts"),
        (&setting::OUTBOUND_PORTS, "includeOutboundPorts"),
        (&setting::OUTBOUND_PORTS_EXCLUDE, "excludeOutboundPorts"),
        (&setting::EXCLUDE_INTERFACES, "excludeInterfaces"),
        (&setting::KUBE_VIRT_INTERFACES, "reroute-virtual-interfaces"),
        (&setting::KUBEVIRT, "kubevirtInterfaces"),
    ];
    let known = KEYS.iter().find(|(known, _)| known.annotation == setting.annotation);
    known.map_or(setting.annotation, |(_, key)| key)
}

pub(super) fn next_step(setting: &Setting) -> &'static str {
    let is = |one: &Setting| one.annotation == setting.annotation;
    if is(&setting::MODE) {
        "write REDIRECT or TPROXY"
    } else if is(&setting::SERVICE_CIDR) {
        "write CIDRs separated by commas, without blanks, or *"
    } else if is(&setting::SERVICE_EXCLUDE_CIDR) {
        "write CIDRs separated by commas, without blanks"
    } else if is(&setting::INBOUND_PORTS) {
        "write ports between 0 and 65535, separated by commas, or *"
    } else if [&setting::EXCLUDE_INTERFACES, &setting::KUBE_VIRT_INTERFACES, &setting::KUBEVIRT]
        .into_iter()
        .any(is)
    {
        "write interface names separated by commas"
    } else {
        "write ports between 0 and 65535, separated by commas"
    }
}

/// No blanks, no empty items: istio-iptables is more lenient than the annotations are.
fn cidrs(list: &str) -> Result<(), String> {
    if list.is_empty() {
        return Ok(());
    }
    list.split(',').try_for_each(|item| {
        let why =
            |_| format!("failed parsing cidr '{item}': netip.ParsePrefix({item:?}): {}", prefix_error(item));
        parse_cidr(item).map(drop).map_err(why)
    })
}

fn prefix_error(text: &str) -> String {
    let Some((address, length)) = text.rsplit_once('/') else { return "no '/'".into() };
    if address.parse::<IpAddr>().is_err() {
        return format!("ParseAddr({address:?}): unable to parse IP");
    }
    let leading_zero = length.len() > 1 && length.starts_with('0');
    match parse_number::<u8>(length) {
        Ok(_) if !leading_zero => "prefix length out of range".into(),
        Err("is out of range") if !leading_zero => "prefix length out of range".into(),
        _ => format!("bad bits after slash: {length:?}"),
    }
}

fn injector_ports(parameter: &str, list: &str) -> Result<(), String> {
    let said = |item: &str, error| format!("failed parsing port '{item}': {error}");
    // Both of Istio's functions wrap the error.
    ports(list).map_err(|(item, error)| format!("{parameter} invalid: {}", said(item, said(item, error))))
}

fn cni_ports(list: &str) -> Result<(), String> {
    ports(list)
        .map_err(|(item, error)| format!("portList {list:?} invalid: failed parsing port {item:?}: {error}"))
}

fn ports(list: &str) -> Result<(), (&str, String)> {
    let list = list.trim();
    if list.is_empty() {
        return Ok(());
    }
    list.split(',').try_for_each(|item| port(item).map_err(|error| (item, error)))
}

/// strconv.ParseUint(strings.TrimSpace(text), 10, 16)
fn port(text: &str) -> Result<(), String> {
    let trimmed = text.trim();
    parse_number::<u16>(trimmed).map(drop).map_err(|reason| {
        let reason = match reason {
            "is out of range" => "value out of range",
            // Go would take it as decimal; iptables, which gets the text, as octal.
            LEADING_ZERO => LEADING_ZERO,
            _ => "invalid syntax",
        };
        format!("strconv.ParseUint: parsing {trimmed:?}: {reason}")
    })
}
