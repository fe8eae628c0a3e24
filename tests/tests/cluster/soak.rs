//! Pods that come and go, a wave after the other: each is captured before its first instruction, and leaves nothing.
//! `cargo xtask soak` has a thousand of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::cluster::Cluster;
use tests::cluster::way::Way;
use tests::cluster::world::{Part, World};
use tests::requirement::{Requirement, met};

/// How many, where nobody says.
const PODS: usize = 50;
/// At once, on two processors.
const WAVE: usize = 5;
const GONE_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn pods_come_and_go() {
    if !met(&[Requirement::Cluster]) {
        return;
    }
    let world = World::of(Part::Base).unwrap_or_else(|error| panic!("{error:#}"));
    let wanted = std::env::var("SIDESTEP_SOAK_PODS").ok().map_or(PODS, |text| text.parse().unwrap());
    let (begun, before) = (Instant::now(), pins(&world.cluster).unwrap());
    for first in (0..wanted).step_by(WAVE) {
        let names: Vec<String> = (first..wanted.min(first + WAVE)).map(|pod| format!("soak-{pod}")).collect();
        wave(&world.cluster, &names).unwrap_or_else(|error| panic!("after {first} pods: {error:#}"));
        println!("{} of {wanted} pods, {:.0} s", first + names.len(), begun.elapsed().as_secs_f64());
    }
    let deleted = Instant::now();
    loop {
        let left: Vec<String> =
            pins(&world.cluster).unwrap().into_iter().filter(|pin| !before.contains(pin)).collect();
        if left.is_empty() {
            break;
        }
        assert!(deleted.elapsed() < GONE_WITHIN, "left of pods that are gone: {left:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Comes, asks, goes.
fn wave(cluster: &Cluster, names: &[String]) -> Result<()> {
    let namespace = Way::Sidestep.namespace();
    let pods: Vec<String> = names.iter().map(|name| manifest(name)).collect();
    cluster.create(namespace, &pods.join("\n---\n"))?;
    let words: Vec<String> = names.iter().map(|name| format!("pod/{name}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let wait = ["-n", namespace, "wait", "--for=condition=Ready", "--timeout=180s"];
    cluster.kubectl(&[&wait[..], &words].concat())?;
    for name in names {
        let pod = cluster.json(&["-n", namespace, "get", "pod", name])?;
        let inits = pod["status"]["initContainerStatuses"].as_array().context("no init containers")?;
        let validation = inits.iter().find(|container| container["name"] == "istio-validation");
        let restarts = validation.context("no istio-validation")?["restartCount"].as_u64();
        ensure!(restarts == Some(0), "{name}: istio-validation needed {restarts:?} more tries");
        let said = cluster.exec(&format!("{namespace}/{name}"), &["/bin/app", "-v", "http://server/who"])?;
        ensure!(said.starts_with("200 OK") && said.contains("mutual TLS"), "{name}: {said}");
    }
    cluster.kubectl(&[&["-n", namespace, "delete", "--wait=true"], &words[..]].concat()).map(drop)
}

fn manifest(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: soak}}}}\nspec:\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: app, image: lab/app:1, imagePullPolicy: \
         IfNotPresent, command: [/bin/app, pause]}}\n"
    )
}

/// What sidestep has pinned for workloads, on each node.
fn pins(cluster: &Cluster) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for node in &cluster.nodes {
        let output = node.command(&["ls", "/sys/fs/bpf/sidestep"]).output().context("list the pins")?;
        let names = String::from_utf8_lossy(&output.stdout);
        let workloads = names.lines().filter(|name| !name.starts_with("node"));
        all.extend(workloads.map(|name| format!("{}: {name}", node.name)));
    }
    Ok(all)
}
