//! The names of every setting: one table for lookups and for messages.

use std::fmt;

use super::fault::{ConfigFaults, Fault};

pub(super) const DEFAULT_PROXY_ID: u32 = 1337;
pub(super) const DEFAULT_TPROXY_MARK: u32 = 1337;
pub(super) const DEFAULT_TPROXY_TABLE: u32 = 133;

/// One setting under all its spellings. Empty strings and lists mean "there is none".
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) flag: &'static str,
    pub(super) short: Option<char>,
    /// In order of precedence.
    pub(super) env: &'static [&'static str],
    pub(super) annotation: &'static str,
}

const fn setting(
    flag: &'static str,
    short: Option<char>,
    env: &'static [&'static str],
    annotation: &'static str,
) -> Setting {
    Setting { flag, short, env, annotation }
}

// ENVOY_PORT is documented by Istio and printed by it, but never read.
pub(super) const ENVOY_PORT: Setting = setting("envoy-port", Some('p'), &[], "");
pub(super) const INBOUND_CAPTURE_PORT: Setting =
    setting("inbound-capture-port", Some('z'), &["INBOUND_CAPTURE_PORT"], "");
pub(super) const INBOUND_TUNNEL_PORT: Setting =
    setting("inbound-tunnel-port", Some('e'), &["INBOUND_TUNNEL_PORT"], "");
pub(super) const PROXY_UID: Setting = setting("proxy-uid", Some('u'), &["PROXY_UID"], "");
pub(super) const PROXY_GID: Setting = setting("proxy-gid", Some('g'), &["PROXY_GID"], "");
pub(super) const MODE: Setting = setting(
    "istio-inbound-interception-mode",
    Some('m'),
    &["ISTIO_INBOUND_INTERCEPTION_MODE"],
    "sidecar.istio.io/interceptionMode",
);
pub(super) const INBOUND_PORTS: Setting = setting(
    "istio-inbound-ports",
    Some('b'),
    &["ISTIO_INBOUND_PORTS"],
    "traffic.sidecar.istio.io/includeInboundPorts",
);
pub(super) const INBOUND_EXCLUDE: Setting = setting(
    "istio-local-exclude-ports",
    Some('d'),
    &["ISTIO_LOCAL_EXCLUDE_PORTS"],
    "traffic.sidecar.istio.io/excludeInboundPorts",
);
pub(super) const EXCLUDE_INTERFACES: Setting = setting(
    "istio-exclude-interfaces",
    Some('c'),
    &["ISTIO_EXCLUDE_INTERFACES"],
    "traffic.sidecar.istio.io/excludeInterfaces",
);
pub(super) const SERVICE_CIDR: Setting = setting(
    "istio-service-cidr",
    Some('i'),
    &["ISTIO_SERVICE_CIDR"],
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
);
pub(super) const SERVICE_EXCLUDE_CIDR: Setting = setting(
    "istio-service-exclude-cidr",
    Some('x'),
    &["ISTIO_SERVICE_EXCLUDE_CIDR"],
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
);
pub(super) const OUTBOUND_PORTS: Setting = setting(
    "istio-outbound-ports",
    Some('q'),
    &["ISTIO_OUTBOUND_PORTS"],
    "traffic.sidecar.istio.io/includeOutboundPorts",
);
pub(super) const OUTBOUND_PORTS_EXCLUDE: Setting = setting(
    "istio-local-outbound-ports-exclude",
    Some('o'),
    &["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"],
    "traffic.sidecar.istio.io/excludeOutboundPorts",
);
pub(super) const KUBE_VIRT_INTERFACES: Setting = setting(
    "kube-virt-interfaces",
    Some('k'),
    &["KUBE_VIRT_INTERFACES"],
    "istio.io/reroute-virtual-interfaces",
);
pub(super) const TPROXY_MARK: Setting =
    setting("istio-inbound-tproxy-mark", Some('t'), &["ISTIO_INBOUND_TPROXY_MARK"], "");
pub(super) const TPROXY_ROUTE_TABLE: Setting =
    setting("istio-inbound-tproxy-route-table", Some('r'), &["ISTIO_INBOUND_TPROXY_ROUTE_TABLE"], "");
pub(super) const DRY_RUN: Setting = setting("dry-run", Some('n'), &["DRY_RUN"], "");
pub(super) const DRY_RUN_FILE: Setting = setting("", None, &["DRY_RUN_FILE_PATH"], "");
pub(super) const PROBE_PORT: Setting = setting("iptables-probe-port", None, &["IPTABLES_PROBE_PORT"], "");
pub(super) const PROBE_TIMEOUT: Setting = setting("probe-timeout", None, &["PROBE_TIMEOUT"], "");
pub(super) const SKIP_RULE_APPLY: Setting = setting("skip-rule-apply", None, &["SKIP_RULE_APPLY"], "");
pub(super) const RUN_VALIDATION: Setting = setting("run-validation", None, &["RUN_VALIDATION"], "");
pub(super) const REDIRECT_DNS: Setting =
    setting("redirect-dns", None, &["REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"], "");
pub(super) const CAPTURE_ALL_DNS: Setting = setting("capture-all-dns", None, &["CAPTURE_ALL_DNS"], "");
pub(super) const DROP_INVALID: Setting = setting("drop-invalid", None, &["DROP_INVALID", "INVALID_DROP"], "");
pub(super) const DUAL_STACK: Setting = setting("dual-stack", None, &["DUAL_STACK", "ISTIO_DUAL_STACK"], "");
pub(super) const NETWORK_NAMESPACE: Setting = setting("network-namespace", None, &["NETWORK_NAMESPACE"], "");
pub(super) const CNI_MODE: Setting = setting("cni-mode", None, &["CNI_MODE"], "");
pub(super) const RECONCILE: Setting = setting("reconcile", None, &["RECONCILE"], "");
pub(super) const CLEANUP_ONLY: Setting = setting("cleanup-only", None, &["CLEANUP_ONLY"], "");
pub(super) const FORCE_APPLY: Setting = setting("force-apply", None, &["FORCE_APPLY"], "");
pub(super) const NATIVE_NFTABLES: Setting = setting("native-nftables", None, &["NATIVE_NFTABLES"], "");
pub(super) const FORCE_IPTABLES_BINARY: Setting =
    setting("force-iptables-binary", None, &["FORCE_IPTABLES_BINARY"], "");
pub(super) const OWNER_GROUPS: Setting = setting("", None, &["ISTIO_OUTBOUND_OWNER_GROUPS"], "");
pub(super) const OWNER_GROUPS_EXCLUDE: Setting =
    setting("", None, &["ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"], "");
pub(super) const LOOPBACK_CIDR: Setting = setting("", None, &["ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"], "");
pub(super) const ENVOY_USER: Setting = setting("", None, &["ENVOY_USER"], "");
pub(super) const DNS_SERVER: Setting = setting("dns-server", None, &[], "");
pub(super) const ANNOTATIONS: Setting = setting("annotations", None, &[], "");
pub(super) const ENV_FILE: Setting = setting("env-file", None, &[], "");

impl Setting {
    pub(super) fn fault(
        &self,
        value: impl Into<String>,
        reason: impl Into<String>,
        next: impl Into<String>,
    ) -> Fault {
        Fault { names: self.to_string(), value: value.into(), reason: reason.into(), next: next.into() }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Vec::new();
        if !self.flag.is_empty() {
            names.push(match self.short {
                Some(short) => format!("--{} (-{short})", self.flag),
                None => format!("--{}", self.flag),
            });
        }
        if !self.env.is_empty() {
            names.push(format!("env {}", self.env.join(" or ")));
        }
        if !self.annotation.is_empty() {
            names.push(format!("annotation {}", self.annotation));
        }
        f.write_str(&names.join(", "))
    }
}

/// Where parsers put their faults.
impl ConfigFaults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// An item of a list is wrong. The item is the value shown: the list may have thousands.
    pub(super) fn add_item(&mut self, setting: &Setting, item: &str, reason: impl Into<String>, next: &str) {
        self.add(setting.fault(item, reason, next));
    }

    pub(super) fn or<T>(self, value: T) -> Result<T, ConfigFaults> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}
