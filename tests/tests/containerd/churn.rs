//! Many pods, one after the other: nothing is left of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tests::scale::{full_or, pods};
use tests::wait::until;

use crate::node::{Node, can_be_had};
use crate::pod::{Pod, Spec};

const SOON: Duration = Duration::from_secs(10);

/// What an agent holds.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Held {
    pins: BTreeSet<PathBuf>,
    descriptors: usize,
    /// Links and maps, by their descriptors.
    objects: usize,
}

fn held(node: &Node) -> Held {
    let mut pins = BTreeSet::new();
    let mut directories = vec![node.enclosure().path("/sys/fs/bpf")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            }
            pins.insert(entry.path());
        }
    }
    let descriptors = fs::read_dir(format!("/proc/{}/fd", node.agent_pid().unwrap())).unwrap();
    // One that is closed meanwhile was a question's.
    let targets: Vec<PathBuf> =
        descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
    let bpf = targets.iter().filter(|target| target.to_string_lossy().starts_with("anon_inode:bpf"));
    Held { pins, descriptors: targets.len(), objects: bpf.count() }
}

/// What it holds once nothing changes: a socket in the last pod's network goes a moment after the pod.
fn at_rest(node: &Node) -> Held {
    let mut last = held(node);
    until("what is held stays the same", SOON, || {
        std::thread::sleep(Duration::from_millis(500));
        let now = held(node);
        std::mem::replace(&mut last, now.clone()) == now
    });
    last
}

/// Bytes that are the agent's alone.
fn memory(node: &Node) -> u64 {
    let path = format!("/proc/{}/status", node.agent_pid().unwrap());
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// So many sandboxes, four at a time.
fn churn(node: &Node, count: usize) {
    const AT_A_TIME: usize = 4;
    std::thread::scope(|scope| {
        for thread in 0..AT_A_TIME {
            scope.spawn(move || {
                for number in (thread..count).step_by(AT_A_TIME) {
                    Pod::run(node, Spec::meshed(&format!("web-{number}"))).unwrap().remove().unwrap();
                }
            });
        }
    });
}

#[test]
fn sandboxes_come_and_go_and_leave_nothing() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    churn(&node, full_or(8, 40));
    node.settled();
    let (before, used) = (at_rest(&node), memory(&node));
    churn(&node, pods(12, 200));
    node.settled();
    let (after, uses) = (at_rest(&node), memory(&node));
    assert_eq!(after, before);
    println!("memory of the agent: {used} bytes, then {uses}");
    assert!(uses * 100 <= used * 105, "memory grew from {used} to {uses} bytes");
    assert_eq!(
        node.metric("sidestep_agent_enrolments_total{when=\"add\"}").unwrap(),
        node.metric("sidestep_agent_releases_total").unwrap()
    );
}
