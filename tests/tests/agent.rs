//! The agent of a node and its CNI plugin, with the lab's pods in place of a container runtime's.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::{Value, json};
use tests::bare_pod::BarePod;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::kernel;
use tests::load::Load;
use tests::network::Network;
use tests::node_agent::{MESHED, NodeAgent, SetUp, WAITS, is_enrolled, met, outbound, prev_result};
use tests::pin_root::VARIABLE;
use tests::report::Outcome;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::server::{PROXY_USER, Server, stand_in};
use tests::sidestep::ended_command;
use tests::wait::until;

const SOON: Duration = Duration::from_secs(20);
const NO_RUNTIME: &[&str] = &["--runtime", "none"];

#[test]
fn a_pod_is_captured_from_its_set_up_to_its_end() {
    if !met() {
        return;
    }
    let node = NodeAgent::start(NO_RUNTIME).unwrap();
    let network = Network::new("web").unwrap();
    let added = node.add(&network.pod, MESHED, &json!({})).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(serde_json::from_str::<Value>(&added.stdout).unwrap(), prev_result());
    // Captured, and there is no sidecar yet: refused, not sent out.
    assert_eq!(outbound(&network), Outcome::Refused);
    let status = node.root.status_of(&network.pod).unwrap();
    assert_eq!(status["meta"]["pod"], json!({ "namespace": "lab", "name": "web" }));
    assert!(status["meta"]["sandbox"]["id"].as_str().unwrap().starts_with("sandbox-of-"), "{status:#}");
    let _sidecar = stand_in(&network.pod).start().unwrap();
    assert_eq!(outbound(&network), Outcome::Answered);
    assert_eq!(node.metric("sidestep_agent_enrolments_total{when=\"add\"}").unwrap(), 1.0);
    assert_eq!(node.metric("sidestep_agent_pods{state=\"enrolled\"}").unwrap(), 1.0);

    // The runtime asks again and again.
    for _ in 0..3 {
        let deleted = node.del(&network.pod).unwrap();
        assert_eq!((deleted.code, deleted.stdout.as_str()), (Some(0), ""), "{deleted:?}");
    }
    assert!(!is_enrolled(&node, &network));
    assert_eq!(node.metric("sidestep_agent_releases_total").unwrap(), 1.0);
}

/// CRI-O checks each pod right after its set-up, and when it starts it deletes whatever its cache has: many at once, of pods
/// that nobody knows any more, without a namespace.
#[test]
fn checks_and_a_storm_of_deletions_change_nothing() {
    if !met() {
        return;
    }
    let node = NodeAgent::start(NO_RUNTIME).unwrap();
    let network = Network::new("web").unwrap();
    assert_eq!(node.add(&network.pod, MESHED, &json!({})).unwrap().code, Some(0));
    let pod = SetUp::from(&network.pod);
    let checked = node.call("CHECK", &pod, None, &json!({})).unwrap();
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(0), ""), "{checked:?}");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (node, pod) = (&node, &pod);
            scope.spawn(move || {
                for number in 0..full_or(2, 10) {
                    // Its sandbox is named by its cgroup.
                    let cgroup = pod.cgroup.with_file_name(format!("gone-{thread}-{number}"));
                    let gone = SetUp { name: "gone".to_owned(), netns: "".into(), cgroup };
                    let deleted = node.del(gone).unwrap();
                    assert_eq!((deleted.code, deleted.stdout.as_str()), (Some(0), ""), "{deleted:?}");
                }
            });
        }
    });
    assert_eq!(node.call("CHECK", &pod, None, &json!({})).unwrap().code, Some(0));
    assert!(is_enrolled(&node, &network));
    assert_eq!(node.metric("sidestep_agent_releases_total").unwrap(), 0.0);
    assert_eq!(outbound(&network), Outcome::Refused);
    // Once with the namespace, and that is all.
    assert_eq!(node.del(&network.pod).unwrap().code, Some(0));
    assert!(!is_enrolled(&node, &network));
}

/// With an agent, and without one.
#[rstest]
#[case::no_sidecar(&[])]
#[case::istio_init(&[("sidecar.istio.io/status", r#"{"initContainers":["istio-init"]}"#)])]
#[case::gateway(&[("sidecar.istio.io/status", r#"{"initContainers":null,"containers":["istio-proxy"]}"#)])]
fn a_pod_that_waits_for_nobody_is_left_alone(#[case] annotations: &[(&str, &str)]) {
    if !met() {
        return;
    }
    let mut node = NodeAgent::absent().unwrap();
    let network = Network::new("plain").unwrap();
    let alone = node.add(&network.pod, annotations, &json!({})).unwrap();
    assert_eq!(alone.code, Some(0), "{alone:?}");
    node.run(NO_RUNTIME).unwrap();
    let added = node.add(&network.pod, annotations, &json!({})).unwrap();
    assert_eq!((added.code, is_enrolled(&node, &network)), (Some(0), false), "{added:?}");
}

#[test]
fn without_an_agent_the_policy_decides_and_deletion_works() {
    if !met() {
        return;
    }
    let node = NodeAgent::absent().unwrap();
    let network = Network::new("waits").unwrap();
    let closed = node.add(&network.pod, MESHED, &json!({ "failurePolicy": "closed" })).unwrap();
    let said: Value = serde_json::from_str(&closed.stdout).unwrap();
    assert_eq!(closed.code, Some(1), "{closed:?}");
    assert!(said["msg"].as_str().unwrap().contains("does not answer at"), "{said:#}");
    let open = node.add(&network.pod, MESHED, &json!({ "failurePolicy": "open" })).unwrap();
    assert_eq!(open.code, Some(0), "{open:?}");
    assert_eq!(node.del(&network.pod).unwrap().code, Some(0));
}

/// Killed at any moment, the agent leaves the data path as it is, and the next one goes on with it.
#[test]
fn another_agent_goes_on_with_what_is_there() {
    if !met() {
        return;
    }
    let mut node = NodeAgent::start(NO_RUNTIME).unwrap();
    let network = Network::new("stays").unwrap();
    node.add(&network.pod, MESHED, &json!({})).unwrap();
    let listen: std::net::SocketAddr = "0.0.0.0:15006".parse().unwrap();
    let _sidecar = Server::on(&network.pod).user(PROXY_USER).listen(listen).echo().start().unwrap();
    let load = Load::churning(network.pod4(8080), 2).start(&network.outside).unwrap();
    let slot = node.root.status_of(&network.pod).unwrap()["meta"]["slot"].clone();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        node.end(signal).unwrap();
        node.run(NO_RUNTIME).unwrap();
        let there = node.root.status_of(&network.pod).unwrap();
        assert_eq!((&there["meta"]["slot"], &there["complete"]), (&slot, &json!(true)));
    }
    let exchanges = load.finish().unwrap();
    assert!(exchanges.failed.is_empty() && exchanges.completed > 0, "{exchanges:?}");
    // It knows whose it is.
    node.del(&network.pod).unwrap();
    assert!(!is_enrolled(&node, &network));
}

#[test]
fn a_second_agent_is_told_of_the_first() {
    if !met() {
        return;
    }
    let node = NodeAgent::start(NO_RUNTIME).unwrap();
    let second = ended_command(node.command(NO_RUNTIME).unwrap()).unwrap();
    let first = format!("process {}", node.pid().unwrap());
    assert!(second.code == Some(69) && second.stderr.contains(&first), "{second:?}");
}

/// A container that mounts one for itself would take the pins with it.
#[test]
fn without_a_bpffs_it_refuses_where_it_is_told_to() {
    if !met() {
        return;
    }
    let mut node = NodeAgent::absent().unwrap();
    let none = node.directory().join("no-bpffs");
    std::fs::create_dir(&none).unwrap();
    let mut command = node.command(&["--runtime=none", "--require-bpffs"]).unwrap();
    command.env(VARIABLE, &none);
    let refused = node.run_by(command).unwrap_err();
    assert!(format!("{refused:#}").contains(&format!("no bpffs at {}", none.display())), "{refused:#}");
    let left = std::fs::read_dir(&none).unwrap().count();
    assert_eq!(left, 0, "neither mounted nor pinned");
    // With one it runs.
    node.run(&["--runtime=none", "--require-bpffs"]).unwrap();
}

/// Whoever hands the agent a path to another pod's namespace, or to the node's, gets nothing for it.
#[test]
fn the_namespace_of_another_is_refused() {
    if !met() {
        return;
    }
    let node = NodeAgent::start(NO_RUNTIME).unwrap();
    let [victim, attacker] = ["victim", "attacker"].map(|name| Network::new(name).unwrap());
    assert_eq!(node.add(&victim.pod, MESHED, &json!({})).unwrap().code, Some(0));
    let ask = |netns: &std::path::Path| {
        let request = json!({
            "command": "ADD", "container_id": "theirs", "netns": netns, "interface": "eth0",
            "pod": { "namespace": "lab", "name": "attacker", "uid": attacker.pod.cgroup().file_name().unwrap().to_str() },
            "annotations": { "sidecar.istio.io/status": WAITS },
            "cgroup": attacker.pod.cgroup().file_name().unwrap().to_str(), "dns_servers": null,
        });
        answer(&node, &request)
    };
    for (netns, says) in [
        (victim.pod.netns(), "this is that of pod lab/victim"),
        (std::path::PathBuf::from("/proc/self/ns/net"), "the node's own"),
        (std::path::PathBuf::from("/etc/passwd"), "no namespace file"),
    ] {
        let said = ask(&netns);
        assert!(said["done"] == "failed" && said["message"].as_str().unwrap().contains(says), "{said:#}");
    }
    assert!(!is_enrolled(&node, &attacker) && is_enrolled(&node, &victim));
    // What is told of the cgroup is looked at as well.
    let request = json!({
        "command": "ADD", "container_id": "theirs", "netns": attacker.pod.netns(), "interface": "eth0",
        "pod": { "namespace": "lab", "name": "attacker", "uid": "u-1" },
        "annotations": { "sidecar.istio.io/status": WAITS },
        "cgroup": victim.pod.cgroup().file_name().unwrap().to_str(), "dns_servers": null,
    });
    let said = answer(&node, &request);
    assert!(said["done"] == "failed" && said["message"].as_str().unwrap().contains("uid"), "{said:#}");
}

/// Says it to the agent as the plugin would.
fn answer(node: &NodeAgent, request: &Value) -> Value {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(node.socket()).unwrap();
    stream.write_all(request.to_string().as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// In a container that shows it no process of the node, and without CAP_SYS_PTRACE: what is set up is captured as
/// elsewhere, and a pod that runs already keeps its sidecar.
#[test]
fn an_agent_needs_to_see_no_process() {
    const FEW: &str = "-all,+bpf,+perfmon,+net_admin,+sys_admin,+dac_read_search,+dac_override";
    // Where maps are locked memory, which is limited.
    let few =
        if kernel::release().unwrap() < (5, 11) { format!("{FEW},+sys_resource") } else { FEW.to_owned() };
    let setpriv = Requirement::Program("setpriv", "util-linux");
    if !DataPlane::Sidestep.met(&[Requirement::Program("curl", "curl"), Requirement::CniPlugin, setpriv]) {
        return;
    }
    let [new, runs] = ["new", "runs"].map(|name| Network::new(name).unwrap());
    let _earlier = stand_in(&runs.pod).start().unwrap();
    // As a runtime leaves them: at paths that need no process.
    let [at_new, at_runs] = [&new, &runs].map(|network| network.pod.scratch().join("netns"));
    let list = runs.pod.scratch().join("list.json");
    let entry = json!([{ "pod": "vm/runs", "netns": at_runs, "cgroup": runs.pod.cgroup() }]);
    std::fs::write(&list, entry.to_string()).unwrap();
    let mut node = NodeAgent::absent().unwrap();
    let agent = node.command(&["--static", &list.display().to_string()]).unwrap();
    let script = format!(
        "touch {0} {1} && mount --bind {2} {0} && mount --bind {3} {1} && \
         exec unshare --pid --fork --kill-child --mount-proc setpriv --bounding-set {few} --no-new-privs -- \"$@\"",
        at_new.display(),
        at_runs.display(),
        new.pod.netns().display(),
        runs.pod.netns().display()
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(agent.get_program()).args(agent.get_args());
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    node.run_by(command).unwrap();

    let set_up = SetUp { netns: at_new, ..SetUp::from(&new.pod) };
    let added = node.add(set_up, MESHED, &json!({})).unwrap();
    assert_eq!((added.code, outbound(&new)), (Some(0), Outcome::Refused), "{added:?}");
    let _sidecar = stand_in(&new.pod).start().unwrap();
    assert_eq!(outbound(&new), Outcome::Answered);

    until("the pod that runs is captured", SOON, || is_enrolled(&node, &runs));
    assert_eq!(outbound(&runs), Outcome::Answered);
    let inbound = Connect::to(runs.pod4(8080)).from(&runs.outside).unwrap().report().unwrap();
    assert_eq!((inbound.listener.port(), inbound.original_dst().address), (15006, Some(runs.pod4(8080))));
    assert!(!node.said().contains("cannot be reached"), "{}", node.said());
    assert!(!node.said().contains("CAP_SYS_PTRACE"), "{}", node.said());
    // unshare passes no other signal on.
    node.end(Signal::SIGKILL).unwrap();
}

/// A node full of pods: each set up by the plugin, found again by the next agent, and gone without a trace.
#[test]
fn a_full_node() {
    if !met() {
        return;
    }
    let mut node = NodeAgent::start(NO_RUNTIME).unwrap();
    let count = full_or(10, 110);
    let pods: Vec<BarePod> = (0..count).map(|number| BarePod::make(number).unwrap()).collect();
    let all: Vec<_> = pods.iter().zip(0..).map(|(pod, number)| pod.set_up(number)).collect();
    let mut took = Vec::new();
    for pod in &all {
        let begun = Instant::now();
        let added = node.add(pod.clone(), MESHED, &json!({})).unwrap();
        took.push(begun.elapsed());
        assert_eq!(added.code, Some(0), "{added:?}");
    }
    took.sort();
    println!("ADD of {count} pods: median {:?}, p99 {:?}", took[took.len() / 2], took[took.len() * 99 / 100]);
    node.end(Signal::SIGKILL).unwrap();
    let begun = Instant::now();
    node.run(NO_RUNTIME).unwrap();
    println!("an agent is ready beside them after {:?}", begun.elapsed());
    for pod in &all {
        assert_eq!(node.del(pod.clone()).unwrap().code, Some(0));
    }
    node.end(Signal::SIGTERM).unwrap();
    assert_eq!(node.root.pins(), Vec::<std::path::PathBuf>::new());
}
