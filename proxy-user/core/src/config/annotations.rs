//! Pod annotations: what the sidecar injector or the CNI plugin would make of them.
//!
//! Both turn annotations into istio-iptables settings, with different checks and defaults. So does this: the checks
//! and their texts are Istio's (pkg/kube/inject/validate.go, cni/pkg/plugin/sidecar_redirect.go), the rest is done by
//! [`Given::resolve`]. `proxy.istio.io/config` is not read: what matters of it (proxyMetadata) arrives as the
//! environment of the sidecar; its interceptionMode as a flag of istio-init or, for the CNI plugin, in the annotation.

use std::collections::{BTreeMap, HashSet};

use tracing::warn;

use super::{
    Config, Environment, Given, Host, Value,
    annotation_checks::{self as checks, Check},
    choice::Choice,
    fault::ConfigFaults,
    go_value::{items, parse_bool},
    setting::{self, Setting},
};

/// Whose defaults and checks apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Defaults {
    /// The sidecar injector with istio-init.
    #[default]
    Injector,
    /// The CNI plugin.
    Cni,
    /// sidestep's agent: the CNI plugin's, but for DNS, of which istio-init's are better: it captures the queries to the
    /// pod's own resolvers, and the application may have a DNS server of its own.
    Agent,
}

impl Defaults {
    /// Whether the sidecar starts without istio-init.
    const fn without_istio_init(self) -> bool {
        matches!(self, Self::Cni | Self::Agent)
    }
}

/// What is to be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capture {
    /// Boxed: a configuration is large.
    Of(Box<Config>),
    /// The pod wants nothing captured, for this reason.
    Nothing(&'static str),
}

/// What else the pod says about its sidecar.
#[derive(Clone, Debug, Default)]
pub struct ProxySettings {
    /// runAsUser and runAsGroup of istio-proxy; absent and 0 mean 1337.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// The environment of istio-proxy.
    pub env: Environment,
    /// Its arguments: `proxy sidecar ...`.
    pub args: Vec<String>,
    /// What no annotation says: ports, marks, DNS, owners. What annotations do say is ignored here.
    pub given: Given,
}

/// Why a pod has no sidecar to redirect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptOut {
    /// sidecar.istio.io/inject says false.
    InjectFalse,
    /// The injector never wrote sidecar.istio.io/status.
    NotInjected,
    /// The sidecar runs no Envoy: DISABLE_ENVOY is true in its environment.
    NoEnvoy,
    /// The proxy is no sidecar but, say, a router (a gateway).
    NoSidecar,
}

impl OptOut {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::InjectFalse => "sidecar.istio.io/inject is false",
            Self::NotInjected => {
                "the annotation sidecar.istio.io/status is missing, so no sidecar was injected"
            }
            Self::NoEnvoy => "DISABLE_ENVOY is true in the sidecar's environment",
            Self::NoSidecar => "the proxy's arguments say another type than sidecar",
        }
    }
}

/// Reads the annotations of a pod; `host` serves the pod's group names and resolv.conf.
pub fn from_annotations(
    annotations: &BTreeMap<String, String>,
    defaults: Defaults,
    proxy: &ProxySettings,
    host: &dyn Host,
) -> Result<Capture, ConfigFaults> {
    let mut reader = Reader { annotations, defaults, faults: ConfigFaults::default() };
    if annotations.get(setting::PROXY_CONFIG.annotation).is_some_and(|text| text.contains("interceptionMode"))
    {
        warn!("{}", MODE_IN_PROXY_CONFIG);
    }
    let mode = reader.get(&setting::MODE, "REDIRECT", checks::mode(defaults));
    let given = reader.given(mode, proxy);
    if mode == "NONE" {
        // The injector still validates the other annotations before it leaves the init container out.
        return reader.faults.or(Capture::Nothing("sidecar.istio.io/interceptionMode is NONE"));
    }
    // The CNI plugin reads the sidecar's variables one by one; istio-init has them as its own environment.
    let none = Environment::default();
    let env = if defaults == Defaults::Injector { &proxy.env } else { &none };
    match given.resolve(env, host) {
        Ok(resolved) => reader.faults.or(Capture::Of(Box::new(resolved.config))),
        Err(ConfigFaults(faults)) => {
            reader.faults.0.extend(faults);
            Err(reader.faults)
        }
    }
}

/// Whether the pod does without acceleration: `sidestep.io/accelerate` is "false".
pub fn accelerate_opt_out(annotations: &BTreeMap<String, String>) -> Result<bool, ConfigFaults> {
    match annotations.get(setting::ACCELERATE.annotation).map(String::as_str) {
        None | Some("true") => Ok(false),
        Some("false") => Ok(true),
        Some(other) => {
            let reason = "is neither \"true\" nor \"false\"".to_owned();
            let fault = setting::ACCELERATE.annotation_fault(other, reason, "write one of these two");
            Err(ConfigFaults(vec![fault]))
        }
    }
}

/// Whether the pod is to be left alone. The label of the same name comes before the annotation. A value of `inject`
/// that means nothing is ignored, as Istio does. The sidecar's environment and arguments are the CNI plugin's to look at
/// (cni/pkg/plugin/plugin.go: doAddRun): istio-init is there or it is not.
pub fn opted_out(
    annotations: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
    proxy: &ProxySettings,
    defaults: Defaults,
) -> Option<OptOut> {
    if defaults.without_istio_init() {
        if proxy.env.variable("DISABLE_ENVOY").and_then(parse_bool) == Some(true) {
            return Some(OptOut::NoEnvoy);
        }
        if let [proxy, kind, ..] = proxy.args.as_slice()
            && proxy == "proxy"
            && !kind.is_empty()
            && kind != "sidecar"
        {
            return Some(OptOut::NoSidecar);
        }
    }
    let inject = setting::INJECT.annotation;
    let inject = labels.get(inject).or_else(|| annotations.get(inject)).map(String::as_str);
    let refused = match (defaults, inject) {
        (_, None) => false,
        (Defaults::Injector, Some(text)) => text == "false",
        (Defaults::Cni | Defaults::Agent, Some(text)) => parse_bool(text) == Some(false),
    };
    if refused {
        return Some(OptOut::InjectFalse);
    }
    let written = defaults == Defaults::Injector || annotations.contains_key(setting::STATUS.annotation);
    (!written).then_some(OptOut::NotInjected)
}

const MODE_IN_PROXY_CONFIG: &str = "annotation proxy.istio.io/config is not read, and an interceptionMode in it is \
                                    ignored: say it with annotation sidecar.istio.io/interceptionMode";

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    defaults: Defaults,
    faults: ConfigFaults,
}

impl<'a> Reader<'a> {
    /// The annotation's value if it is there and passes; the default otherwise.
    fn get(&mut self, setting: &Setting, default: &'a str, check: Check) -> &'a str {
        let name = setting.annotation;
        let Some(value) = self.annotations.get(name) else { return default };
        let Err(reason) = check(value) else { return value };
        let reason = match self.defaults {
            Defaults::Injector => format!("invalid value '{value}' for annotation '{name}': {reason}"),
            Defaults::Cni | Defaults::Agent => {
                let key = checks::cni_key(setting);
                format!("annotation value error for value {key}; annotationFound = true: {reason}")
            }
        };
        self.faults.add(setting.annotation_fault(value, reason, checks::next_step(setting)));
        default
    }

    /// What the annotations say, and what `proxy` says of the rest.
    fn given(&mut self, mode: &str, proxy: &ProxySettings) -> Given {
        let defaults = self.defaults;
        let excluded_outbound = if defaults.without_istio_init() { "15020" } else { "" };
        let mut given = proxy.given.clone();
        let own = |id: Option<u32>| Value::Id(id.filter(|id| *id != 0).unwrap_or(setting::DEFAULT_PROXY_ID));
        given.set_default(&setting::PROXY_UID, || own(proxy.uid));
        given.set_default(&setting::PROXY_GID, || own(proxy.gid));
        given.set(&setting::MODE, Value::Text(mode.to_owned()));
        for (setting, default, check) in [
            (&setting::INBOUND_PORTS, "*", checks::inbound_include(defaults)),
            (&setting::SERVICE_CIDR, "*", checks::include_ranges(defaults)),
            (&setting::SERVICE_EXCLUDE_CIDR, "", checks::exclude_ranges(defaults)),
            (&setting::OUTBOUND_PORTS, "", checks::outbound_include(defaults)),
            (&setting::OUTBOUND_PORTS_EXCLUDE, excluded_outbound, checks::outbound_exclude(defaults)),
            (&setting::EXCLUDE_INTERFACES, "", checks::interfaces as Check),
        ] {
            given.set(setting, Value::Text(self.get(setting, default, check).trim().to_owned()));
        }
        given.set(&setting::INBOUND_EXCLUDE, Value::Items(self.excluded_inbound()));
        given.set(&setting::KUBE_VIRT_INTERFACES, Value::Text(self.virtual_interfaces()));
        if defaults.without_istio_init() {
            given.set_default(&setting::REDIRECT_DNS, || of_sidecar(proxy, &setting::REDIRECT_DNS));
            // The CNI plugin captures all DNS, or none.
            if defaults == Defaults::Cni
                && let Some(dns) = given.get(&setting::REDIRECT_DNS).cloned()
            {
                given.set_default(&setting::CAPTURE_ALL_DNS, || dns);
            }
            for setting in [&setting::DROP_INVALID, &setting::DUAL_STACK] {
                given.set_default(setting, || of_sidecar(proxy, setting));
            }
        }
        given
    }

    /// The user's ports and the sidecar's own, in the order each of the two builds the list.
    fn excluded_inbound(&mut self) -> Vec<String> {
        let ports: Vec<&str> = match self.defaults {
            Defaults::Injector => {
                let status = self.get(&setting::STATUS_PORT, "15020", checks::status_port).trim();
                let check = checks::inbound_exclude(Defaults::Injector);
                let given = self.get(&setting::INBOUND_EXCLUDE, "", check);
                // Port 0 is "no status server"; a status port the user lists is not listed twice.
                let is_new = !status.is_empty() && status != "0" && !items(given).any(|port| port == status);
                ["15090", "15021"].into_iter().chain(items(given)).chain(is_new.then_some(status)).collect()
            }
            Defaults::Cni | Defaults::Agent => {
                let check = checks::inbound_exclude(Defaults::Cni);
                let given = self.get(&setting::INBOUND_EXCLUDE, "15020", check);
                let mut seen = HashSet::new();
                let all = items(given).chain(["15020", "15021", "15090"]);
                all.filter(|port| seen.insert(*port)).collect()
            }
        };
        ports.into_iter().map(str::to_owned).collect()
    }

    /// The deprecated annotation counts only without the other one. The injector checks it all the same, the CNI plugin
    /// does not look at it then.
    fn virtual_interfaces(&mut self) -> String {
        let new = &setting::KUBE_VIRT_INTERFACES;
        let there = self.annotations.contains_key(new.annotation);
        let skips_old = there && self.defaults.without_istio_init();
        let old = if skips_old { "" } else { self.get(&setting::KUBEVIRT, "", checks::interfaces) };
        if there { self.get(new, "", checks::interfaces) } else { old }.to_owned()
    }
}

impl Choice for Defaults {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Injector, "injector", "The sidecar injector with istio-init"),
        (Self::Cni, "cni", "The CNI plugin"),
        (
            Self::Agent,
            "agent",
            "`sidestep run`: as the CNI plugin, but DNS capture is of the pod's resolvers, as istio-init's",
        ),
    ];
}

/// The sidecar's own variable, as the CNI plugin reads it: what is no boolean only earns a warning.
fn of_sidecar(proxy: &ProxySettings, setting: &Setting) -> Value {
    let name = setting.env.last().copied().unwrap_or_default();
    let value = proxy.env.variable(name).unwrap_or("false");
    let parsed = parse_bool(value);
    if parsed.is_none() {
        warn!(variable = name, value, "not a boolean, taken as false");
    }
    Value::Switch(parsed.unwrap_or(false))
}

#[cfg(test)]
mod tests;
