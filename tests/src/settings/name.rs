//! What istio-iptables can be told, under the names Istio documents (tools/istio-iptables/pkg/cmd/root.go).

/// One setting. An empty flag, or no variable: it cannot be said that way.
#[derive(Debug, PartialEq, Eq)]
pub struct Name {
    pub flag: &'static str,
    pub short: Option<char>,
    /// The flag's own variable, then its aliases.
    pub env: &'static [&'static str],
    pub boolean: bool,
}

const fn text(flag: &'static str, short: Option<char>, env: &'static [&'static str]) -> Name {
    Name { flag, short, env, boolean: false }
}

const fn boolean(flag: &'static str, env: &'static [&'static str]) -> Name {
    Name { flag, short: None, env, boolean: true }
}

const fn variable(env: &'static [&'static str]) -> Name {
    text("", None, env)
}

pub static ENVOY_PORT: Name = text("envoy-port", Some('p'), &[]);
pub static CAPTURE_PORT: Name = text("inbound-capture-port", Some('z'), &["INBOUND_CAPTURE_PORT"]);
pub static TUNNEL_PORT: Name = text("inbound-tunnel-port", Some('e'), &["INBOUND_TUNNEL_PORT"]);
pub static PROXY_UID: Name = text("proxy-uid", Some('u'), &["PROXY_UID"]);
pub static PROXY_GID: Name = text("proxy-gid", Some('g'), &["PROXY_GID"]);
pub static MODE: Name =
    text("istio-inbound-interception-mode", Some('m'), &["ISTIO_INBOUND_INTERCEPTION_MODE"]);
pub static INBOUND_PORTS: Name = text("istio-inbound-ports", Some('b'), &["ISTIO_INBOUND_PORTS"]);
pub static INBOUND_EXCLUDE: Name =
    text("istio-local-exclude-ports", Some('d'), &["ISTIO_LOCAL_EXCLUDE_PORTS"]);
pub static EXCLUDE_INTERFACES: Name =
    text("istio-exclude-interfaces", Some('c'), &["ISTIO_EXCLUDE_INTERFACES"]);
pub static SERVICE_CIDR: Name = text("istio-service-cidr", Some('i'), &["ISTIO_SERVICE_CIDR"]);
pub static EXCLUDE_CIDR: Name =
    text("istio-service-exclude-cidr", Some('x'), &["ISTIO_SERVICE_EXCLUDE_CIDR"]);
pub static OUTBOUND_PORTS: Name = text("istio-outbound-ports", Some('q'), &["ISTIO_OUTBOUND_PORTS"]);
pub static OUTBOUND_EXCLUDE: Name =
    text("istio-local-outbound-ports-exclude", Some('o'), &["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"]);
pub static KUBE_VIRT: Name = text("kube-virt-interfaces", Some('k'), &["KUBE_VIRT_INTERFACES"]);
pub static TPROXY_MARK: Name = text("istio-inbound-tproxy-mark", Some('t'), &["ISTIO_INBOUND_TPROXY_MARK"]);
pub static TPROXY_TABLE: Name =
    text("istio-inbound-tproxy-route-table", Some('r'), &["ISTIO_INBOUND_TPROXY_ROUTE_TABLE"]);
pub static PROBE_PORT: Name = text("iptables-probe-port", None, &["IPTABLES_PROBE_PORT"]);
pub static PROBE_TIMEOUT: Name = text("probe-timeout", None, &["PROBE_TIMEOUT"]);
pub static IPTABLES_BINARY: Name = text("force-iptables-binary", None, &["FORCE_IPTABLES_BINARY"]);
pub static REDIRECT_DNS: Name = boolean("redirect-dns", &["REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"]);
pub static CAPTURE_ALL_DNS: Name = boolean("capture-all-dns", &["CAPTURE_ALL_DNS"]);
pub static DROP_INVALID: Name = boolean("drop-invalid", &["DROP_INVALID", "INVALID_DROP"]);
pub static DUAL_STACK: Name = boolean("dual-stack", &["DUAL_STACK", "ISTIO_DUAL_STACK"]);
pub static SKIP_RULE_APPLY: Name = boolean("skip-rule-apply", &["SKIP_RULE_APPLY"]);
pub static CLEANUP_ONLY: Name = boolean("cleanup-only", &["CLEANUP_ONLY"]);
pub static RECONCILE: Name = boolean("reconcile", &["RECONCILE"]);
pub static FORCE_APPLY: Name = boolean("force-apply", &["FORCE_APPLY"]);
pub static OWNER_GROUPS: Name = variable(&["ISTIO_OUTBOUND_OWNER_GROUPS"]);
pub static OWNER_GROUPS_EXCLUDE: Name = variable(&["ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"]);
pub static LOOPBACK_CIDR: Name = variable(&["ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"]);
pub static ENVOY_USER: Name = variable(&["ENVOY_USER"]);
/// Documented by Istio, read by nobody.
pub static ENVOY_PORT_VARIABLE: Name = variable(&["ENVOY_PORT"]);
pub static INBOUND_EXCLUDE_VARIABLE: Name = variable(&["ISTIO_INBOUND_EXCLUDE_PORTS"]);
