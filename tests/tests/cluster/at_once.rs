//! Many injected pods start at once: whoever captures, the sidecar's istio-validation passes when it looks first.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tests::cluster::pods::{Own, Validated, all_pins, idle, nothing_left, validated};
use tests::cluster::way::Way;
use tests::cluster::world::PLUGIN;
use tests::cluster::{Cluster, turn};
use tests::requirement::Requirement;

/// How many, where nobody says.
const PODS: usize = 24;
/// On two processors each sidecar takes seconds of them.
const READY_WITHIN: Duration = Duration::from_secs(900);

#[test]
fn many_pods_at_once() {
    let Some(world) = turn::alone(Requirement::Cluster) else { return };
    let wanted = std::env::var("SIDESTEP_PODS_AT_ONCE").ok().map_or(PODS, |text| text.parse().unwrap());
    let before = all_pins(&world.cluster).unwrap();
    let iptables = start(&world.cluster, PLUGIN, wanted).unwrap();
    let sidestep = start(&world.cluster, Way::Sidestep.namespace(), wanted).unwrap();
    assert!(
        sidestep >= iptables,
        "istio-validation passed at the first try in {sidestep} of {wanted} pods, under iptables in {iptables}"
    );
    nothing_left(&world.cluster, &before).unwrap();
}

/// In how many of them istio-validation passed at its first try. All become ready.
fn start(cluster: &Cluster, namespace: &'static str, wanted: usize) -> Result<usize> {
    let pods: Vec<Value> = (0..wanted).map(|number| pod(namespace, number)).collect();
    let begun = Instant::now();
    let pods = Own::create(cluster, namespace, &pods)?;
    let ready = pods.ready(READY_WITHIN)?;
    let took = begun.elapsed().as_secs_f64();
    let passed = ready.iter().filter(|pod| validated(pod) == Validated::AtTry(1)).count();
    println!("{namespace}: {wanted} pods ready after {took:.0} s, {passed} at the first try");
    pods.delete()?;
    Ok(passed)
}

fn pod(namespace: &str, number: usize) -> Value {
    let mut pod = idle(&format!("one-of-many-{number}"));
    if namespace == PLUGIN {
        // The real istio-iptables, run by the plugin in front of the agent's.
        pod["metadata"]["annotations"] = json!({"lab/mode": "iptables", "sidestep.io/inject": "false"});
    }
    pod
}
