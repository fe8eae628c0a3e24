//! Pod annotations: what the sidecar injector or the CNI plugin would make of them.
//!
//! Both turn annotations into istio-iptables settings, with different checks and defaults. So does this: the checks
//! and their texts are Istio's (pkg/kube/inject/validate.go, cni/pkg/plugin/sidecar_redirect.go), the rest is done by
//! [`IstioFlags::resolve`]. `proxy.istio.io/config` is not read: what matters of it (proxyMetadata) arrives as the
//! environment of the sidecar.

use std::collections::{BTreeMap, HashSet};

use tracing::warn;

use super::{
    Config, Environment, Host, IstioFlags,
    annotation_checks::{self as checks, Check},
    fault::{ConfigFaults, Fault},
    go_value::{items, parse_bool},
};

pub(super) const MODE: &str = "sidecar.istio.io/interceptionMode";
pub(super) const INCLUDE_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
pub(super) const EXCLUDE_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
pub(super) const INCLUDE_INBOUND: &str = "traffic.sidecar.istio.io/includeInboundPorts";
pub(super) const EXCLUDE_INBOUND: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
pub(super) const INCLUDE_OUTBOUND: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
pub(super) const EXCLUDE_OUTBOUND: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
pub(super) const EXCLUDE_INTERFACES: &str = "traffic.sidecar.istio.io/excludeInterfaces";
pub(super) const REROUTE: &str = "istio.io/reroute-virtual-interfaces";
pub(super) const KUBEVIRT: &str = "traffic.sidecar.istio.io/kubevirtInterfaces";
pub(super) const STATUS_PORT: &str = "status.sidecar.istio.io/port";
const INJECT: &str = "sidecar.istio.io/inject";
const STATUS: &str = "sidecar.istio.io/status";

/// Whose defaults and checks apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// The sidecar injector with istio-init.
    Injector,
    /// The CNI plugin.
    Cni,
}

/// What the annotations ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interception {
    Capture(Box<Config>),
    /// interceptionMode NONE: do not attach.
    None,
}

/// What else the pod says about its sidecar.
#[derive(Clone, Debug, Default)]
pub struct ProxySettings {
    /// runAsUser and runAsGroup of istio-proxy; absent and 0 mean 1337.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// The environment of istio-proxy.
    pub env: BTreeMap<String, String>,
    /// What no annotation says: ports, marks, DNS, owners. Flags that annotations do say are ignored here.
    pub flags: IstioFlags,
}

/// Why a pod has no sidecar to redirect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptOut {
    /// sidecar.istio.io/inject says false.
    InjectFalse,
    /// The injector never wrote sidecar.istio.io/status.
    NotInjected,
}

/// Reads the annotations of a pod; `host` serves the pod's group names and resolv.conf.
pub fn from_annotations(
    annotations: &BTreeMap<String, String>,
    defaults: Defaults,
    proxy: &ProxySettings,
    host: &dyn Host,
) -> Result<Interception, ConfigFaults> {
    let mut reader = Reader { annotations, defaults, faults: ConfigFaults::default() };
    let mode = reader.get(MODE, "REDIRECT", checks::mode(defaults));
    if mode == "NONE" {
        // The injector still validates the other annotations before it leaves the init container out.
        let _ = reader.flags(mode, proxy);
        return reader.faults.or(Interception::None);
    }
    let flags = reader.flags(mode, proxy);
    // The CNI plugin reads the sidecar's variables one by one; istio-init has them as its own environment.
    let env = match defaults {
        Defaults::Injector => Environment::from_iter(proxy.env.clone()),
        Defaults::Cni => Environment::default(),
    };
    match flags.resolve(&env, host) {
        Ok(resolved) => reader.faults.or(Interception::Capture(Box::new(resolved.config))),
        Err(ConfigFaults(faults)) => {
            reader.faults.0.extend(faults);
            Err(reader.faults)
        }
    }
}

/// Whether the pod is out of the mesh. The label of the same name comes before the annotation. A value of `inject`
/// that means nothing is ignored, as Istio does.
pub fn opted_out(
    annotations: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
    defaults: Defaults,
) -> Option<OptOut> {
    let inject = labels.get(INJECT).or_else(|| annotations.get(INJECT)).map(String::as_str);
    let refused = match (defaults, inject) {
        (_, None) => false,
        (Defaults::Injector, Some(text)) => text == "false",
        (Defaults::Cni, Some(text)) => parse_bool(text) == Some(false),
    };
    if refused {
        return Some(OptOut::InjectFalse);
    }
    let written = defaults == Defaults::Injector || annotations.contains_key(STATUS);
    (!written).then_some(OptOut::NotInjected)
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    defaults: Defaults,
    faults: ConfigFaults,
}

impl<'a> Reader<'a> {
    /// The annotation's value if it is there and passes; the default otherwise.
    fn get(&mut self, name: &'static str, default: &'a str, check: Check) -> &'a str {
        let Some(value) = self.annotations.get(name) else { return default };
        let Err(reason) = check(value) else { return value };
        let reason = match self.defaults {
            Defaults::Injector => format!("invalid value '{value}' for annotation '{name}': {reason}"),
            Defaults::Cni => {
                let key = checks::cni_key(name);
                format!("annotation value error for value {key}; annotationFound = true: {reason}")
            }
        };
        self.faults.add(Fault {
            names: format!("annotation {name}"),
            value: value.clone(),
            reason,
            next: checks::next_step(name).to_owned(),
        });
        default
    }

    fn flags(&mut self, mode: &str, proxy: &ProxySettings) -> IstioFlags {
        let defaults = self.defaults;
        let excluded_outbound = if defaults == Defaults::Cni { "15020" } else { "" };
        let own = |id: Option<u32>| Some(id.filter(|id| *id != 0).unwrap_or(1337).to_string());
        let mut text = |name, default, check| Some(self.get(name, default, check).trim().to_owned());
        let mut flags = IstioFlags {
            proxy_uid: proxy.flags.proxy_uid.clone().or_else(|| own(proxy.uid)),
            proxy_gid: proxy.flags.proxy_gid.clone().or_else(|| own(proxy.gid)),
            istio_inbound_interception_mode: Some(mode.to_owned()),
            istio_inbound_ports: text(INCLUDE_INBOUND, "*", checks::inbound_include(defaults)),
            istio_service_cidr: text(INCLUDE_RANGES, "*", checks::include_ranges(defaults)),
            istio_service_exclude_cidr: text(EXCLUDE_RANGES, "", checks::exclude_ranges(defaults)),
            istio_outbound_ports: text(INCLUDE_OUTBOUND, "", checks::outbound_include(defaults)),
            istio_local_outbound_ports_exclude: text(
                EXCLUDE_OUTBOUND,
                excluded_outbound,
                checks::outbound_exclude(defaults),
            ),
            istio_exclude_interfaces: text(EXCLUDE_INTERFACES, "", checks::interfaces),
            ..proxy.flags.clone()
        };
        flags.istio_local_exclude_ports = Some(self.excluded_inbound());
        flags.kube_virt_interfaces = Some(self.virtual_interfaces());
        if defaults == Defaults::Cni {
            let dns =
                flags.redirect_dns.get_or_insert_with(|| env_bool(proxy, "ISTIO_META_DNS_CAPTURE")).clone();
            flags.capture_all_dns.get_or_insert(dns);
            flags.drop_invalid.get_or_insert_with(|| env_bool(proxy, "INVALID_DROP"));
            flags.dual_stack.get_or_insert_with(|| env_bool(proxy, "ISTIO_DUAL_STACK"));
        }
        flags
    }

    /// The user's ports and the sidecar's own, in the order each of the two builds the list.
    fn excluded_inbound(&mut self) -> String {
        match self.defaults {
            Defaults::Injector => {
                let status = self.get(STATUS_PORT, "15020", checks::status_port).trim();
                let given = self.get(EXCLUDE_INBOUND, "", checks::inbound_exclude(Defaults::Injector));
                let mut ports = vec!["15090", "15021"];
                ports.extend(items(given));
                // Port 0 is "no status server"; a status port the user lists is not listed twice.
                if !status.is_empty() && status != "0" && !items(given).any(|port| port == status) {
                    ports.push(status);
                }
                ports.join(",")
            }
            Defaults::Cni => {
                let given = self.get(EXCLUDE_INBOUND, "15020", checks::inbound_exclude(Defaults::Cni));
                let mut seen = HashSet::new();
                let all = items(given).chain(["15020", "15021", "15090"]);
                let ports: Vec<_> = all.filter(|port| seen.insert(*port)).collect();
                ports.join(",")
            }
        }
    }

    /// The deprecated annotation counts only without the other one.
    fn virtual_interfaces(&mut self) -> String {
        let name = if self.annotations.contains_key(REROUTE) { REROUTE } else { KUBEVIRT };
        self.get(name, "", checks::interfaces).to_owned()
    }
}

/// A variable of the sidecar as the CNI plugin reads it: what is no boolean only earns a warning.
fn env_bool(proxy: &ProxySettings, name: &str) -> String {
    let value = proxy.env.get(name).map(String::as_str).unwrap_or("false");
    let parsed = parse_bool(value);
    if parsed.is_none() {
        warn!(variable = name, value, "not a boolean, taken as false");
    }
    parsed.unwrap_or(false).to_string()
}

#[cfg(test)]
mod tests;
