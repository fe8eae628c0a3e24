//! The agent of one node does not run any more. What is captured stays so, the other nodes know nothing of it, and
//! `sidestep cluster status` says which node it is.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::cluster::pods::{Own, all_pins, idle_on, refused, tries_of_validation};
use tests::cluster::way::Way;
use tests::cluster::world::PLAIN;
use tests::cluster::{Cluster, Node, component};
use tests::wait::until_some;

use super::READY_WITHIN;
use super::installed::{Installed, agents, captured_on, through_kubectl, uids, under_load};

const LOOK_EVERY: Duration = Duration::from_millis(700);
const WITHIN: Duration = Duration::from_secs(180);
/// Upgrades that stop at their first node.
const NO_IMAGE: &str = r#"image="docker.io/lab/sidestep:none""#;
/// The agent says that it is no port, and ends; kubelet starts it again and again.
const ENDS_AT_ONCE: &str = r#"page="127.0.0.1:99999""#;

#[test]
fn without_an_image() {
    holds_pods(NO_IMAGE, "ErrImageNeverPull");
}

#[test]
fn ends_again_and_again() {
    holds_pods(ENDS_AT_ONCE, "CrashLoopBackOff");
}

/// A pod that starts on the node of the broken agent waits for the mended one.
fn holds_pods(value: &str, reason: &str) {
    under_load(|cluster, installed| {
        broken(cluster, installed, value, reason, |node| {
            let held = held(cluster, node)?;
            refused(cluster, held.namespace, &held.names[0])?;
            Ok(held)
        })?
        .work(READY_WITHIN)
    });
}

/// kubelet starts it again, and it goes on with what is pinned.
#[test]
fn killed() {
    under_load(|cluster, _| {
        let node = &cluster.nodes[0];
        let (before, pinned) = (uids(cluster)?, all_pins(cluster)?);
        component::kill_agent(node)?;
        ensure!(all_pins(cluster)? == pinned, "the end of an agent changed what is pinned");
        until("the agent runs again", || {
            let told = through_kubectl(cluster, "status")?;
            Ok((told.well && restarts(&agents(cluster)?, node) > 0).then_some(()))
        })?;
        ensure!(uids(cluster)? == before && all_pins(cluster)? == pinned, "more than the agent has changed");
        captured_on(cluster, &cluster.nodes, "after-a-kill")
    });
}

/// How often its agent's container was started again.
fn restarts(agents: &[Value], node: &Node) -> u64 {
    let mut of = agents.iter().filter(|pod| pod["spec"]["nodeName"] == node.name.as_str());
    of.next()
        .and_then(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64())
        .unwrap_or_default()
}

/// A pod starts uncaptured, so that its istio-validation fails until the agent is back and captures it.
#[test]
fn with_an_open_failure_policy() {
    under_load(|cluster, installed| {
        installed.set(r#"failurePolicy="open""#)?;
        installed.rolled_out()?;
        let passed = broken(cluster, installed, NO_IMAGE, "ErrImageNeverPull", |node| {
            let passed = held(cluster, node)?;
            until("its istio-validation fails", || {
                Ok(passed.get()?.iter().all(|pod| tries_of_validation(pod) > 1).then_some(()))
            })?;
            Ok(passed)
        })?;
        for pod in passed.ready(READY_WITHIN)? {
            ensure!(tries_of_validation(&pod) > 1, "it was not there before the agent");
        }
        let place = format!("{}/{}", passed.namespace, passed.names[0]);
        let said = cluster.exec(&place, &["/bin/app", "ask", "http://server/"])?;
        ensure!(said.contains("mutual TLS"), "{place} is answered {said}");
        passed.delete()
    });
}

fn held<'a>(cluster: &'a Cluster, node: &Node) -> Result<Own<'a>> {
    Own::create(cluster, Way::Sidestep.namespace(), &[idle_on(node, "held")])
}

/// An upgrade by one value breaks one node's agent, for a reason that kubelet gives; `meanwhile` is on that node. One
/// command mends it.
fn broken<T>(
    cluster: &Cluster,
    installed: &Installed<'_>,
    value: &str,
    reason: &str,
    meanwhile: impl FnOnce(&Node) -> Result<T>,
) -> Result<T> {
    let (before, pinned) = (uids(cluster)?, all_pins(cluster)?);
    installed.set(value)?;
    let name = until("an agent does not start", || Ok(not_starting(&agents(cluster)?, &before, reason)))?;
    let (node, others): (Vec<Node>, Vec<Node>) =
        cluster.nodes.iter().cloned().partition(|node| node.name == name);
    let node = &node[0];
    let told = through_kubectl(cluster, "status")?;
    ensure!(!told.well && told.document["well"] == false, "all is well, it says: {}", told.said);
    let faults = told.faults();
    ensure!(faults.len() == 1 && faults.contains_key(&name), "{faults:?}, and {name} is broken");
    ensure!(faults[&name].contains("does not run"), "{faults:?}");
    // Where it runs, it is the one that ran.
    let kept = uids(cluster)?.intersection(&before).count();
    ensure!(kept == others.len(), "{kept} of {} agents are as before", others.len());
    captured_on(cluster, &others, "beside")?;
    let plain = Own::create(cluster, PLAIN, &[idle_on(node, "plain-beside")])?;
    plain.ready(READY_WITHIN)?;
    plain.delete()?;
    let made = meanwhile(node)?;
    ensure!(all_pins(cluster)? == pinned, "the end of an agent changed what is pinned");
    installed.helm(&["rollback"])?;
    installed.rolled_out()?;
    captured_on(cluster, &cluster.nodes, "mended")?;
    let told = through_kubectl(cluster, "status")?;
    ensure!(told.well && told.faults().is_empty(), "{}", told.said);
    Ok(made)
}

/// The node of a new agent that waits for this reason.
fn not_starting(agents: &[Value], before: &BTreeSet<String>, reason: &str) -> Option<String> {
    let new =
        agents.iter().filter(|pod| !before.contains(pod["metadata"]["uid"].as_str().unwrap_or_default()));
    let mut waiting =
        new.filter(|pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason);
    waiting.next()?["spec"]["nodeName"].as_str().map(str::to_owned)
}

fn until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_some(LOOK_EVERY, what, WITHIN, look)
}
