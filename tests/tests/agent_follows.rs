//! What the agent of a node follows while it runs: files of workloads and of values, cgroups, and the pods' networks.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use tests::network::Network;
use tests::node_agent::{MESHED, NodeAgent, is_enrolled, met, outbound};
use tests::process::Process;
use tests::report::Outcome;
use tests::sidestep::ended_command;
use tests::wait::until;

/// Well below the minute after which everything is looked at again.
const SOON: Duration = Duration::from_secs(20);

/// Workloads of a file come and go with it; another value reaches those that are there.
#[test]
fn a_file_of_workloads_is_followed() {
    if !met() {
        return;
    }
    let mut node = NodeAgent::absent().unwrap();
    let network = Network::new("vm").unwrap();
    let entry = |annotations: Value| {
        json!([{
            "pod": "vm/one", "netns": network.pod.netns(), "cgroup": network.pod.cgroup(),
            "annotations": annotations,
        }])
        .to_string()
    };
    let file = network.pod.scratch().join("workloads.json");
    fs::write(&file, entry(json!({}))).unwrap();
    let path = file.display().to_string();
    node.run(&["--static", &path]).unwrap();
    until("it is enrolled", SOON, || is_enrolled(&node, &network));
    assert_eq!(outbound(&network), Outcome::Refused);
    let excluded = || {
        let status = node.root.status_of(&network.pod).unwrap();
        status["meta"]["config"]["outbound_ports_exclude"].to_string()
    };
    assert!(!excluded().contains("9999"), "{}", excluded());
    fs::write(&file, entry(json!({ "traffic.sidecar.istio.io/excludeOutboundPorts": "9999" }))).unwrap();
    until("its rules change", SOON, || excluded().contains("9999"));
    // A slip in the file takes nobody out of the mesh.
    fs::write(&file, "[").unwrap();
    until("the slip is said", SOON, || node.said().contains("JSON array"));
    assert!(is_enrolled(&node, &network));
    fs::write(&file, "[]").unwrap();
    until("it is released", SOON, || !is_enrolled(&node, &network));
}

/// Neither the file nor a plugin tells it: somebody else has detached a workload, or the namespace is another one.
#[test]
fn what_changes_behind_its_back_is_seen() {
    if !met() {
        return;
    }
    let mut node = NodeAgent::absent().unwrap();
    let (network, other) = (Network::new("behind").unwrap(), Network::new("other").unwrap());
    let (file, netns) = ["workloads.json", "netns"].map(|name| network.pod.scratch().join(name)).into();
    symlink(network.pod.netns(), &netns).unwrap();
    let entry = json!([{ "pod": "vm/one", "netns": netns, "cgroup": network.pod.cgroup() }]);
    fs::write(&file, entry.to_string()).unwrap();
    node.run(&["--every", "1", "--static", &file.display().to_string()]).unwrap();
    until("it is enrolled", SOON, || is_enrolled(&node, &network));
    // Some looks find nothing new.
    sleep(Duration::from_secs(3));
    let detached = ended_command(node.root.for_pod(&["detach"], &network.pod).unwrap()).unwrap();
    assert_eq!(detached.code, Some(0), "{detached:?}");
    until("it is enrolled again", SOON, || is_enrolled(&node, &network));
    sleep(Duration::from_secs(3));
    fs::remove_file(&netns).unwrap();
    symlink(other.pod.netns(), &netns).unwrap();
    let workload = format!("{}-{}", other.pod.netns_inode().unwrap(), network.pod.cgroup_id().unwrap());
    until("the other namespace is enrolled", SOON, || {
        node.root.path().join("sidestep").join(&workload).is_dir()
    });
    assert!(!is_enrolled(&node, &network));
}

/// Whoever starts it is told at once, and nothing has begun.
#[rstest]
#[case::values(["--values", "/nonexistent/values"])]
#[case::workloads(["--static", "/nonexistent/workloads"])]
#[case::cgroups(["--watch-cgroup", "/nonexistent/cgroup"])]
fn what_cannot_be_read_at_the_start_is_an_error(#[case] flag: [&str; 2]) {
    if !met() {
        return;
    }
    let node = NodeAgent::absent().unwrap();
    let said = ended_command(node.command(&flag).unwrap()).unwrap();
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains(flag[0]) && said.stderr.contains(flag[1]), "{said:?}");
    assert!(!node.socket().exists() && node.root.pins().is_empty());
}

/// Values of a file reach pods that run: the acceleration of a whole node goes off, and who is selected.
#[test]
fn a_file_of_values_reaches_pods_that_run() {
    if !met() {
        return;
    }
    let mut node = NodeAgent::absent().unwrap();
    let network = Network::new("value").unwrap();
    let file = network.pod.scratch().join("values.json");
    fs::write(&file, "{}").unwrap();
    let path = file.display().to_string();
    node.run(&["--runtime", "none", "--values", &path, "--observe", "off"]).unwrap();
    assert_eq!(node.add(&network.pod, MESHED, &json!({})).unwrap().code, Some(0));
    let said = |at: &str| node.root.status_of(&network.pod).unwrap()["meta"].pointer(at).cloned();
    assert_eq!(
        (said("/acceleration/mode"), said("/observe")),
        (Some(json!("safe-readers")), Some(json!("off")))
    );
    fs::write(&file, r#"{"accelerate": "off", "observe": "on"}"#).unwrap();
    until("the acceleration is off", SOON, || said("/acceleration/mode") == Some(json!("off")));
    assert_eq!((said("/observe"), outbound(&network)), (Some(json!("on")), Outcome::Refused));
    // A slip changes nothing, and is said.
    fs::write(&file, r#"{"accelerate": "fast"}"#).unwrap();
    until("the slip is said", SOON, || node.said().contains("accelerate \"fast\": write one of"));
    assert_eq!(said("/acceleration/mode"), Some(json!("off")));
    // Not selected any more it stays captured, and what else the file says holds for it.
    fs::write(&file, r#"{"select": ["other/*"], "observe": "on"}"#).unwrap();
    until("it follows the file", SOON, || said("/acceleration/mode") == Some(json!("safe-readers")));
    assert_eq!(outbound(&network), Outcome::Refused);
    let kept = || {
        let all: Value = serde_json::from_str(&node.get("/api/v1/node").unwrap()).unwrap();
        all["agent"]["pods"][0]["kept"].clone()
    };
    assert_eq!(kept(), json!("it is not selected, and stays captured until it ends"));
    fs::write(&file, "{}").unwrap();
    until("it is as the flags say again", SOON, || said("/observe") == Some(json!("off")));
    assert_eq!(kept(), Value::Null);
    assert_eq!(
        (said("/acceleration/mode"), said("/observe")),
        (Some(json!("safe-readers")), Some(json!("off")))
    );
}

/// Decisions are made from the pod's addresses: another plugin that comes after ours, or an operator, adds one.
#[test]
fn a_change_of_the_network_is_seen_when_it_happens() {
    if !met() {
        return;
    }
    let node = NodeAgent::start(&["--runtime", "none"]).unwrap();
    let network = Network::new("moves").unwrap();
    assert_eq!(node.add(&network.pod, MESHED, &json!({})).unwrap().code, Some(0));
    let has = |address: &str| {
        let status = node.root.status_of(&network.pod).unwrap();
        status["meta"]["addresses"].as_array().unwrap().contains(&json!(address))
    };
    // The first is seen by the look that begins to watch, or by the watch; the others by the watch alone.
    for number in 1..=3 {
        let address = format!("10.77.0.{number}");
        network.pod.ip(&format!("addr add {address}/32 dev eth0\n")).unwrap();
        until("it is one of the pod's", SOON, || has(&address));
    }
    network.pod.ip("addr del 10.77.0.2/32 dev eth0\n").unwrap();
    until("it is not the pod's any more", SOON, || !has("10.77.0.2"));
    assert!(has("10.77.0.3"));
}

/// A directory of cgroup2 with a cgroup in it.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        let made =
            Self(tests::cgroup::mount().unwrap().join(format!("sidestep-lab-{}-tree", std::process::id())));
        fs::create_dir_all(made.web()).unwrap();
        made
    }

    fn web(&self) -> PathBuf {
        self.0.join("web")
    }

    /// A process of the pod's namespace, in the cgroup.
    fn process(&self, network: &Network) -> Process {
        let script = format!("echo 0 > {}/cgroup.procs && echo there && exec sleep 60", self.web().display());
        let process = network.pod.command("sh").args(["-c", &script]).spawn().unwrap();
        process.wait_for("there").unwrap();
        process
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for directory in [self.web(), self.0.clone()] {
            if let Err(error) = tests::cgroup::end(&directory) {
                eprintln!("lab: {}: {error:#}", directory.display());
            }
        }
    }
}

#[test]
fn a_directory_of_cgroups_is_followed() {
    if !met() {
        return;
    }
    let tree = Tree::new();
    let mut node = NodeAgent::absent().unwrap();
    let network = Network::new("by-cgroup").unwrap();
    node.run(&["--watch-cgroup", &tree.0.display().to_string()]).unwrap();
    until("nothing is there yet", SOON, || node.get("/readyz").unwrap().starts_with("ready"));
    let pod = || -> Value {
        let all: Value = serde_json::from_str(&node.get("/api/v1/node").unwrap()).unwrap();
        all["agent"]["pods"][0].clone()
    };
    assert_eq!(pod(), Value::Null);
    let process = tree.process(&network);
    until("it is enrolled", SOON, || pod()["state"] == "enrolled");
    let name = format!("{}/web", tree.0.file_name().unwrap().display());
    assert_eq!(
        format!("{}/{}", pod()["pod"]["namespace"].as_str().unwrap(), pod()["pod"]["name"].as_str().unwrap()),
        name
    );
    // Who comes into the cgroup is captured, and who is in the pod's own cgroup is not.
    let connect = format!(
        "echo 0 > {}/cgroup.procs; curl -s -m 5 http://10.96.7.7/ >&2; echo code $?",
        tree.web().display()
    );
    let said = network.pod.command("sh").args(["-c", &connect]).run().unwrap();
    assert_eq!(said.trim(), "code 7", "refused: there is no sidecar");
    // Without a process it stays as it is; without its cgroup it is gone.
    drop(process);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(pod()["state"], "enrolled");
    tests::cgroup::end(&tree.web()).unwrap();
    until("it is released", SOON, || pod() == Value::Null);
    assert_eq!(node.metric("sidestep_agent_releases_total").unwrap(), 1.0);
    fs::create_dir(tree.web()).unwrap();
}
