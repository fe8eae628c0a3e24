//! The CNI plugin on a node, from its installation by the agent until nothing of it is there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::node_agent::{NodeAgent, WAITS, plugin};
use tests::pin_root;
use tests::report::Outcome;
use tests::requirement::Requirement;
use tests::schema::faults;
use tests::sidestep::{Ended, binary, ended_command};
use tests::wait::until;

const SOON: Duration = Duration::from_secs(20);
const LIST: &str = r#"{"cniVersion":"1.0.0","name":"lab","plugins":[{"type":"bridge","mtu":1400}],"x":1}"#;

/// The directories of a container runtime that is not there.
struct Directories(tempfile::TempDir);

impl Directories {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for directory in [made.networks(), made.plugins()] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(made.list(), LIST).unwrap();
        std::fs::write(made.plugins().join("bridge"), "another's").unwrap();
        made
    }

    fn networks(&self) -> PathBuf {
        self.0.path().join("net.d")
    }

    fn plugins(&self) -> PathBuf {
        self.0.path().join("bin")
    }

    fn list(&self) -> PathBuf {
        self.networks().join("10-lab.conflist")
    }

    fn flags(&self) -> [String; 4] {
        let shown = |path: PathBuf| path.display().to_string();
        ["--cni-conf-dir".into(), shown(self.networks()), "--cni-bin-dir".into(), shown(self.plugins())]
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.list()).unwrap()
    }

    fn is_installed(&self) -> bool {
        self.text().contains("sidestep-cni") && self.plugins().join("sidestep-cni").is_file()
    }

    fn is_as_before(&self) -> bool {
        let names = |path: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(path).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        self.text() == LIST
            && names(&self.networks()) == ["10-lab.conflist"]
            && names(&self.plugins()) == ["bridge"]
    }
}

fn uninstall(node: &NodeAgent, directories: &Directories, more: &[&str]) -> Ended {
    let mut command = Command::new(binary().unwrap());
    command
        .args(["uninstall", "--runtime", "none", "--cni-socket"])
        .arg(node.socket())
        .args(directories.flags())
        .args(more)
        .env(pin_root::VARIABLE, node.root.path());
    ended_command(command).unwrap()
}

/// What doctor says of the plugin.
fn doctor(directories: &Directories) -> Value {
    let mut command = Command::new(binary().unwrap());
    command.args(["doctor", "--output", "json", "--cni-conf-dir"]).arg(directories.networks());
    let said: Value = serde_json::from_str(&ended_command(command).unwrap().stdout).unwrap();
    let findings = said["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["check"] == "cni_plugin").unwrap().clone()
}

/// An agent that is killed leaves what pods share, for the next one: it goes where there is none.
#[test]
fn nothing_is_left_of_an_agent_that_was_killed() {
    if !DataPlane::Sidestep.met(&[Requirement::Program("curl", "curl"), Requirement::CniPlugin]) {
        return;
    }
    let directories = Directories::new();
    let mut node = NodeAgent::start(&["--runtime", "none"]).unwrap();
    node.end(Signal::SIGKILL).unwrap();
    assert!(!node.root.pins().is_empty());
    let gone = uninstall(&node, &directories, &[]);
    assert_eq!(gone.code, Some(0), "{gone:?}");
    assert_eq!(node.root.pins(), Vec::<PathBuf>::new());
}

#[test]
fn the_plugin_comes_is_kept_and_goes_without_a_trace() {
    if !DataPlane::Sidestep.met(&[Requirement::Program("curl", "curl"), Requirement::CniPlugin]) {
        return;
    }
    let directories = Directories::new();
    let mut node = NodeAgent::absent().unwrap();
    let install = format!("--install-cni={}", plugin().unwrap().display());
    let mut flags = vec!["--runtime".to_owned(), "none".to_owned(), install];
    flags.extend(directories.flags());
    node.run(&flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    until("it is installed", SOON, || directories.is_installed());
    until("the agent is ready", SOON, || node.get("/readyz").unwrap().starts_with("ready"));

    // Another owner of the list.
    std::fs::write(directories.list(), LIST).unwrap();
    until("it is there again", SOON, || directories.is_installed());
    let repaired = format!("sidestep_cni_config_repaired_total{{file=\"{}\"}}", directories.list().display());
    until("the repair is counted", SOON, || node.metric(&repaired).unwrap() >= 1.0);

    let found = doctor(&directories);
    let text =
        format!("in {}; an agent answers at {}", directories.list().display(), node.socket().display());
    assert_eq!((&found["level"], &found["found"]), (&json!("ok"), &json!(text)));

    let network = Network::new("web").unwrap();
    let plain = Network::new("plain").unwrap();
    let meshed = [("sidecar.istio.io/status", WAITS)];
    assert_eq!(node.add(&network.pod, &meshed, &json!({})).unwrap().code, Some(0));
    let istio_init = [("sidecar.istio.io/status", r#"{"initContainers":["istio-init"]}"#)];
    let entry = json!({ "waitsFor": ["istio-init"] });
    assert_eq!(node.add(&plain.pod, &istio_init, &entry).unwrap().code, Some(0));
    let document: Value = serde_json::from_str(&node.get("/api/v1/node").unwrap()).unwrap();
    let schema = tests::agent::repository().join("docs/schema/node.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    assert_eq!(faults(&schema, &document), Vec::<String>::new(), "{document:#}");
    let states: Vec<&Value> =
        document["agent"]["pods"].as_array().unwrap().iter().map(|pod| &pod["state"]).collect();
    assert!(states.contains(&&json!("enrolled")) && states.contains(&&json!("left_alone")), "{states:?}");

    let refused = uninstall(&node, &directories, &[]);
    let agent = format!("process {}", node.pid().unwrap());
    assert!(refused.code == Some(69) && refused.stderr.contains(&agent), "{refused:?}");
    assert!(directories.is_installed());

    node.end(Signal::SIGTERM).unwrap();
    assert!(directories.is_installed(), "an agent that ends leaves it: {}", directories.text());
    let found = doctor(&directories);
    assert!(
        found["level"] == "degraded" && found["found"].as_str().unwrap().contains("no agent answers"),
        "{found}"
    );
    let whole = directories.text();
    std::fs::write(directories.list(), whole.replace("io.kubernetes.cri.pod-annotations", "portMappings"))
        .unwrap();
    let found = doctor(&directories);
    assert!(found["found"].as_str().unwrap().contains("without the capability io.kubernetes.cri"), "{found}");
    std::fs::write(directories.list(), whole).unwrap();

    let outbound = || Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap().outcome();
    for _ in 0..2 {
        let gone = uninstall(&node, &directories, &[]);
        assert!(gone.code == Some(0) && gone.stdout.contains("lab/web stays captured"), "{gone:?}");
        assert!(directories.is_as_before(), "{}", directories.text());
        assert_eq!(outbound(), Outcome::Refused);
    }
    let forced = uninstall(&node, &directories, &["--force"]);
    assert!(forced.code == Some(0) && forced.stdout.contains("lab/web has left the mesh"), "{forced:?}");
    assert!(node.root.status_of(&network.pod).is_err());
    assert_eq!(node.root.pins(), Vec::<PathBuf>::new());
    let again = uninstall(&node, &directories, &["--force"]);
    assert!(again.code == Some(0) && !again.stdout.contains("lab/web"), "{again:?}");
}
