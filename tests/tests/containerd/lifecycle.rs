//! What becomes of a pod between its start and its end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use tests::agent;
use tests::report::{Exchanges, Outcome};
use tests::wait::until;

use crate::node::{Node, SOON, can_be_had};
use crate::pod::{Pod, SIDECAR, Spec};

/// Connections into the pod go on while it ends, as they do in every rollout.
#[test]
fn a_pod_ends_while_connections_run() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    let pod = Pod::run(&node, Spec::meshed("web")).unwrap();
    pod.serve("istio-proxy", SIDECAR, &["--listen", "0.0.0.0:15006", "--echo"]).unwrap();
    // Nobody listens there but the sidecar, at its own port.
    let to = format!("{}:8080", pod.address().unwrap());
    let mut load = node.command(agent::path().unwrap());
    load.args(["load", "--renew", "--connections", "2", "--to", &to]);
    let mut load = load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(load.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    pod.remove().unwrap();
    assert!(node.workloads().unwrap().is_empty(), "released with the pod's network");
    drop(load.stdin.take());
    let mut counts = String::new();
    out.read_to_string(&mut counts).unwrap();
    load.wait().unwrap();
    let counts: Exchanges = serde_json::from_str(&counts).unwrap();
    assert!(counts.completed > 0, "{counts:?}");
    // The next pod may get the same address.
    let next = Pod::run(&node, Spec::meshed("next")).unwrap();
    assert_eq!(next.connect().unwrap().outcome(), Outcome::Refused);
}

/// The node was restarted under a pod, or its sandbox was killed: the same pod, the same cgroup, another namespace.
#[test]
fn a_sandbox_is_made_anew() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    let spec = Spec::meshed("web");
    let mut first = Pod::run(&node, spec.clone()).unwrap();
    assert_eq!(first.connect().unwrap().outcome(), Outcome::Refused);
    let enrolled = node.workloads().unwrap();
    assert_eq!(enrolled[0]["meta"]["sandbox"]["id"], first.sandbox(), "{enrolled:#?}");
    first.stop_sandbox().unwrap();
    let second = Pod::run(&node, Spec { attempt: 1, ..spec }).unwrap();
    assert_eq!(second.connect().unwrap().outcome(), Outcome::Refused);
    let after = node.workloads().unwrap();
    assert_eq!(after.len(), 1, "{after:#?}");
    // The kernel may give the new namespace the number of the old one, and the workload with it the name.
    assert_eq!(after[0]["meta"]["sandbox"]["id"], second.sandbox());
    // Kubelet removes the old sandbox at some time, and the pod goes on.
    first.remove_sandbox().unwrap();
    assert_eq!(second.connect().unwrap().outcome(), Outcome::Refused);
    assert_eq!(node.said_of("web").unwrap().unwrap().0, "enrolled");
}

/// A StatefulSet's: the name again, another uid.
#[test]
fn a_name_comes_again_with_another_uid() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    let mut addresses = Vec::new();
    for _ in 0..3 {
        let pod = Pod::run(&node, Spec::meshed("web-0")).unwrap();
        assert_eq!(pod.connect().unwrap().outcome(), Outcome::Refused);
        addresses.push(pod.address().unwrap());
        let sandbox = pod.sandbox().to_owned();
        let workloads = node.workloads().unwrap();
        assert_eq!(workloads.len(), 1, "{workloads:#?}");
        assert_eq!(workloads[0]["meta"]["sandbox"]["id"], sandbox.as_str());
        pod.remove().unwrap();
    }
    until("the agent forgets it", SOON, || node.said_of("web-0").unwrap().is_none());
    assert!(node.workloads().unwrap().is_empty());
}
