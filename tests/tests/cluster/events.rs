//! What sidestep counted in the pods of all cases: nothing that is a failure.

use serde_json::Value;
use tests::cluster::turn;
use tests::cluster::way::Way;
use tests::cluster::world::{Part, World};
use tests::requirement::{Requirement, met};
use tests::sidestep;

/// What happens in the course of things: an answer is an event as well. No sidecar listens before it has started, nor
/// while the killed one comes back. A port that is forwarded is connected to by the container runtime, inside the pod's
/// network.
const ORDINARY: [&str; 5] = ["original_dst", "dns_reply", "tproxy_source", "no_listener", "outside_cgroup"];

#[test]
fn are_no_failures() {
    if !met(&[Requirement::Cluster]) {
        return;
    }
    let _turn = turn::shared();
    let world = World::of(Part::Base).unwrap_or_else(|error| panic!("{error:#}"));
    let binary = sidestep::binary().unwrap().display().to_string();
    let (mut all, mut faults) = (0, Vec::new());
    for node in &world.cluster.nodes {
        // Exit code 1 is about workloads that are only half there, of pods that start.
        let output = node.command(&[&binary, "status", "--output", "json"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let status: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("sidestep status on {}: {error}: {said}", node.name));
        let (pods, answered) = count(&status, &mut faults);
        println!("{}: {pods} pods, SO_ORIGINAL_DST answered {answered} times", node.name);
        all += pods;
        assert!(pods > 0 && answered > 0, "{}: {pods} pods, {answered} answers: {status}", node.name);
    }
    assert!(all >= 3, "{all} pods");
    assert!(faults.is_empty(), "{faults:#?}");
}

/// How many pods of ours, and answers of SO_ORIGINAL_DST in them.
fn count(status: &Value, faults: &mut Vec<String>) -> (u64, u64) {
    let workloads = status["workloads"].as_array().unwrap();
    let (mut pods, mut answered) = (0, 0);
    let ours =
        workloads.iter().filter(|workload| workload["meta"]["pod"]["namespace"] == Way::Sidestep.namespace());
    for workload in ours {
        pods += 1;
        for (event, count) in workload["counters"]["events"].as_object().unwrap() {
            if event == "original_dst" {
                answered += count.as_u64().unwrap_or_default();
            }
            if !ORDINARY.contains(&event.as_str()) {
                faults.push(format!("{}: {event} {count}", workload["meta"]["pod"]["name"]));
            }
        }
    }
    (pods, answered)
}
