//! One case a kind of pod.

use std::{collections::BTreeMap, path::PathBuf};

use proptest::prelude::*;
use proxy_core::config::{DnsServers, PortSet};
use rstest::rstest;

use super::*;
use crate::{
    pod::{Proxy, SandboxId},
    select::Selection,
};

const WAITS: &str =
    r#"{"initContainers":["istio-validation","istio-proxy"],"containers":[],"volumes":["x"]}"#;

fn pod(annotations: &[(&str, &str)]) -> Pod {
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    Pod {
        sandbox: SandboxId("s".to_owned()),
        name: "shop/web-0".parse().unwrap(),
        uid: "u".to_owned(),
        annotations: pairs(annotations),
        labels: Some(BTreeMap::new()),
        network: Network::Own(PathBuf::from("/run/netns/web")),
        cgroup: None,
        dns_servers: None,
        proxy: None,
    }
}

fn of(annotations: &[(&str, &str)]) -> Decision {
    decide(&pod(annotations), &Values::default(), false)
}

fn enrolled(pod: &Pod, values: &Values) -> Wish {
    match decide(pod, values, false) {
        Decision::Enrol(wish) => *wish,
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case::no_sidecar(&[], Reason::OptedOut(OptOut::NotInjected))]
#[case::ambient(&[("ambient.istio.io/redirection", "enabled")], Reason::OptedOut(OptOut::NotInjected))]
#[case::istio_init(&[("sidecar.istio.io/status", r#"{"initContainers":["istio-init","istio-proxy"]}"#)], Reason::IstioInit)]
#[case::gateway(&[("sidecar.istio.io/status", r#"{"initContainers":null,"containers":["istio-proxy"]}"#)], Reason::DoesNotWait)]
#[case::proxyless(&[("sidecar.istio.io/status", r#"{"containers":["istio-proxy"]}"#)], Reason::DoesNotWait)]
#[case::no_json(&[("sidecar.istio.io/status", "x")], Reason::UnreadableStatus)]
#[case::other_json(&[("sidecar.istio.io/status", r#"{"initContainers":[1]}"#)], Reason::UnreadableStatus)]
#[case::told_istio(&[("sidecar.istio.io/status", WAITS), ("sidecar.istio.io/inject", "false")], Reason::OptedOut(OptOut::InjectFalse))]
#[case::told_us(&[("sidecar.istio.io/status", WAITS), ("sidestep.io/inject", "false")], Reason::InjectFalse)]
fn left_alone(#[case] annotations: &[(&str, &str)], #[case] reason: Reason) {
    assert_eq!(of(annotations), Decision::Leave(reason));
}

#[test]
fn mode_none_is_left_alone_whatever_waits() {
    let decision = of(&[("sidecar.istio.io/status", WAITS), ("sidecar.istio.io/interceptionMode", "NONE")]);
    assert!(matches!(decision, Decision::Leave(Reason::Nothing(_))), "{decision:?}");
}

#[test]
fn a_pod_that_waits_is_captured_as_the_cni_plugin_would() {
    let wish = enrolled(&pod(&[("sidecar.istio.io/status", WAITS)]), &Values::default());
    assert_eq!(wish.config.inbound_include, PortSet::All);
    assert_eq!(wish.config.inbound_exclude, [15020, 15021, 15090]);
    assert_eq!((wish.config.proxy_uids, wish.config.dns), (vec![1337], None));
    let values = Values { waits_for: vec!["my-wait".to_owned()], ..Values::default() };
    let mine = pod(&[("sidecar.istio.io/status", r#"{"initContainers":["my-wait"]}"#)]);
    enrolled(&mine, &values);
    assert_eq!(decide(&mine, &Values::default(), false), Decision::Leave(Reason::DoesNotWait));
}

#[test]
fn the_nodes_network_is_never_captured() {
    let mut pod = pod(&[("sidecar.istio.io/status", WAITS)]);
    pod.network = Network::Host;
    assert_eq!(decide(&pod, &Values::default(), false), Decision::Leave(Reason::HostNetwork));
}

#[test]
fn a_label_comes_before_the_annotation() {
    let mut pod = pod(&[("sidecar.istio.io/status", WAITS), ("sidestep.io/inject", "false")]);
    pod.labels = Some([("sidestep.io/inject".to_owned(), "true".to_owned())].into());
    enrolled(&pod, &Values::default());
}

#[test]
fn the_sidecars_container_has_the_last_word() {
    let mut values = Values::default();
    values.proxy_env.insert("ISTIO_META_DNS_CAPTURE".to_owned(), "true".to_owned());
    let mut pod = pod(&[("sidecar.istio.io/status", WAITS)]);
    // Nobody has told the resolvers.
    assert_eq!(enrolled(&pod, &values).config.dns.unwrap().servers, DnsServers::All);
    pod.dns_servers = Some(vec!["10.96.0.10".parse().unwrap()]);
    let expected = DnsServers::List(vec!["10.96.0.10".parse().unwrap()]);
    assert_eq!(enrolled(&pod, &values).config.dns.unwrap().servers, expected);
    let env = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    pod.proxy =
        Some(Proxy { uid: Some(2000), env: env("ISTIO_META_DNS_CAPTURE", "false"), ..Proxy::default() });
    let wish = enrolled(&pod, &values);
    assert_eq!((wish.config.proxy_uids, wish.config.dns), (vec![2000], None));
    pod.proxy = Some(Proxy { env: env("DISABLE_ENVOY", "true"), ..Proxy::default() });
    assert_eq!(decide(&pod, &values, false), Decision::Leave(Reason::OptedOut(OptOut::NoEnvoy)));
    pod.proxy = Some(Proxy { args: vec!["proxy".to_owned(), "router".to_owned()], ..Proxy::default() });
    assert_eq!(decide(&pod, &values, false), Decision::Leave(Reason::OptedOut(OptOut::NoSidecar)));
}

#[test]
fn what_cannot_be_followed_is_refused_with_every_fault() {
    let decision = of(&[
        ("sidecar.istio.io/status", WAITS),
        ("traffic.sidecar.istio.io/includeInboundPorts", "http"),
        ("sidestep.io/accelerate", "perhaps"),
    ]);
    let Decision::Refuse(text) = decision else { panic!("{decision:?}") };
    assert!(text.contains("includeInboundPorts") && text.contains("sidestep.io/accelerate"), "{text}");
}

#[test]
fn acceleration_is_the_operators_and_the_pod_may_do_without() {
    let annotations = [("sidecar.istio.io/status", WAITS), ("sidestep.io/accelerate", "false")];
    assert_eq!(
        enrolled(&pod(&annotations[..1]), &Values::default()).acceleration.mode,
        Accelerate::SafeReaders
    );
    assert_eq!(enrolled(&pod(&annotations), &Values::default()).acceleration.mode, Accelerate::Off);
}

/// The plugin has no settings, and goes by the same annotations.
#[test]
fn the_plugin_reads_the_same_annotations() {
    assert_eq!(proxy_cni::sidecar::STATUS, STATUS.annotation);
    assert_eq!(proxy_cni::sidecar::INJECT, AGENT_INJECT.annotation);
}

/// Names that count, with whatever a pod writes behind them.
fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    const NAMES: [&str; 8] = [
        "traffic.sidecar.istio.io/includeInboundPorts",
        "traffic.sidecar.istio.io/excludeOutboundPorts",
        "traffic.sidecar.istio.io/includeOutboundIPRanges",
        "traffic.sidecar.istio.io/kubevirtInterfaces",
        "sidecar.istio.io/interceptionMode",
        "sidestep.io/accelerate",
        "sidestep.io/inject",
        "proxy.istio.io/config",
    ];
    let text = prop_oneof![any::<String>(), "[-0-9,*./: a-zA-Z]{0,40}", Just("*".repeat(1 << 16))];
    prop::collection::btree_map(prop::sample::select(&NAMES[..]).prop_map(str::to_owned), text, 0..5)
}

proptest! {
    /// What a pod writes about itself decides about itself, one way or another, and always the same.
    #[test]
    fn no_annotation_is_too_strange(more in annotations(), status in any::<Option<String>>()) {
        let mut all = more;
        all.insert(STATUS.annotation.to_owned(), status.unwrap_or_else(|| WAITS.to_owned()));
        let pod = Pod { annotations: all, ..pod(&[]) };
        let decision = decide(&pod, &Values::default(), false);
        prop_assert_eq!(&decide(&pod, &Values::default(), false), &decision);
        if let Decision::Refuse(why) = decision {
            prop_assert!(why.lines().all(|line| line.starts_with("annotation ") && !line.contains(char::is_control)), "{:?}", why);
        }
    }
}

#[test]
fn what_is_captured_stays_so_whoever_is_selected() {
    let pod = pod(&[(STATUS.annotation, WAITS)]);
    let selection = Selection { select: vec!["bank/*".parse().unwrap()], exclude: Vec::new() };
    let values = Values { selection, ..Values::default() };
    assert_eq!(decide(&pod, &values, false), Decision::Leave(Reason::NotSelected));
    assert_eq!(decide(&pod, &values, true), decide(&pod, &Values::default(), true));
    assert_eq!(unselected(&pod, &values), Some(Reason::NotSelected));
    // A mark of its own counts.
    let mut out = pod;
    out.annotations.insert(AGENT_INJECT.annotation.to_owned(), "false".to_owned());
    assert_eq!(decide(&out, &values, true), Decision::Leave(Reason::InjectFalse));
}
