//! The agent as the chart has it: in a container of its own image, with the rights and the mounts of the DaemonSet.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use rstest::rstest;
use serde_json::Value;
use tests::helm::{of_kind, rendered};
use tests::our_image;
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::sidestep::ended_command;
use tests::wait::until;

use crate::image::said;
use crate::messages::*;
use crate::node::{Node, SOON, can_be_had};
use crate::pod::{Container, Pod, Spec};

/// What a node pulls: compressed.
const AT_MOST: u64 = 12 * 1024 * 1024;
/// What kubelet hides from containers that are not privileged, and what it makes read-only.
const MASKED: &str = "/proc/asound /proc/acpi /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list \
    /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap";
const READ_ONLY: &str = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger";

fn can_be_run() -> bool {
    can_be_had() && met(&[Requirement::Helm, Requirement::Image])
}

/// The agent's pod on a node.
struct Daemon {
    pod: Pod,
    container: Container,
    address: String,
}

impl Daemon {
    /// What kubelet makes of the chart with these values.
    fn start(node: &Node, flags: &[&str]) -> Result<Self> {
        let directory = node.directory().display();
        let places = [
            format!("--set=image={}", our_image::NAME),
            format!("--set=cniBinDir={directory}/bin,cniConfDir={directory}/cni"),
        ];
        let flags: Vec<&str> = places.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let documents = rendered(&flags)?;
        let values = node.directory().join("values");
        fs::create_dir_all(&values).context("a directory for the values")?;
        for (name, text) in of_kind(&documents, "ConfigMap")?["data"].as_object().context("no values")? {
            fs::write(values.join(name), text.as_str().context("a text")?).context("the values")?;
        }
        let pod = &of_kind(&documents, "DaemonSet")?["spec"]["template"]["spec"];
        let config = container(node, pod, &values)?;
        let mut spec = Spec::plain("sidestep-x7d2f");
        spec.namespace = "sidestep-system".to_owned();
        spec.privileged = pod["containers"][0]["securityContext"]["privileged"] == true;
        let pod = Pod::run(node, spec)?;
        let container = pod.start_container("agent", config)?;
        let daemon = Self { address: pod.address()?, pod, container };
        let mut seen = String::new();
        until("the agent in its container is ready", SOON, || {
            seen = daemon.get(node, "/readyz");
            seen.starts_with("ready") || daemon.has_ended()
        });
        let log = daemon.container.said().unwrap_or_default();
        anyhow::ensure!(seen.starts_with("ready"), "the agent has ended: {log}");
        Ok(daemon)
    }

    fn has_ended(&self) -> bool {
        self.pod.has_ended(&self.container).unwrap_or(true)
    }

    /// As kubelet and Prometheus ask: at the pod's address, from the node.
    fn get(&self, node: &Node, path: &str) -> String {
        let mut command = node.command("curl");
        command.args(["-s", "--max-time", "5"]).arg(format!("http://{}:15095{path}", self.address));
        ended_command(command).map(|ended| ended.stdout).unwrap_or_default()
    }

    /// What `kubectl exec` prints.
    fn exec(&self, command: &[&str]) -> Result<String> {
        let ended = self.pod.exec(&self.container, command)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        anyhow::ensure!(ended.exit_code == 0, "{command:?}: {}", text(&ended.stderr));
        Ok(text(&ended.stdout))
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned)).collect()
}

/// The agent's container as kubelet tells it to a runtime.
fn container(node: &Node, pod: &Value, values: &Path) -> Result<ContainerConfig> {
    let agent = &pod["containers"][0];
    let rights = &agent["securityContext"];
    let is_privileged = rights["privileged"] == true;
    let hidden = |paths: &str| -> Vec<String> {
        let paths = paths.split(' ').filter(|_| !is_privileged);
        paths.map(str::to_owned).collect()
    };
    let capabilities = Capability {
        add_capabilities: texts(&rights["capabilities"]["add"]),
        drop_capabilities: texts(&rights["capabilities"]["drop"]),
    };
    let number = |key: &str| rights[key].as_i64().map(|value| Int64Value { value });
    Ok(ContainerConfig {
        image: Some(ImageSpec { image: our_image::NAME.to_owned() }),
        command: texts(&agent["command"]),
        args: texts(&agent["args"]),
        mounts: mounts(node, pod, values)?,
        linux: Some(LinuxContainerConfig {
            security_context: Some(LinuxContainerSecurityContext {
                capabilities: Some(capabilities),
                privileged: is_privileged,
                run_as_user: number("runAsUser"),
                run_as_group: number("runAsGroup"),
                readonly_rootfs: rights["readOnlyRootFilesystem"] == true,
                masked_paths: hidden(MASKED),
                readonly_paths: hidden(READ_ONLY),
                ..LinuxContainerSecurityContext::default()
            }),
        }),
        ..ContainerConfig::default()
    })
}

fn mounts(node: &Node, pod: &Value, values: &Path) -> Result<Vec<Mount>> {
    let volumes = pod["volumes"].as_array().context("no volumes")?;
    let mounts = pod["containers"][0]["volumeMounts"].as_array().context("no mounts")?;
    mounts
        .iter()
        .map(|mount| {
            let volume =
                volumes.iter().find(|volume| volume["name"] == mount["name"]).context("no volume")?;
            let host = &volume["hostPath"];
            let host_path = match host["path"].as_str() {
                Some(path) => path.to_owned(),
                None => values.display().to_string(),
            };
            if host["type"] == "DirectoryOrCreate" {
                said(node.command("mkdir").args(["-p", &host_path]))?;
            }
            Ok(Mount {
                container_path: mount["mountPath"].as_str().context("no path")?.to_owned(),
                host_path,
                readonly: mount["readOnly"] == true,
                propagation: match mount["mountPropagation"].as_str() {
                    None => 0,
                    Some("HostToContainer") => 1,
                    Some("Bidirectional") => 2,
                    Some(other) => anyhow::bail!("a propagation that there is not: {other}"),
                },
            })
        })
        .collect()
}

#[rstest]
#[case::privileged("--set=leastPrivilege=false")]
#[case::least_privilege("--set=leastPrivilege=true")]
fn it_captures_pods(#[case] rights: &str) {
    if !can_be_run() {
        return;
    }
    let node = Node::without_agent().unwrap();
    node.import(&our_image::path().unwrap()).unwrap();
    let daemon = Daemon::start(&node, &[rights]).unwrap();
    let plain = Pod::run(&node, Spec::plain("plain")).unwrap();
    assert!(plain.connect().unwrap().is_the_worlds(), "without a sidecar it goes where it is sent");
    let pod = Pod::run(&node, Spec::meshed("web")).unwrap();
    let connected = pod.connect().unwrap();
    assert_eq!(connected.outcome(), Outcome::Refused, "{connected:?}");
    let metrics = daemon.get(&node, "/metrics");
    assert!(metrics.contains("sidestep_agent_enrolments_total{when=\"add\"} 1\n"), "{metrics}");
    assert!(!daemon.get(&node, "/api/v1/node").contains("web"), "the page is not for everybody");
    let status = daemon.exec(&["sidestep", "status", "--output", "json"]).unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["workloads"][0]["meta"]["pod"]["name"], "web", "{status:#}");

    // The pins are the node's: what is captured stays so, and the next agent goes on with it.
    daemon.pod.remove().unwrap();
    assert_eq!(node.workloads().unwrap().len(), 1);
    assert_eq!(pod.connect().unwrap().outcome(), Outcome::Refused);
    let early = Pod::run(&node, Spec::meshed("early")).unwrap_err();
    assert!(format!("{early:#}").contains("does not answer"), "{early:#}");
    let daemon = Daemon::start(&node, &[rights]).unwrap();
    assert_eq!(pod.connect().unwrap().outcome(), Outcome::Refused);
    let late = Pod::run(&node, Spec::meshed("late")).unwrap();
    assert_eq!(late.connect().unwrap().outcome(), Outcome::Refused);
    for pod in [late, pod, plain] {
        pod.remove().unwrap();
    }
    assert!(node.workloads().unwrap().is_empty(), "released with their networks");
    // What the application connected to without a sidecar is said; nothing else is wrong.
    let log = daemon.container.said().unwrap();
    let mut complaints = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
    assert!(complaints.all(|line| line.contains("outbound_refused")), "{log}");
}

/// The machine's is below the node's own.
fn without_bpffs(node: &Node) -> Result<()> {
    let all =
        "while umount /sys/fs/bpf 2> /dev/null; do :; done; ! grep -q ' /sys/fs/bpf ' /proc/self/mounts";
    said(node.command("sh").args(["-c", all]))?;
    Ok(())
}

/// What a privileged agent mounts is there for the node: pins do not go with the container.
#[test]
fn a_node_without_a_bpffs_gets_one() {
    if !can_be_run() {
        return;
    }
    let node = Node::without_agent().unwrap();
    node.import(&our_image::path().unwrap()).unwrap();
    without_bpffs(&node).unwrap();
    let daemon = Daemon::start(&node, &[]).unwrap();
    let pod = Pod::run(&node, Spec::meshed("web")).unwrap();
    assert_eq!(node.workloads().unwrap().len(), 1, "the node sees the pins");
    daemon.pod.remove().unwrap();
    assert_eq!(pod.connect().unwrap().outcome(), Outcome::Refused);
    assert_eq!(node.workloads().unwrap().len(), 1);
}

/// One that may not mount for the node does not mount for itself: those pins would go with the container.
#[test]
fn with_least_privilege_it_asks_for_one() {
    if !can_be_run() {
        return;
    }
    let node = Node::without_agent().unwrap();
    node.import(&our_image::path().unwrap()).unwrap();
    without_bpffs(&node).unwrap();
    let Err(refused) = Daemon::start(&node, &["--set=leastPrivilege=true"]) else { panic!("it runs") };
    assert!(format!("{refused:#}").contains("no bpffs at /sys/fs/bpf"), "{refused:#}");
}

/// Both programs, the libraries they are linked with where they are, and nothing else.
#[test]
fn nothing_else_is_in_it() {
    if !met(&[Requirement::Image]) {
        return;
    }
    let archive = our_image::path().unwrap();
    let size = fs::metadata(&archive).unwrap().len();
    assert!(size < AT_MOST, "{size} bytes, more than {AT_MOST}");
    let place = tempfile::tempdir().unwrap();
    said(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(place.path())).unwrap();
    let json = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |of: &Value| {
        let digest = of["digest"].as_str().unwrap();
        place.path().join("blobs").join(digest.replacen(':', "/", 1))
    };
    let manifest = json(&blob(&json(&place.path().join("index.json"))["manifests"][0]));
    let config = json(&blob(&manifest["config"]));
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/usr/local/bin/sidestep"]));
    let listed = said(Command::new("tar").arg("-tzf").arg(blob(&manifest["layers"][0]))).unwrap();
    let files: BTreeSet<&str> = listed.lines().filter(|path| !path.ends_with('/')).collect();
    let (programs, libraries): (Vec<&str>, Vec<&str>) = files.iter().partition(|path| !path.contains(".so."));
    assert_eq!(programs, ["usr/local/bin/sidestep", "usr/local/bin/sidestep-cni"]);
    assert!(libraries.len() <= 4, "{libraries:?}");
}
