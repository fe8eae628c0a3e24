//! Every setting: its names, what it says of itself, and what kind of value it has. The only list of names: the command
//! line, the variables, the annotations, the help and the messages are made from it.

use std::fmt;

use super::fault::{ConfigFaults, Fault};

pub(super) const DEFAULT_PROXY_ID: u32 = 1337;
pub(super) const DEFAULT_TPROXY_MARK: u32 = 1337;
pub(super) const DEFAULT_TPROXY_TABLE: u32 = 133;

/// What is read from a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Any text, the empty one included. Of several flags the last one counts.
    Text,
    /// A number or a duration, which Istio does not keep as text: an empty variable is not set, because templates write
    /// VAR="" for that, and Istio drops what it cannot parse from the environment.
    Value,
    /// A boolean; the flag alone says true. An empty variable is not set.
    Switch,
    /// A text for each time the flag is given.
    Repeated,
    /// A path for each time the flag is given.
    Files,
}

/// One setting under all its spellings. Empty texts and lists mean "there is none".
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Without the dashes.
    pub flag: &'static str,
    pub short: Option<char>,
    /// The later one counts, because Istio applies it later (pkg/flag: AdditionalEnv).
    pub env: &'static [&'static str],
    pub annotation: &'static str,
    pub kind: Kind,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// Whether the help leaves the flag out.
    pub hidden: bool,
    summary: &'static str,
    default: &'static str,
    remark: &'static str,
}

macro_rules! settings {
    ($(#[$of_list:meta])* $list:ident: $($(#[$of_one:meta])* $name:ident = $setting:expr;)+) => {
        $($(#[$of_one])* pub const $name: Setting = $setting;)+

        $(#[$of_list])*
        pub const $list: &[&Setting] = &[$(&$name),+];
    };
}

settings! {
    /// What istio-iptables takes, in the order of the help.
    ISTIO:
    // ENVOY_PORT is documented by Istio and printed by it, but never read.
    ENVOY_PORT = flag("envoy-port", "PORT").short('p').default("15001")
        .says("Port of the sidecar's outbound listener");
    INBOUND_CAPTURE_PORT = flag("inbound-capture-port", "PORT").short('z').default("15006")
        .env(&["INBOUND_CAPTURE_PORT"])
        .says("Port of the sidecar's inbound listener");
    INBOUND_TUNNEL_PORT = flag("inbound-tunnel-port", "PORT").short('e').default("15008")
        .env(&["INBOUND_TUNNEL_PORT"])
        .says("HBONE port, reached directly");
    PROXY_UID = flag("proxy-uid", "UID,...").short('u').default("$ENVOY_USER, else 1337")
        .env(&["PROXY_UID"])
        .says("Users whose traffic is the sidecar's own");
    PROXY_GID = flag("proxy-gid", "GID,...").short('g').default("the value of --proxy-uid")
        .env(&["PROXY_GID"])
        .says("Groups whose traffic is the sidecar's own");
    MODE = flag("istio-inbound-interception-mode", "MODE").short('m').default("REDIRECT")
        .env(&["ISTIO_INBOUND_INTERCEPTION_MODE"])
        .annotation("sidecar.istio.io/interceptionMode")
        .says("REDIRECT or TPROXY");
    INBOUND_PORTS = flag("istio-inbound-ports", "PORT,...|*").short('b').default("none")
        .env(&["ISTIO_INBOUND_PORTS"])
        .annotation("traffic.sidecar.istio.io/includeInboundPorts")
        .says("Inbound ports to capture, \"*\" for all");
    INBOUND_EXCLUDE = flag("istio-local-exclude-ports", "PORT,...").short('d')
        .env(&["ISTIO_LOCAL_EXCLUDE_PORTS"])
        .annotation("traffic.sidecar.istio.io/excludeInboundPorts")
        .says("Inbound ports to leave alone, with -b \"*\" only");
    EXCLUDE_INTERFACES = flag("istio-exclude-interfaces", "NIC,...").short('c')
        .env(&["ISTIO_EXCLUDE_INTERFACES"])
        .annotation("traffic.sidecar.istio.io/excludeInterfaces")
        .says("Interfaces to leave alone in both directions");
    SERVICE_CIDR = flag("istio-service-cidr", "CIDR,...|*").short('i').default("none")
        .env(&["ISTIO_SERVICE_CIDR"])
        .annotation("traffic.sidecar.istio.io/includeOutboundIPRanges")
        .says("Outbound ranges to capture, \"*\" for all");
    SERVICE_EXCLUDE_CIDR = flag("istio-service-exclude-cidr", "CIDR,...").short('x')
        .env(&["ISTIO_SERVICE_EXCLUDE_CIDR"])
        .annotation("traffic.sidecar.istio.io/excludeOutboundIPRanges")
        .says("Outbound ranges to leave alone");
    OUTBOUND_PORTS = flag("istio-outbound-ports", "PORT,...").short('q')
        .env(&["ISTIO_OUTBOUND_PORTS"])
        .annotation("traffic.sidecar.istio.io/includeOutboundPorts")
        .says("Outbound TCP ports to capture at any address");
    OUTBOUND_PORTS_EXCLUDE = flag("istio-local-outbound-ports-exclude", "PORT,...").short('o')
        .env(&["ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"])
        .annotation("traffic.sidecar.istio.io/excludeOutboundPorts")
        .says("Outbound ports to leave alone");
    KUBE_VIRT_INTERFACES = flag("kube-virt-interfaces", "NIC,...").short('k')
        .env(&["KUBE_VIRT_INTERFACES"])
        .annotation("istio.io/reroute-virtual-interfaces")
        .says("Interfaces whose incoming traffic counts as outbound");
    TPROXY_MARK = flag("istio-inbound-tproxy-mark", "MARK").short('t').default("1337")
        .env(&["ISTIO_INBOUND_TPROXY_MARK"])
        .says("Packet mark of TPROXY mode");
    TPROXY_ROUTE_TABLE = flag("istio-inbound-tproxy-route-table", "TABLE").short('r').default("133")
        .env(&["ISTIO_INBOUND_TPROXY_ROUTE_TABLE"])
        .says("Routing table of TPROXY mode");
    REDIRECT_DNS = switch("redirect-dns").env(&["REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"])
        .says("Capture DNS for the agent on 15053");
    CAPTURE_ALL_DNS = switch("capture-all-dns").env(&["CAPTURE_ALL_DNS"])
        .says("Capture DNS to any server, not only resolv.conf's");
    DNS_SERVER = flag("dns-server", "IP|none").kind(Kind::Repeated)
        .says("DNS server to capture, in place of reading /etc/resolv.conf; repeatable; none for no server");
    DUAL_STACK = switch("dual-stack").env(&["DUAL_STACK", "ISTIO_DUAL_STACK"])
        .says("IPv6 as well, when any address of the host is IPv6");
    ENV_FILE = flag("env-file", "PATH").kind(Kind::Files)
        .says("File of KEY=value lines to read settings from (sidecar.env, cluster.env); repeatable, a later file \
               wins, the process environment wins over files");
    DRY_RUN = switch("dry-run").short('n').env(&["DRY_RUN"])
        .says("Show the rules, change nothing")
        .remark("env DRY_RUN_FILE_PATH also writes them to a file");
    CLEANUP_ONLY = switch("cleanup-only").env(&["CLEANUP_ONLY"])
        .says("Remove, do not attach");
    SKIP_RULE_APPLY = switch("skip-rule-apply").env(&["SKIP_RULE_APPLY"])
        .says("Do not attach, only do the rest (validation)");
    RUN_VALIDATION = switch("run-validation").env(&["RUN_VALIDATION"])
        .says("Check that capture works; exit 126 if not");
    PROBE_PORT = flag("iptables-probe-port", "PORT").kind(Kind::Value).default("15002")
        .env(&["IPTABLES_PROBE_PORT"])
        .says("Port the validation connects to");
    PROBE_TIMEOUT = flag("probe-timeout", "DURATION").kind(Kind::Value).default("5s")
        .env(&["PROBE_TIMEOUT"])
        .says("How long the validation tries, as 5s or 1m30s");
    NETWORK_NAMESPACE = flag("network-namespace", "PATH").default("the caller's")
        .env(&["NETWORK_NAMESPACE"])
        .says("Network namespace to act on")
        .remark("in Istio it names a lock only, and the rules go into the caller's");
    RECONCILE = switch("reconcile").env(&["RECONCILE"])
        .says("Replace what is attached if it differs")
        .remark("no-op: attach always does, without a gap");
    FORCE_APPLY = switch("force-apply").env(&["FORCE_APPLY"])
        .says("Attach even if attached")
        .remark("no-op: attach is idempotent");
    DROP_INVALID = switch("drop-invalid").env(&["DROP_INVALID", "INVALID_DROP"])
        .says("Drop packets conntrack calls INVALID")
        .remark("no-op: there is no NAT to protect");
    CNI_MODE = switch("cni-mode").env(&["CNI_MODE"])
        .says("Run for the CNI plugin")
        .remark("no-op: there is no xtables lock");
    NATIVE_NFTABLES = switch("native-nftables").env(&["NATIVE_NFTABLES"])
        .says("IPv6 as with --dual-stack")
        .remark("Istio's nftables rules are of both families; they are no others otherwise");
    FORCE_IPTABLES_BINARY = flag("force-iptables-binary", "BINARY").env(&["FORCE_IPTABLES_BINARY"])
        .says("legacy or nft")
        .remark("no-op beyond the check of the value");
    // Variables without a flag.
    DRY_RUN_FILE = variable(&["DRY_RUN_FILE_PATH"]);
    OWNER_GROUPS = variable(&["ISTIO_OUTBOUND_OWNER_GROUPS"]);
    OWNER_GROUPS_EXCLUDE = variable(&["ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"]);
    LOOPBACK_CIDR = variable(&["ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"]);
    ENVOY_USER = variable(&["ENVOY_USER"]);
    // The flags of Istio's logger, which the injector passes. All no-ops: RUST_LOG rules our log.
    LOG_OUTPUT_LEVEL = of_logger("log_output_level");
    LOG_TARGET = of_logger("log_target").kind(Kind::Repeated);
    LOG_CALLER = of_logger("log_caller");
    LOG_STACKTRACE_LEVEL = of_logger("log_stacktrace_level");
    LOG_ROTATE = of_logger("log_rotate");
    LOG_ROTATE_MAX_AGE = of_logger("log_rotate_max_age");
    LOG_ROTATE_MAX_BACKUPS = of_logger("log_rotate_max_backups");
    LOG_ROTATE_MAX_SIZE = of_logger("log_rotate_max_size");
    LOG_AS_JSON = of_logger("log_as_json").kind(Kind::Switch);
    VKLOG = of_logger("vklog");
}

settings! {
    /// What Istio has no flag for.
    OWN:
    ANNOTATIONS = flag("annotations", "FILE")
        .says("Pod annotations in place of the istio options that say the same: a JSON object, or key=\"value\" lines \
               as the downward API writes them; - reads standard input");
    DEFAULTS = flag("defaults", "DEFAULTS")
        .says("Whose defaults and checks the annotations get");
    /// `"false"` in the annotation is `off`.
    ACCELERATE = flag("accelerate", "ACCELERATE")
        .env(&["SIDESTEP_ACCELERATE"])
        .annotation("sidestep.io/accelerate")
        .says("Which local connections skip the TCP/IP stack");
    INFLIGHT_LIMIT = flag("inflight-limit", "BYTES")
        .env(&["SIDESTEP_INFLIGHT_LIMIT"])
        .says("Bytes that may wait unread at a receiver before its connection goes back to the stack");
    TRUST_PROGRAM = flag("trust-program", "PATH").kind(Kind::Files)
        .env(&["SIDESTEP_TRUST_PROGRAMS"])
        .says("A program that reads sockets with recv until nothing is left, beside those found safe by looking; \
               repeatable");
    OBSERVE = flag("observe", "OBSERVE")
        .env(&["SIDESTEP_OBSERVE"])
        .says("Whether connections are recorded for `sidestep flows` and the metrics");
    // Annotations without a flag.
    /// What the annotation of the virtual interfaces was called before.
    KUBEVIRT = only_annotation("traffic.sidecar.istio.io/kubevirtInterfaces");
    /// Not read; see `annotations`.
    PROXY_CONFIG = only_annotation("proxy.istio.io/config");
    STATUS_PORT = only_annotation("status.sidecar.istio.io/port");
    /// Also a label.
    INJECT = only_annotation("sidecar.istio.io/inject");
    STATUS = only_annotation("sidecar.istio.io/status");
    /// The agent leaves the pod alone if it says "false"; also a label, where labels are known.
    AGENT_INJECT = only_annotation("sidestep.io/inject");
}

const NOTHING: Setting = Setting {
    flag: "",
    short: None,
    env: &[],
    annotation: "",
    kind: Kind::Text,
    value_name: "",
    hidden: false,
    summary: "",
    default: "",
    remark: "",
};

const fn flag(flag: &'static str, value_name: &'static str) -> Setting {
    Setting { flag, value_name, ..NOTHING }
}

const fn switch(name: &'static str) -> Setting {
    flag(name, "BOOL").kind(Kind::Switch)
}

const fn of_logger(name: &'static str) -> Setting {
    Setting { hidden: true, ..flag(name, "VALUE") }
}

const fn variable(names: &'static [&'static str]) -> Setting {
    Setting { env: names, ..NOTHING }
}

const fn only_annotation(annotation: &'static str) -> Setting {
    Setting { annotation, ..NOTHING }
}

impl Setting {
    const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    const fn env(self, env: &'static [&'static str]) -> Self {
        Self { env, ..self }
    }

    const fn annotation(self, annotation: &'static str) -> Self {
        Self { annotation, ..self }
    }

    const fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    const fn says(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    const fn remark(self, remark: &'static str) -> Self {
        Self { remark, ..self }
    }

    /// The one name it has in a table.
    pub fn name(&self) -> &'static str {
        match (self.flag, self.env) {
            ("", [variable, ..]) => variable,
            ("", []) => self.annotation,
            (flag, _) => flag,
        }
    }

    /// One line for the help of the flag, in which the variables and the default are named.
    pub fn help(&self) -> String {
        let mut text = self.summary.to_owned();
        if !self.env.is_empty() {
            text.push_str(&format!(" [env: {}]", self.env.join(", ")));
        }
        if !self.default.is_empty() {
            text.push_str(&format!(" [default: {}]", self.default));
        }
        if !self.remark.is_empty() {
            text.push_str(&format!("; {}", self.remark));
        }
        text
    }

    /// The same without variables and default, for who adds them.
    pub fn summary(&self) -> &'static str {
        self.summary
    }

    pub(super) fn fault(
        &self,
        value: impl Into<String>,
        reason: impl Into<String>,
        next: impl Into<String>,
    ) -> Fault {
        Fault { names: self.to_string(), value: value.into(), reason: reason.into(), next: next.into() }
    }

    /// A fault of the annotation, which has checks of its own.
    pub(super) fn annotation_fault(&self, value: &str, reason: String, next: &str) -> Fault {
        let names = format!("annotation {}", self.annotation);
        Fault { names, value: value.to_owned(), reason, next: next.to_owned() }
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
