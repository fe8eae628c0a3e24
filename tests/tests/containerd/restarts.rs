//! The agent, the runtime and the node end, and come back.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::report::Outcome;
use tests::scale::full_or;
use tests::wait::until;

use crate::node::{Node, SOON, can_be_had};
use crate::pod::{Pod, Spec};

/// Those of the enrolled pods: a pod that was released and enrolled again has another.
fn slots(node: &Node) -> Vec<Value> {
    node.workloads().unwrap().iter().map(|row| row["meta"]["slot"].clone()).collect()
}

/// Killed in the middle of set-ups, again and again: whoever starts is captured, and whoever cannot be starts later.
#[test]
fn an_agent_is_killed_while_pods_are_set_up() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    let count = full_or(4, 16);
    let mut kills = 0;
    let mut pods: Vec<Pod> = Vec::new();
    while pods.len() < count {
        // Two are being set up at each of the kills.
        let names = [pods.len(), pods.len() + 1].map(|number| format!("web-{number}"));
        let made = std::thread::scope(|scope| -> Result<Vec<Pod>> {
            let inside = &node;
            let threads: Vec<_> = names
                .iter()
                .map(|name| scope.spawn(move || Pod::run_with_patience(inside, Spec::meshed(name))))
                .collect();
            while !threads.iter().all(|thread| thread.is_finished()) {
                std::thread::sleep(Duration::from_millis(20 + 30 * (kills % 4)));
                inside.end_agent(Signal::SIGKILL)?;
                kills += 1;
                inside.run_agent(&[])?;
            }
            Ok(threads.into_iter().map(|thread| thread.join().unwrap()).collect())
        });
        pods.extend(made.unwrap());
    }
    println!("{kills} kills while {} pods were set up", pods.len());
    for pod in &pods {
        let connected = pod.connect().unwrap();
        assert_eq!(connected.outcome(), Outcome::Refused, "{connected:?}");
    }
    assert_eq!(node.workloads().unwrap().len(), pods.len());
    node.ready();
    for pod in pods {
        pod.remove().unwrap();
    }
    assert!(node.workloads().unwrap().is_empty());
    node.end_agent(Signal::SIGTERM).unwrap();
}

/// While nobody lists pods nothing is released; who comes back finds them as they were.
#[test]
fn the_runtime_is_away_and_comes_back() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    let pods: Vec<Pod> =
        (0..3).map(|number| Pod::run(&node, Spec::meshed(&format!("web-{number}"))).unwrap()).collect();
    until("the runtime has listed them", SOON, || node.pods().unwrap().len() == 3);
    let before = slots(&node);
    for _ in 0..2 {
        let said = || node.log().matches("the container runtime does not answer").count();
        let times = said();
        node.end_containerd(Signal::SIGKILL).unwrap();
        fs::remove_file(node.socket()).unwrap();
        until("the agent sees it", SOON, || said() > times);
        assert_eq!((slots(&node), node.pods().unwrap().len()), (before.clone(), 3));
        node.run_containerd().unwrap();
        let pod = Pod::run(&node, Spec::meshed("later")).unwrap();
        assert_eq!(pod.connect().unwrap().outcome(), Outcome::Refused);
        pod.remove().unwrap();
    }
    assert_eq!(slots(&node), before);
    let released = node.metric("sidestep_agent_releases_total").unwrap();
    assert!((released - 2.0).abs() < f64::EPSILON, "the two that were removed: {released}");
    pods.into_iter().for_each(|pod| pod.remove().unwrap());
    assert!(slots(&node).is_empty());
}

/// What a reboot leaves is on disk: the list with our entry, and the plugin. bpffs and /run are empty.
#[test]
fn a_node_that_has_been_rebooted_waits_for_its_agent() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    Pod::run(&node, Spec::meshed("before")).unwrap().remove().unwrap();
    node.end_agent(Signal::SIGKILL).unwrap();
    node.forget().unwrap();
    let plain = Pod::run(&node, Spec::plain("plain")).unwrap();
    assert!(plain.connect().unwrap().is_the_worlds(), "a pod without a sidecar starts");
    let refused = Pod::run(&node, Spec::meshed("early")).unwrap_err();
    assert!(format!("{refused:#}").contains("does not answer at /run/sidestep/cni.sock"), "{refused:#}");
    plain.remove().unwrap();
    node.run_agent(&[]).unwrap();
    let pod = Pod::run(&node, Spec::meshed("web")).unwrap();
    assert_eq!(pod.connect().unwrap().outcome(), Outcome::Refused);
    node.ready();
}

/// The other policy: the pod starts, and is enrolled when it is listed.
#[test]
fn with_an_open_policy_pods_start_and_are_enrolled_later() {
    if !can_be_had() {
        return;
    }
    let open = ["--failure-policy", "open"];
    let node = Node::start(&open).unwrap();
    node.end_agent(Signal::SIGTERM).unwrap();
    let pod = Pod::run(&node, Spec::meshed("web")).unwrap();
    assert!(pod.connect().unwrap().is_the_worlds(), "nobody has captured it");
    node.run_agent(&open).unwrap();
    until("it is enrolled live", SOON, || !node.workloads().unwrap().is_empty());
    assert_eq!(pod.connect().unwrap().outcome(), Outcome::Refused);
    let live = node.metric("sidestep_agent_enrolments_total{when=\"live\"}").unwrap();
    assert!((live - 1.0).abs() < f64::EPSILON, "{live}");
}
