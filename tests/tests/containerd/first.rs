//! A pod's first instruction, and what its containers connect to in the order they are started.

use std::sync::atomic::{AtomicU32, Ordering};

use tests::report::Outcome;
use tests::scale::pods;

use crate::node::{Node, WORLD, can_be_had};
use crate::pod::{APP, Pod, SIDECAR, Spec};

/// Pods that are set up at a time.
const AT_A_TIME: u32 = 4;

/// Kubelet does it so as well: several at a time.
#[test]
fn it_is_captured_in_every_pod() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    let plain = Pod::run(&node, Spec::plain("plain")).unwrap();
    assert!(plain.connect().unwrap().is_the_worlds(), "without a sidecar it goes where it is sent");
    let (all, next) = (u32::try_from(pods(8, 50)).unwrap(), AtomicU32::new(0));
    let captured = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= all {
                        return;
                    }
                    let pod = Pod::run(&node, Spec::meshed(&format!("web-{number}"))).unwrap();
                    let connected = pod.connect().unwrap();
                    assert_eq!(connected.outcome(), Outcome::Refused, "pod {number}: {connected:?}");
                    captured.fetch_add(1, Ordering::Relaxed);
                    pod.remove().unwrap();
                }
            });
        }
    });
    assert_eq!(captured.into_inner(), all);
    let added = node.metric("sidestep_agent_enrolments_total{when=\"add\"}").unwrap();
    assert_eq!(added, f64::from(all), "each before its first instruction");
    assert!(node.workloads().unwrap().is_empty());
}

/// Init containers before the sidecar meet nobody; so does who connects while the sidecar is started again and again.
#[test]
fn without_its_sidecar_a_pod_connects_to_nobody() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    let pod = Pod::run(&node, Spec::meshed("web")).unwrap();
    let early = pod.connect().unwrap();
    assert_eq!(early.outcome(), Outcome::Refused, "an init container before the sidecar: {early:?}");
    for attempt in 0..3 {
        let sidecar = pod.serve("istio-proxy", SIDECAR, &["--listen", "0.0.0.0:15001", "--report"]).unwrap();
        let through = pod.connect().unwrap().0.report();
        let through = through.unwrap_or_else(|| panic!("attempt {attempt}: no report of the sidecar's"));
        assert_eq!(through.listener.port(), 15001);
        assert_eq!(through.original_dst().address, Some(WORLD.parse().unwrap()));
        pod.kill(&sidecar).unwrap();
        let meanwhile = pod.connect().unwrap();
        assert_eq!(meanwhile.outcome(), Outcome::Refused, "attempt {attempt}: {meanwhile:?}");
    }
    // What the sidecar itself connects to is not captured.
    let own = pod.output("istio-proxy", SIDECAR, &["connect", "--to", WORLD]).unwrap();
    assert!(own.contains(crate::node::OF_THE_WORLD), "{own}");
    assert_eq!(pod.connect_as(APP).unwrap().outcome(), Outcome::Refused);
}
