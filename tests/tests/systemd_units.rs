//! The units of `deploy/systemd`: systemd understands them, and a VM of a mesh is captured by what they run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use tests::agent::repository;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::node_agent::NodeAgent;
use tests::pod::Pod;
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::server::stand_in;
use tests::sidestep::{self, Sidestep, ended_command};
use tests::wait::until;

const SOON: Duration = Duration::from_secs(20);

/// Where the units expect it.
const INSTALLED: &str = "/usr/local/bin/sidestep";
/// Where Istio's package for VMs has its settings.
const SETTINGS: &str = "/var/lib/istio/envoy";

fn unit(path: &str) -> String {
    fs::read_to_string(repository().join("deploy/systemd").join(path)).unwrap()
}

/// The unit as it would be with the binary under test installed.
fn with_binary(text: &str) -> String {
    text.replace(INSTALLED, &sidestep::binary().unwrap().display().to_string())
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn systemd_understands_them() {
    if !met(&[Requirement::Sidestep, Requirement::Program("systemd-analyze", "systemd")]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [agent, istio] = ["sidestep.service", "istio.service"].map(|name| directory.path().join(name));
    write(&agent, &with_binary(&unit("sidestep.service")));
    write(&istio, "[Service]\nExecStart=/bin/true\n");
    let more = PathBuf::from("istio.service.d/sidestep.conf");
    write(&directory.path().join(&more), &with_binary(&unit(&more.display().to_string())));
    for path in [&agent, &istio] {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no"]).arg(path);
        let said = ended_command(command).unwrap();
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}: {said:?}", path.display());
    }
    // A word that systemd does not know is said: it would not be silent about ours.
    write(&agent, &with_binary(&unit("sidestep.service")).replace("RestartSec=", "RestartSeconds="));
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&agent);
    let said = ended_command(command).unwrap();
    assert!(said.stderr.contains("RestartSeconds"), "{said:?}");
}

/// What the unit leaves of root's capabilities is enough, also for a sidecar that was there first.
#[test]
fn the_agents_capabilities_are_enough() {
    if !DataPlane::Sidestep.met(&[
        Requirement::Program("curl", "curl"),
        Requirement::Program("setpriv", "util-linux"),
        Requirement::Acceleration,
        Requirement::Observation,
    ]) {
        return;
    }
    let unit = unit("sidestep.service");
    let bounding = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let few = bounding.split_whitespace().map(|name| name.replacen("CAP_", ",+", 1).to_lowercase());
    let few = few.fold("-all".to_owned(), |all, one| all + &one);
    let network = Network::new("capabilities").unwrap();
    let _sidecar = stand_in(&network.pod).start().unwrap();
    let list = network.pod.scratch().join("list.json");
    let entry = json!([{ "pod": "vm/one", "netns": network.pod.netns(), "cgroup": network.pod.cgroup() }]);
    fs::write(&list, entry.to_string()).unwrap();
    let mut node = NodeAgent::absent().unwrap();
    let whole = node.command(&["--static", &list.display().to_string()]).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set", &few, "--no-new-privs", "--"])
        .arg(whole.get_program())
        .args(whole.get_args());
    command.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
    node.run_by(command).unwrap();
    until("it is enrolled", SOON, || node.root.status_of(&network.pod).is_ok());
    let meta = &node.root.status_of(&network.pod).unwrap()["meta"];
    assert_eq!((&meta["not_accelerated"], &meta["not_observed"]), (&Value::Null, &Value::Null));
    let outbound = Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap().outcome();
    assert_eq!(outbound, Outcome::Answered);
    assert!(!node.said().contains("WARN"), "{}", node.said());
}

/// The commands of a unit under this key, as words, without the binary.
fn commands(text: &str, key: &str) -> Vec<Vec<String>> {
    let begins = format!("{key}=+{INSTALLED} ");
    let found = text.lines().filter_map(|line| line.strip_prefix(&begins));
    found.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// As the unit runs it on a VM, whose place a pod takes.
fn run(pod: &Pod, words: &[String]) -> String {
    let settings = pod.scratch().display().to_string();
    let words = words.iter().map(|word| word.replace(SETTINGS, &settings));
    let command = pod.command(sidestep::binary().unwrap()).args(words);
    command.env("SIDESTEP_CGROUP", pod.cgroup()).run().unwrap()
}

#[test]
fn a_vm_is_captured_from_its_start_to_its_stop() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("vm-start").unwrap();
    let unit = unit("istio.service.d/sidestep.conf");
    assert!(unit.contains("Environment=ISTIO_CUSTOM_IP_TABLES=true"), "istio-start.sh would set up iptables");
    let cluster = "ISTIO_INBOUND_PORTS='*'\nISTIO_LOCAL_EXCLUDE_PORTS='22'\nISTIO_SERVICE_CIDR='*'\n";
    fs::write(network.pod.scratch().join("sidecar.env"), "# knobs\n").unwrap();
    fs::write(network.pod.scratch().join("cluster.env"), cluster).unwrap();
    let outbound = || Connect::to("10.96.7.7:1".parse().unwrap()).from(&network.pod).unwrap().outcome();
    // Detaches whatever becomes of the test.
    let guard = Sidestep::around(&network.pod);
    for begin in commands(&unit, "ExecStartPre") {
        run(&network.pod, &begin);
    }
    // Nobody listens at either place: the decision is what differs.
    assert_eq!(outbound(), Outcome::Refused);
    let decided = |rule: &str| guard.rule(rule).unwrap();
    assert_eq!(decided("O15"), 1, "every destination included");
    for end in commands(&unit, "ExecStopPost") {
        run(&network.pod, &end);
    }
    assert!(!sidestep::status().unwrap().contains(&format!("{}-", network.pod.netns_inode().unwrap())));
}
