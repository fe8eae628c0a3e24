//! `sidestep pods` and `sidestep cluster`: what agents say of their nodes, here and through kubectl. A script stands in
//! for kubectl, and runs what would be run in the agent's container.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tests::network::Network;
use tests::node_agent::{MESHED, NodeAgent, is_enrolled, met};
use tests::server::stand_in;
use tests::sidestep::{self, Ended, ended_command};
use tests::wait::until;

const SOON: Duration = Duration::from_secs(20);

/// Two nodes: one has an agent, and one has a pod that does not run.
struct Cluster {
    node: NodeAgent,
    kubectl: PathBuf,
}

impl Cluster {
    fn of(node: NodeAgent) -> Self {
        let listen = format!("--listen=unix:{}", node.metrics_socket().display());
        let pod = |name: &str, node: &str, phase: &str, ready: &str| {
            json!({
                "metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"args": [listen]}]},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
            })
        };
        let listed = json!({"items": [
            pod("sidestep-b", "node-b", "Pending", "False"), pod("sidestep-a", "node-a", "Running", "True")]});
        let kubectl = node.directory().join("kubectl");
        let script = format!(
            "#!/bin/sh\nwhile [ $# -gt 0 ]; do case \"$1\" in\n\
             get) cat <<'END'\n{listed}\nEND\nexit;;\n\
             --) shift; [ \"$1\" = sidestep ] && shift && exec {} \"$@\";;\n\
             esac; shift; done\nexit 3\n",
            sidestep::binary().unwrap().display()
        );
        fs::write(&kubectl, script).unwrap();
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
        Self { node, kubectl }
    }

    fn ask(&self, words: &[&str]) -> Ended {
        let mut command = self.node.root.command(&["cluster"]).unwrap();
        command.args(words).arg("--kubectl").arg(&self.kubectl);
        ended_command(command).unwrap()
    }
}

fn json_of(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn a_cluster_is_seen_node_by_node() {
    if !met() {
        return;
    }
    let [meshed, plain, broken] = ["meshed", "plain", "broken"].map(|name| Network::new(name).unwrap());
    let mut node = NodeAgent::absent().unwrap();
    let list = meshed.pod.scratch().join("list.json");
    // No namespace is there.
    let entry = json!([{"pod": "shop/broken", "netns": "/run/netns/no-such", "cgroup": broken.pod.cgroup()}]);
    fs::write(&list, entry.to_string()).unwrap();
    node.run(&["--static", &list.display().to_string()]).unwrap();
    assert_eq!(node.add(&meshed.pod, MESHED, &json!({})).unwrap().code, Some(0));
    assert_eq!(node.add(&plain.pod, &[("sidecar.istio.io/status", "{}")], &json!({})).unwrap().code, Some(0));
    until("it is enrolled", SOON, || is_enrolled(&node, &meshed));
    let name = meshed.pod.name().to_owned();
    let cluster = Cluster::of(node);

    // On the node.
    let here = |words: &[&str]| {
        let at = format!("unix:{}", cluster.node.metrics_socket().display());
        let mut command = cluster.node.root.command(&["pods", "--agent", &at]).unwrap();
        command.args(words);
        ended_command(command).unwrap()
    };
    let said = here(&[]);
    let row = said.stdout.lines().find(|line| line.contains(&name)).unwrap_or_else(|| panic!("{said:?}"));
    assert!(row.contains("\tenrolled\t"), "{said:?}");
    let waits = said.stdout.lines().any(|line| line.contains("shop/broken") && line.contains("\twaiting\t"));
    assert!(waits, "{said:?}");
    let document = json_of(&here(&["--output", "json"]));
    assert!(document["agent"]["pods"].as_array().is_some_and(|pods| pods.len() >= 2), "{document:#}");

    // Through kubectl: the second node has no agent that answers.
    let status = cluster.ask(&["status"]);
    assert_eq!(status.code, Some(1), "{status:?}");
    let row = |node: &str| status.stdout.lines().find(|line| line.starts_with(node)).unwrap_or_default();
    assert!(row("node-a").starts_with("node-a\tready\t0."), "{status:?}");
    assert_eq!(row("node-a").split('\t').nth(3), Some("1"), "{status:?}");
    assert!(row("node-b").starts_with("node-b\tno answer\t?\t?"), "{status:?}");
    assert!(
        status.stderr.contains("node-b: the agent does not run: `kubectl describe pod sidestep-b`"),
        "{status:?}"
    );
    let document = json_of(&cluster.ask(&["status", "--output", "json"]));
    assert_eq!((&document["schema"], &document["well"]), (&json!(1), &json!(false)), "{document:#}");

    // Its sidecar listens, so that its check passes; then nobody does.
    let sidecar = stand_in(&meshed.pod).start().unwrap();
    let verified = cluster.ask(&["verify"]);
    let row = verified.stdout.lines().find(|line| line.contains(&name)).unwrap_or_default();
    assert!(row.starts_with("node-a\t") && row.ends_with("\tpass"), "{verified:?}");
    assert!(verified.stdout.ends_with("1 of 1 enrolled pods pass\n"), "{verified:?}");
    drop(sidecar);
    let verified = cluster.ask(&["verify"]);
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert!(verified.stdout.contains("\tFAIL"), "{verified:?}");
    assert!(verified.stdout.ends_with("0 of 1 enrolled pods pass\n"), "{verified:?}");
}

#[test]
fn nobody_to_ask_is_an_error_with_a_next_step() {
    if !met() {
        return;
    }
    let pods = sidestep::ended(["pods", "--agent", "unix:/nonexistent/socket"]).unwrap();
    assert_eq!(pods.code, Some(69), "{pods:?}");
    assert!(pods.stderr.contains("unix:/nonexistent/socket") && pods.stderr.contains("--agent"), "{pods:?}");
    let cluster = sidestep::ended(["cluster", "status", "--kubectl", "/nonexistent/kubectl"]).unwrap();
    assert_eq!(cluster.code, Some(69), "{cluster:?}");
    assert!(
        cluster.stderr.contains("/nonexistent/kubectl") && cluster.stderr.contains("--kubectl PATH"),
        "{cluster:?}"
    );
}
