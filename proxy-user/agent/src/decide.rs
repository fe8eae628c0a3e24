//! Whose pod is captured, and how: from what is known of a pod and what the operator says, without looking at anything.

use std::{collections::BTreeMap, fmt};

use proxy_cni::sidecar::init_containers;
use proxy_core::config::{
    Accelerate, Acceleration, Capture, Config, ConfigFaults, Defaults, NoHost, Observe, OptOut,
    ProxySettings, Value, accelerate_opt_out, from_annotations, opted_out,
    setting::{AGENT_INJECT, CAPTURE_ALL_DNS, DNS_SERVER, STATUS},
};

use crate::{
    pod::{Network, Pod},
    select::Selected,
    values::Values,
};

/// What becomes of a pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    Enrol(Box<Wish>),
    Leave(Reason),
    /// Its annotations cannot be followed: it must not start as if they said nothing.
    Refuse(String),
}

/// How a pod is to be enrolled. Ids are those inside the pod's user namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    pub config: Config,
    pub acceleration: Acceleration,
    pub observe: Observe,
}

/// Why a pod is left alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    HostNetwork,
    /// Annotations or label `sidestep.io/inject` say "false".
    InjectFalse,
    NotSelected,
    Excluded,
    /// It is selected by its labels, and nobody has told them yet.
    LabelsNotKnown,
    /// Istio's own marks say that it has no sidecar to redirect to.
    OptedOut(OptOut),
    IstioInit,
    /// A gateway, proxyless gRPC, interceptionMode NONE.
    DoesNotWait,
    /// The status of the injector is no JSON that it writes.
    UnreadableStatus,
    Nothing(&'static str),
}

impl Reason {
    /// A word for metrics and programs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::HostNetwork => "host_network",
            Self::InjectFalse => "inject_false",
            Self::NotSelected => "not_selected",
            Self::Excluded => "excluded",
            Self::LabelsNotKnown => "labels_not_known",
            Self::OptedOut(OptOut::InjectFalse) => "istio_inject_false",
            Self::OptedOut(OptOut::NotInjected) => "not_injected",
            Self::OptedOut(OptOut::NoEnvoy) => "no_envoy",
            Self::OptedOut(OptOut::NoSidecar) => "no_sidecar",
            Self::IstioInit => "istio_init",
            Self::DoesNotWait => "does_not_wait",
            Self::UnreadableStatus => "unreadable_status",
            Self::Nothing(_) => "captures_nothing",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostNetwork => "it uses the node's network",
            Self::InjectFalse => "sidestep.io/inject is false",
            Self::NotSelected => "it is not selected",
            Self::Excluded => "it is excluded",
            Self::LabelsNotKnown => "its labels decide, and the container runtime has not told them yet",
            Self::OptedOut(why) => why.reason(),
            Self::IstioInit => "istio-init is among its init containers, and captures it with iptables",
            Self::DoesNotWait => {
                "the injector gave it no init container that waits for a capture (a gateway, proxyless gRPC, or \
                 interceptionMode NONE)"
            }
            Self::UnreadableStatus => "the annotation sidecar.istio.io/status is not what an injector writes",
            Self::Nothing(why) => why,
        })
    }
}

/// Decides; `is_enrolled`: it is captured already. `sidecar.istio.io/status` has the last word on whether a pod waits to be
/// captured: gateways, proxyless gRPC and pods with istio-init have it too, and none of them waits.
pub fn decide(pod: &Pod, values: &Values, is_enrolled: bool) -> Decision {
    // Who selects others from now on, or makes a slip, does not send the traffic of pods that run out in plain text.
    let unselected = || unselected(pod, values).filter(|_| !is_enrolled);
    match leave(pod, values).or_else(unselected) {
        Some(reason) => Decision::Leave(reason),
        None => wish(pod, values).unwrap_or_else(|faults| Decision::Refuse(faults.to_string())),
    }
}

/// How a pod without annotations of its own is enrolled; None where none would be.
pub fn usual(values: &Values) -> Option<Wish> {
    let proxy =
        ProxySettings { env: values.proxy_env.clone().into_iter().collect(), ..ProxySettings::default() };
    match from_annotations(&BTreeMap::new(), Defaults::Agent, &proxy, &NoHost).ok()? {
        Capture::Of(config) => {
            Some(Wish { config: *config, acceleration: values.acceleration.clone(), observe: values.observe })
        }
        Capture::Nothing(_) => None,
    }
}

fn leave(pod: &Pod, values: &Values) -> Option<Reason> {
    if pod.network == Network::Host {
        return Some(Reason::HostNetwork);
    }
    let labels = pod.labels.as_ref();
    if let Some(why) = opted_out(
        &pod.annotations,
        &labels.cloned().unwrap_or_default(),
        &proxy(pod, values),
        Defaults::Agent,
    ) {
        return Some(Reason::OptedOut(why));
    }
    let inject = AGENT_INJECT.annotation;
    if labels
        .and_then(|labels| labels.get(inject))
        .or_else(|| pod.annotations.get(inject))
        .map(String::as_str)
        == Some("false")
    {
        return Some(Reason::InjectFalse);
    }
    let status = pod.annotations.get(STATUS.annotation).map_or("", String::as_str);
    let Ok(init) = init_containers(status) else { return Some(Reason::UnreadableStatus) };
    if init.iter().any(|name| name == "istio-init") {
        return Some(Reason::IstioInit);
    }
    if !init.iter().any(|name| values.waits_for.contains(name)) {
        return Some(Reason::DoesNotWait);
    }
    None
}

/// Of a pod that is captured: that it would not be captured again, in words.
pub(crate) fn kept(pod: &Pod, values: &Values) -> Option<String> {
    let reason = unselected(pod, values).filter(|reason| *reason != Reason::LabelsNotKnown)?;
    Some(format!("{reason}, and stays captured until it ends"))
}

/// Why the operator's selection does not have it.
fn unselected(pod: &Pod, values: &Values) -> Option<Reason> {
    match values.selection.of(&pod.name, pod.labels.as_ref()) {
        Selected::Yes => None,
        Selected::NotSelected => Some(Reason::NotSelected),
        Selected::Excluded => Some(Reason::Excluded),
        Selected::NotKnown => Some(Reason::LabelsNotKnown),
    }
}

fn wish(pod: &Pod, values: &Values) -> Result<Decision, ConfigFaults> {
    let capture = from_annotations(&pod.annotations, Defaults::Agent, &proxy(pod, values), &NoHost);
    let opted_out = accelerate_opt_out(&pod.annotations);
    let (capture, opted_out) = match (capture, opted_out) {
        (Ok(capture), Ok(opted_out)) => (capture, opted_out),
        (capture, opted_out) => {
            let faults = [capture.err(), opted_out.err()].into_iter().flatten().flat_map(|faults| faults.0);
            return Err(ConfigFaults(faults.collect()));
        }
    };
    Ok(match capture {
        Capture::Nothing(why) => Decision::Leave(Reason::Nothing(why)),
        Capture::Of(config) => {
            let mut acceleration = values.acceleration.clone();
            if opted_out {
                acceleration.mode = Accelerate::Off;
            }
            Decision::Enrol(Box::new(Wish { config: *config, acceleration, observe: values.observe }))
        }
    })
}

/// The sidecar as its container says it; before there is one, as the operator says all are.
fn proxy(pod: &Pod, values: &Values) -> ProxySettings {
    let mut env = values.proxy_env.clone();
    let known = pod.proxy.as_ref();
    env.extend(known.iter().flat_map(|proxy| proxy.env.clone()));
    let mut settings = ProxySettings {
        uid: known.and_then(|proxy| proxy.uid).or(values.proxy_id),
        gid: known.and_then(|proxy| proxy.gid).or(values.proxy_id),
        env: env.into_iter().collect(),
        args: known.map(|proxy| proxy.args.clone()).unwrap_or_default(),
        ..ProxySettings::default()
    };
    match &pod.dns_servers {
        Some(servers) if !servers.is_empty() => {
            let servers = servers.iter().map(ToString::to_string).collect();
            settings.given.set(&DNS_SERVER, Value::Items(servers));
        }
        // Whom the pod asks is not known: every query, as the CNI plugin does. It counts only where DNS is captured.
        _ => settings.given.set(&CAPTURE_ALL_DNS, Value::Switch(true)),
    }
    settings
}

#[cfg(test)]
mod tests;
