//! `leastPrivilege`: the capabilities that it names are enough.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::helm::{of_kind, rendered, template};
use tests::network::Network;
use tests::node_agent::{NodeAgent, SetUp, WAITS};
use tests::report::Outcome;
use tests::requirement::Requirement;
use tests::server::stand_in;
use tests::wait::until;

use crate::helm_is_there;

const SOON: Duration = Duration::from_secs(20);

fn capabilities(documents: &[Value]) -> Vec<String> {
    let pod = &of_kind(documents, "DaemonSet").unwrap()["spec"]["template"]["spec"];
    let rights = &pod["containers"][0]["securityContext"];
    assert_eq!((&rights["privileged"], &rights["capabilities"]["drop"]), (&json!(false), &json!(["ALL"])));
    let added = rights["capabilities"]["add"].as_array().unwrap();
    added.iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_right_is_named() {
    if !helm_is_there() {
        return;
    }
    let few = ["BPF", "PERFMON", "NET_ADMIN", "SYS_ADMIN"];
    assert_eq!(capabilities(&rendered(&["--set=leastPrivilege=true"]).unwrap()), few);
    let all = capabilities(&rendered(&["--set=leastPrivilege=true,hostPID=true"]).unwrap());
    assert_eq!(all, [&few[..], &["SYS_PTRACE", "DAC_READ_SEARCH", "DAC_OVERRIDE"]].concat());
    // Kubernetes refuses a mount that comes back from a container that is not privileged: it may mount none.
    let least = template(&["--set=leastPrivilege=true"]).unwrap();
    assert!(!least.contains("Bidirectional") && least.contains("- --require-bpffs\n"));
    assert!(!template(&[]).unwrap().contains("--require-bpffs"));
    let old = rendered(&["--set=leastPrivilege=true", "--kube-version=1.29"]).unwrap();
    let template = &of_kind(&old, "DaemonSet").unwrap()["spec"]["template"];
    let profile =
        &template["metadata"]["annotations"]["container.apparmor.security.beta.kubernetes.io/agent"];
    assert_eq!(profile, "unconfined");
}

/// A network namespace with a name, as runtimes keep them: the agent may look into no process.
struct Named(PathBuf);

impl Named {
    fn new(netns: &Path, name: PathBuf) -> Self {
        fs::write(&name, "").unwrap();
        mount(Some(netns), &name, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        Self(name)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("lab: {}: {error}", self.0.display());
        }
    }
}

/// With these and no others.
#[test]
fn they_are_enough_for_a_pod_that_waits() {
    if !DataPlane::Sidestep.met(&[
        Requirement::Helm,
        Requirement::CniPlugin,
        Requirement::Program("curl", "curl"),
        Requirement::Program("setpriv", "util-linux"),
        Requirement::Acceleration,
        Requirement::Observation,
    ]) {
        return;
    }
    let documents = rendered(&["--set=leastPrivilege=true"]).unwrap();
    let few =
        capabilities(&documents).iter().fold("-all".to_owned(), |all, one| all + ",+" + &one.to_lowercase());
    let mut node = NodeAgent::absent().unwrap();
    let network = Network::new("rights").unwrap();
    let netns = Named::new(&network.pod.netns(), node.directory().join("netns"));
    let pod = SetUp { netns: netns.0.clone(), ..SetUp::from(&network.pod) };
    let values = node.directory().join("values.json");
    let map = of_kind(&documents, "ConfigMap").unwrap();
    fs::write(&values, map["data"]["values.json"].as_str().unwrap()).unwrap();
    let whole = node.command(&["--runtime=none", &format!("--values={}", values.display())]).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", &few, "--"]).arg(whole.get_program()).args(whole.get_args());
    command.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
    node.run_by(command).unwrap();

    let added = node.add(pod.clone(), &[("sidecar.istio.io/status", WAITS)], &json!({})).unwrap();
    assert_eq!(added.code, Some(0), "{added:?}");
    let meta = &node.root.status_of(&network.pod).unwrap()["meta"];
    assert_eq!((&meta["not_accelerated"], &meta["not_observed"]), (&Value::Null, &Value::Null));
    let _sidecar = stand_in(&network.pod).start().unwrap();
    let outbound = Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap().outcome();
    assert_eq!(outbound, Outcome::Answered);
    let deleted = node.del(pod).unwrap();
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    until("it is released", SOON, || node.root.status_of(&network.pod).is_err());
    assert!(!node.said().contains("WARN"), "{}", node.said());
}
