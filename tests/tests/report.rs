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
    let mut files = unpacked(&archive);
    let names: Vec<String> = files.keys().cloned().collect();
    let expected = [
        "README.txt",
        "doctor.json",
        "doctor.txt",
        "history.jsonl",
        "metrics.txt",
        "node.json",
        "pins.txt",
        "ready.txt",
        "status.json",
        "version.txt",
    ];
    assert_eq!(names, expected);
    let told = |name: &&str| files["README.txt"].lines().any(|line| line.starts_with(&format!("{name} ")));
    assert!(expected[1..].iter().all(told), "{}", files["README.txt"]);
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
    // Of other tests' workloads too, whose settings may have any address.
    let workload = network.pod.workload().unwrap();
    let ours = |line: &&str| line.contains(&workload);
    let history: Vec<&str> = files["history.jsonl"].lines().filter(ours).collect();
    let first: Value = serde_json::from_str(history[0]).unwrap();
    assert_eq!((&first["action"], &first["by"]["who"]), (&json!("attached"), &json!("agent")), "{first:#}");
    files.insert("history.jsonl".to_owned(), history.concat());
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

/// What was done to workloads, in a history that is larger than a report may be.
#[test]
fn the_youngest_of_a_long_history_is_in_it() {
    if !met() {
        return;
    }
    let node = NodeAgent::absent().unwrap();
    let report = |history: &Path| {
        let archive = node.directory().join("report.tar.gz");
        let mut command = Command::new(binary().unwrap());
        command.args(["report", "--agent=unix:/nobody.sock", "--file"]).arg(&archive);
        command.env(VARIABLE, node.root.path()).env("SIDESTEP_HISTORY", history);
        let ended = ended_command(command).unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        unpacked(&archive)
    };
    let entry = |number: u64| {
        json!({
            "schema": 1, "time": number, "workload": format!("1-{number}"), "namespace": "shop", "pod": "web-0",
            "action": "attached", "by": { "who": "attach", "pid": 1, "version": "0.1.0", "commit": "c" },
            "config_hash": null, "changes": [], "given_up": [], "from": null, "reason": null,
        })
    };
    let history = node.directory().join("history.jsonl");
    let lines: String = (0..3000).map(|number| format!("{}\n", entry(number))).collect();
    std::fs::write(&history, format!("of another version\n{lines}")).unwrap();
    let files = report(&history);
    let kept: Vec<u64> = files["history.jsonl"]
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["time"].as_u64().unwrap())
        .collect();
    let oldest = kept[0];
    assert_eq!(kept, (oldest..3000).collect::<Vec<_>>());
    let size = files["history.jsonl"].len();
    assert!(size <= 256 << 10 && size > 250 << 10, "{size}");
    let said = format!(
        "without {oldest} older entries: it is the youngest 256 KiB, and 1 lines not of this version\n"
    );
    assert!(files["README.txt"].contains(&said), "{said}{}", files["README.txt"]);

    let none = report(Path::new("none"));
    assert!(none["history.jsonl"].starts_with("not there: no history is kept"), "{}", none["history.jsonl"]);
    let line = none["README.txt"].lines().find(|line| line.starts_with("history.jsonl"));
    assert!(line.unwrap().ends_with("not there, it says why"), "{}", none["README.txt"]);
}
