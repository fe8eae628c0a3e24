//! `sidestep report`: what it says of a node, and what it does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::network::Network;
use tests::node_agent::{MESHED, NodeAgent, met, outbound};
use tests::pin_root::VARIABLE;
use tests::report::Outcome;
use tests::server::stand_in;
use tests::sidestep::{binary, ended_command};

/// Files of the archive, by their names.
fn unpacked(archive: &Path) -> BTreeMap<String, String> {
    let place = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(place.path());
    assert_eq!(ended_command(tar).unwrap().code, Some(0));
    let entries = std::fs::read_dir(place.path().join("sidestep-report")).unwrap();
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    entries
        .map(|entry| entry.unwrap())
        .map(|it| (it.file_name().into_string().unwrap(), text(&it.path())))
        .collect()
}

#[test]
fn it_has_the_node_and_no_connection() {
    if !met() {
        return;
    }
    let node = NodeAgent::start(&["--runtime=none", "--proxy-env=PASSWORD=hunter2"]).unwrap();
    let network = Network::new("web").unwrap();
    let added = node.add(&network.pod, MESHED, &json!({})).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}");
    let _sidecar = stand_in(&network.pod).start().unwrap();
    assert_eq!(outbound(&network), Outcome::Answered);
    assert!(node.get("/api/v1/node").unwrap().contains("10.96.7.7"), "the agent has seen the connection");

    let archive = node.directory().join("report.tar.gz");
    let agent = format!("--agent=unix:{}", node.directory().join("metrics.sock").display());
    let mut command = Command::new(binary().unwrap());
    command.args(["report", "--file"]).arg(&archive).arg(agent).env(VARIABLE, node.root.path());
    let ended = ended_command(command).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let files = unpacked(&archive);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected =
        ["doctor.json", "doctor.txt", "metrics.txt", "node.json", "pins.txt", "ready.txt", "status.json"];
    assert_eq!(names, [&expected[..], &["version.txt"]].concat());
    let json = |name: &str| -> Value { serde_json::from_str(&files[name]).unwrap() };
    assert_eq!(json("status.json")["workloads"][0]["meta"]["pod"]["name"], "web");
    assert_eq!(json("node.json")["agent"]["pods"][0]["pod"]["name"], "web");
    assert!(json("doctor.json").is_object() && files["doctor.txt"].contains("bpffs"));
    assert!(files["ready.txt"].starts_with("200\nready"), "{}", files["ready.txt"]);
    assert!(
        files["metrics.txt"].contains("sidestep_agent_pods{state=\"enrolled\"} 1.0\n"),
        "{}",
        files["metrics.txt"]
    );
    assert!(files["pins.txt"].contains(node.root.path().to_str().unwrap()), "{}", files["pins.txt"]);
    assert!(files["version.txt"].starts_with("sidestep 0.1.0 ("), "{}", files["version.txt"]);
    for (name, text) in &files {
        assert!(!text.contains("10.96.7.7") && !text.contains("hunter2"), "{name}: {text}");
    }
}

/// The more so is it asked for: what is not there is said, in the archive too.
#[test]
fn without_an_agent_it_says_what_is_missing() {
    if !met() {
        return;
    }
    let node = NodeAgent::absent().unwrap();
    let archive = node.directory().join("report.tar.gz");
    let mut command = Command::new(binary().unwrap());
    command.args(["report", "--file=-", "--agent=unix:/nobody.sock"]).env(VARIABLE, node.root.path());
    command.stdout(Stdio::from(std::fs::File::create(&archive).unwrap()));
    let ended = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let said = String::from_utf8(ended.stderr).unwrap();
    for name in ["ready.txt", "metrics.txt", "node.json"] {
        assert!(said.contains(&format!("without {name}: ask the agent at unix:/nobody.sock")), "{said}");
        assert!(unpacked(&archive)[name].starts_with("not there: ask the agent"));
    }
    assert!(unpacked(&archive)["status.json"].contains("\"workloads\":[]"));
}
