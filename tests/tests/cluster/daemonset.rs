//! sidestep as users install it: by its chart. It is changed, taken back and removed while pods ask each other.

mod broken;
mod canary;
mod installed;
mod without_agent;

use std::time::Duration;

use anyhow::ensure;
use tests::cluster::pods::{Own, all_pins, idle_on};
use tests::cluster::turn;
use tests::cluster::way::Way;
use tests::cluster::world::PLAIN;
use tests::requirement::Requirement;

use installed::{captured_on, of_sidestep, through_kubectl, uids, under_load};

const READY_WITHIN: Duration = Duration::from_secs(180);

/// By who has kubectl and sidestep, on no node: each node's agent and pods, and each pod's check.
#[test]
fn seen_through_kubectl() {
    let Some(world) = turn::alone(Requirement::DaemonSet) else { return };
    let cluster = &world.cluster;
    let status = through_kubectl(cluster, "status").unwrap();
    assert!(status.well && status.document["well"] == true, "{}", status.said);
    let expected: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(status.nodes(), expected);
    let verified = through_kubectl(cluster, "verify").unwrap();
    let pods = verified.document["pods"].as_array().unwrap();
    let passed = |name: &str| pods.iter().any(|pod| pod["pod"] == name && pod["passed"] == true);
    let namespace = Way::Sidestep.namespace();
    assert!(passed(&format!("{namespace}/client")) && passed(&format!("{namespace}/far")), "{pods:#?}");
    assert!(verified.well && pods.iter().all(|pod| pod["passed"] == true), "{}: {pods:#?}", verified.said);
}

/// Each is one command, and no request fails that does not fail under iptables.
#[test]
fn upgraded_and_rolled_back_under_load() {
    under_load(|cluster, installed| {
        let first = uids(cluster)?;
        ensure!(first.len() == cluster.nodes.len(), "{first:?}");
        // With the rights that are named one by one.
        installed.set("leastPrivilege=true")?;
        installed.rolled_out()?;
        let upgraded = uids(cluster)?;
        ensure!(upgraded.is_disjoint(&first), "{upgraded:?} after {first:?}");
        captured_on(cluster, &cluster.nodes, "upgraded")?;
        installed.helm(&["rollback"])?;
        installed.rolled_out()?;
        ensure!(uids(cluster)?.is_disjoint(&upgraded), "an agent was not rolled back");
        captured_on(cluster, &cluster.nodes, "rolled-back")
    });
}

/// What runs stays captured, new pods start without, and nothing is left on the nodes.
#[test]
fn removed_under_load() {
    under_load(|cluster, installed| {
        let before = all_pins(cluster)?;
        ensure!(!of_sidestep(&cluster.nodes)?.is_empty(), "nothing of sidestep is on the nodes");
        installed.remove()?;
        for node in &cluster.nodes {
            let pod = Own::create(cluster, PLAIN, &[idle_on(node, &format!("after-{}", node.name))])?;
            pod.ready(READY_WITHIN)?;
            pod.delete()?;
        }
        ensure!(all_pins(cluster)? == before, "a pod that runs is not captured any more");
        Ok(())
    });
}
