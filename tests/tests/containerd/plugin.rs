//! The plugin's entry and binary while pods start and stop: overwritten, replaced, taken away, and without what a runtime
//! may not pass.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::node_agent::plugin;
use tests::report::Outcome;
use tests::scale::full_or;
use tests::wait::until;

use crate::node::{Node, SOON, can_be_had};
use crate::pod::{Pod, Spec};

/// Plugins of the list, by their types, and of the file beside it.
fn types(node: &Node) -> Vec<String> {
    let mut plugins = read(&node.list())["plugins"].as_array().unwrap().clone();
    let entry = node.entry();
    if entry != node.list()
        && let Ok(text) = fs::read_to_string(entry)
    {
        plugins.push(parse(&text));
    }
    plugins.iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
}

/// A file that is there, and whole.
fn read(path: &Path) -> Value {
    parse(&fs::read_to_string(path).unwrap())
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Ends what goes on until then, also when a test fails meanwhile.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Pods are set up and taken down until `done`; returns how many.
fn churn(node: &Node, spec: fn(&str) -> Spec, done: &AtomicBool) -> usize {
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        Pod::run_with_patience(node, spec(&format!("pod-{count}"))).remove().unwrap();
        count += 1;
    }
    count
}

/// Another owner of the list writes it anew, as daemons of networks do, and takes away what is beside it. It is a whole list
/// at every moment.
#[test]
fn another_owner_overwrites_the_list_while_pods_churn() {
    if !can_be_had() {
        return;
    }
    let node = Node::without_agent().unwrap();
    let theirs = fs::read_to_string(node.list()).unwrap();
    node.run_agent(&[]).unwrap();
    node.ready();
    let entry = node.entry();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let types = types(&node);
                let is_whole = types == ["bridge"] || types == ["bridge", "sidestep-cni"];
                assert!(is_whole, "{types:?}");
            }
        });
        let _until_here = Until(&done);
        for time in 0..full_or(3, 20) {
            let beside = node.list().with_extension("theirs");
            fs::write(&beside, &theirs).unwrap();
            fs::rename(&beside, node.list()).unwrap();
            if entry != node.list() {
                // It may not be back yet from the time before.
                let _ = fs::remove_file(&entry);
            }
            // At its set-up, or when it is listed.
            let name = format!("web-{time}");
            let pod = Pod::run(&node, Spec::meshed(&name)).unwrap();
            until(&format!("{name} is enrolled"), SOON, || {
                node.said_of(&name).unwrap().is_some_and(|(state, _)| state == "enrolled")
            });
            pod.remove().unwrap();
        }
    });
    // Not at once: who keeps on writing is answered less and less often.
    until("it is there again", SOON, || types(&node) == ["bridge", "sidestep-cni"]);
    let path = entry.display();
    let repairs = node.metric(&format!("sidestep_cni_config_repaired_total{{file=\"{path}\"}}")).unwrap();
    assert!(repairs >= 1.0, "{repairs}");
    let (ours, was) = (read(&node.list()), parse(&theirs));
    assert!(entry == node.list() || ours == was, "what has a file of its own changes no list: {ours}");
    for key in ["cniVersion", "name"] {
        assert_eq!(ours[key], was[key]);
    }
    assert_eq!(ours["plugins"][0], was["plugins"][0], "theirs is as it was");
}

/// The binary is replaced by another version's, by rename: no pod sees half of one.
#[test]
fn the_plugin_is_replaced_while_pods_churn() {
    if !can_be_had() {
        return;
    }
    let node = Node::start(&[]).unwrap();
    // Another version of it, as far as anybody can see: more bytes.
    let other = node.directory().join("other-plugin");
    fs::copy(plugin().unwrap(), &other).unwrap();
    let mut bytes = fs::read(&other).unwrap();
    bytes.extend(b"another version");
    fs::write(&other, bytes).unwrap();
    let flag = format!("--install-cni={}", other.display());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pods = scope.spawn(|| churn(&node, Spec::meshed, &done));
        let until_here = Until(&done);
        for _ in 0..full_or(1, 3) {
            // An agent that goes takes nothing with it; pods wait for the next one.
            node.end_agent(Signal::SIGTERM).unwrap();
            assert_eq!(types(&node), ["bridge", "sidestep-cni"]);
            node.run_bare_agent(&[&flag]).unwrap();
            node.ready();
            node.end_agent(Signal::SIGTERM).unwrap();
            node.run_agent(&[]).unwrap();
            node.ready();
        }
        drop(until_here);
        assert!(pods.join().unwrap() > 0);
    });
}

/// Entry, reload, binary, in this order, while pods start and stop.
#[test]
fn uninstall_waits_until_the_runtime_has_read_the_list() {
    if !can_be_had() {
        return;
    }
    let node = Node::without_agent().unwrap();
    let theirs = read(&node.list());
    node.run_agent(&[]).unwrap();
    node.ready();
    let stays = Pod::run(&node, Spec::meshed("stays")).unwrap();
    node.end_agent(Signal::SIGTERM).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pods = scope.spawn(|| churn(&node, Spec::plain, &done));
        let until_here = Until(&done);
        let gone = node.sidestep(&["uninstall"]).unwrap();
        assert_eq!(gone.code, Some(0), "{gone:?}");
        let said: Vec<&str> = gone.stdout.lines().collect();
        assert!(said[1].contains("has not loaded sidestep-cni any more"), "{said:?}");
        assert!(gone.stdout.contains("shop/stays stays captured"), "{said:?}");
        drop(until_here);
        assert!(pods.join().unwrap() > 0);
    });
    assert_eq!(read(&node.list()), theirs);
    assert_eq!(types(&node), ["bridge"]);
    assert!(!node.directory().join("bin/sidestep-cni").exists());
    assert_eq!(stays.connect().unwrap().outcome(), Outcome::Refused, "never sent out in plain text");
    let new = Pod::run(&node, Spec::meshed("new")).unwrap();
    assert!(new.connect().unwrap().is_the_worlds());
    stays.remove().unwrap();
}

/// As Multus delegates, and as old runtimes do it: no annotations come with ADD. What is decided later is the same.
#[test]
fn without_annotations_at_set_up_the_list_decides_the_same() {
    if !can_be_had() {
        return;
    }
    let node = Node::without_agent().unwrap();
    let mut list = read(&node.list());
    let entry = json!({ "type": "sidestep-cni", "failurePolicy": "closed" });
    list["plugins"].as_array_mut().unwrap().push(entry);
    fs::copy(plugin().unwrap(), node.directory().join("bin/sidestep-cni")).unwrap();
    let beside = node.list().with_extension("new");
    fs::write(&beside, list.to_string()).unwrap();
    fs::rename(&beside, node.list()).unwrap();
    node.run_bare_agent(&[]).unwrap();
    let excluded = ("traffic.sidecar.istio.io/excludeOutboundPorts", "9999");
    let specs = [
        ("plain", Spec::plain("plain"), ("left_alone", "not_injected")),
        (
            "out",
            Spec::meshed("out").annotated(&[("sidestep.io/inject", "false")]),
            ("left_alone", "inject_false"),
        ),
        ("web", Spec::meshed("web").annotated(&[excluded]), ("enrolled", "")),
    ];
    let mut pods = Vec::new();
    for (name, spec, expected) in specs {
        let pod = Pod::run(&node, spec).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let expected = (expected.0.to_owned(), expected.1.to_owned());
        until(&format!("{name} is {expected:?}"), SOON, || {
            node.said_of(name).unwrap().as_ref() == Some(&expected)
        });
        pods.push(pod);
    }
    let workloads = node.workloads().unwrap();
    let rules = workloads[0]["meta"]["config"]["outbound_ports_exclude"].to_string();
    assert!(workloads.len() == 1 && rules.contains("9999"), "{workloads:#?}");
    assert_eq!(pods[2].connect().unwrap().outcome(), Outcome::Refused);
    let untold = node.metric("sidestep_agent_untold_total").unwrap();
    assert!((untold - 3.0).abs() < f64::EPSILON, "{untold}");
}
