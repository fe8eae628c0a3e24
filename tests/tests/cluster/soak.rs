//! Pods that come and go, a wave after the other: each is captured before its first instruction, and leaves nothing.
//! `cargo xtask soak` has a thousand of them.

use std::time::{Duration, Instant};

use tests::cluster::pods::{Own, all_pins, idle, nothing_left};
use tests::cluster::turn;
use tests::cluster::way::Way;
use tests::requirement::Requirement;
use tests::scale::pods;

/// How many, where nobody says.
const PODS: usize = 50;
/// At once, on two processors.
const WAVE: usize = 5;
const WITHIN: Duration = Duration::from_secs(180);

#[test]
fn pods_come_and_go() {
    let Some(world) = turn::alone(Requirement::Cluster) else { return };
    let wanted = pods(PODS, PODS);
    let (begun, before) = (Instant::now(), all_pins(&world.cluster).unwrap());
    for first in (0..wanted).step_by(WAVE) {
        let pods: Vec<_> =
            (first..wanted.min(first + WAVE)).map(|pod| idle(&format!("soak-{pod}"))).collect();
        let done = Own::create(&world.cluster, Way::Sidestep.namespace(), &pods)
            .and_then(|wave| wave.work(WITHIN).and_then(|()| wave.delete()));
        done.unwrap_or_else(|error| panic!("after {first} pods: {error:#}"));
        println!("{} of {wanted} pods, {:.0} s", first + pods.len(), begun.elapsed().as_secs_f64());
    }
    nothing_left(&world.cluster, &before).unwrap();
}
