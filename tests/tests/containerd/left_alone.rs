//! Pods that are not captured, and those that are captured in part: what they connect to, and what the agent says of them.

use tests::report::Outcome;
use tests::wait::until;

use crate::node::{Node, SOON, can_be_had};
use crate::pod::{Pod, Spec};

/// Injected, by what the template has put into the pod.
fn injected(status: &str) -> Spec {
    Spec::plain("pod").annotated(&[("sidecar.istio.io/status", status)])
}

fn on_the_nodes_network() -> Spec {
    let mut spec = Spec::meshed("pod");
    spec.options.network = 2;
    spec
}

fn of_the_system() -> Spec {
    Spec { namespace: "kube-system".to_owned(), ..Spec::meshed("pod") }
}

const GATEWAY: &str = r#"{"initContainers":null,"containers":["istio-proxy"]}"#;
const WITH_INIT: &str = r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"#;

#[test]
fn each_for_its_reason() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    let proxyless = injected(GATEWAY).annotated(&[("inject.istio.io/templates", "grpc-agent")]);
    let ambient = Spec::plain("pod").annotated(&[("ambient.istio.io/redirection", "enabled")]);
    let cases = [
        ("plain", Spec::plain("pod"), "not_injected"),
        ("ambient", ambient, "not_injected"),
        ("gateway", injected(GATEWAY), "does_not_wait"),
        ("proxyless", proxyless, "does_not_wait"),
        ("istio-init", injected(WITH_INIT), "istio_init"),
        (
            "interception-none",
            Spec::meshed("pod").annotated(&[("sidecar.istio.io/interceptionMode", "NONE")]),
            "captures_nothing",
        ),
        ("opted-out", Spec::meshed("pod").annotated(&[("sidestep.io/inject", "false")]), "inject_false"),
        (
            "not-injected",
            Spec::meshed("pod").annotated(&[("sidecar.istio.io/inject", "false")]),
            "istio_inject_false",
        ),
        ("unreadable", injected("{"), "unreadable_status"),
        ("host-network", on_the_nodes_network(), "host_network"),
        ("excluded-namespace", of_the_system(), "excluded"),
    ];
    let cases = cases.map(|(name, spec, reason)| (Spec { name: name.to_owned(), ..spec }, reason));
    let mut pods = Vec::new();
    for (spec, reason) in cases {
        let name = spec.name.clone();
        let pod = Pod::run(&node, spec).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let connected = pod.connect().unwrap();
        assert!(connected.is_the_worlds(), "{name}: {connected:?}");
        pods.push((pod, name, reason));
    }
    for (_, name, reason) in &pods {
        let expected = Some(("left_alone".to_owned(), (*reason).to_owned()));
        let mut said = None;
        until(&format!("{name} is left alone for {reason}"), SOON, || {
            said = node.said_of(name).unwrap();
            said == expected
        });
    }
    assert!(node.workloads().unwrap().is_empty());
}

/// An annotation that takes a part out, and one that cannot be followed.
#[test]
fn annotations_are_followed() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    let excluded = ("traffic.sidecar.istio.io/excludeOutboundPorts", "8080");
    let pod = Pod::run(&node, Spec::meshed("port").annotated(&[excluded])).unwrap();
    let connected = pod.connect().unwrap();
    assert!(connected.is_the_worlds(), "{connected:?}");
    assert_eq!(node.said_of("port").unwrap(), Some(("enrolled".to_owned(), String::new())));
    let other = ("traffic.sidecar.istio.io/excludeOutboundPorts", "8081");
    let pod = Pod::run(&node, Spec::meshed("other").annotated(&[other])).unwrap();
    assert_eq!(pod.connect().unwrap().outcome(), Outcome::Refused);
    let wrong = ("traffic.sidecar.istio.io/excludeOutboundPorts", "many");
    let refused = Pod::run(&node, Spec::meshed("wrong").annotated(&[wrong])).unwrap_err();
    assert!(format!("{refused:#}").contains("excludeOutboundPorts"), "{refused:#}");
}
