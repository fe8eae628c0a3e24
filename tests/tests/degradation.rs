//! What a kernel lacks is said, and redirection is whole all the same: each case holds on kernels with and without.

use std::net::SocketAddr;

use serde_json::Value;
use tests::client::Connect;
use tests::kernel;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::server::{self, APP_USER, PROXY_USER, Server};
use tests::sidestep::{DEFAULT_FLAGS, Ended, ended_command};

fn ready() -> bool {
    met(&[Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep])
}

fn lacks(features: &[&str]) -> bool {
    features.iter().any(|feature| kernel::lack(feature).unwrap().is_some())
}

/// Attaches with a bpffs of its own, which takes everything along when it goes.
fn attach(root: &PinRoot, network: &Network, more: &[&str]) -> Ended {
    let args = [&["attach"], DEFAULT_FLAGS.as_slice(), more].concat();
    ended_command(root.for_pod(&args, &network.pod).unwrap()).unwrap()
}

/// What attach says of a workload it takes.
fn attached(name: &str, more: &[&str]) -> (Network, PinRoot, String) {
    let network = Network::new(name).unwrap();
    let root = PinRoot::new().unwrap();
    let ended = attach(&root, &network, more);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    (network, root, ended.stderr)
}

fn status(root: &PinRoot) -> Value {
    let ended = ended_command(root.command(&["status", "--output", "json"]).unwrap()).unwrap();
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Owners: without BTF, or under lockdown, they are recorded at socket creation, and the rules about them still hold.
#[test]
fn owners_are_known_either_way() {
    if !ready() {
        return;
    }
    let (network, _root, says) = attached("degraded-owners", &[]);
    let recorded = lacks(&["btf", "read_kernel_memory"]);
    assert_eq!(says.contains("socket owners are recorded when a socket is created"), recorded, "{says}");

    let sidecar = server::stand_in(&network.pod).start().unwrap();
    let everywhere: SocketAddr = "0.0.0.0:80".parse().unwrap();
    let _outside = Server::on(&network.outside).listen(everywhere).start().unwrap();
    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let of_app = Connect::to(service).user(APP_USER).from(&network.pod).unwrap();
    assert_eq!(of_app.report().unwrap().listener.port(), 15001, "{of_app:?}");
    let of_proxy = Connect::to(service).user(PROXY_USER).from(&network.pod).unwrap();
    assert_eq!(of_proxy.outcome(), Outcome::Answered, "{of_proxy:?}");
    assert_eq!(sidecar.accepted().len(), 1, "the sidecar's own connection is left alone");
}

/// Acceleration is on where the kernel is safe; elsewhere status says why not, and redirection does not mind.
#[test]
fn acceleration_is_on_or_says_why_not() {
    if !ready() {
        return;
    }
    let (_network, root, _) = attached("degraded-accel", &[]);
    let unable = Requirement::Acceleration.missing().is_some();
    let status = status(&root);
    let reason = &status["workloads"][0]["meta"]["not_accelerated"];
    assert_eq!(reason.is_string(), unable, "{reason}");
}

/// So is the splice guard, where anything is accelerated.
#[test]
fn splicing_is_guarded_or_it_says_why_not() {
    if !ready() || Requirement::Acceleration.missing().is_some() {
        return;
    }
    let (_network, root, _) = attached("degraded-guard", &[]);
    let status = status(&root);
    let workload = &status["workloads"][0];
    let guards = workload["programs"].as_array().unwrap().iter().any(|name| name == "splice_guard");
    let reason = &workload["meta"]["not_guarded"];
    assert_eq!((guards, reason.is_string()), (!lacks(&["bpf_lsm"]), lacks(&["bpf_lsm"])), "{reason}");
}

/// So is the observation; `flows` then ends with the reason.
#[test]
fn connections_are_observed_or_it_says_why_not() {
    if !ready() {
        return;
    }
    let (_network, root, _) = attached("degraded-flows", &[]);
    let lacks = Requirement::Observation.missing();
    let reason = &status(&root)["workloads"][0]["meta"]["not_observed"];
    assert_eq!(reason.is_string(), lacks.is_some(), "{reason}, {lacks:?}");
    let flows = ended_command(root.command(&["flows"]).unwrap()).unwrap();
    assert_eq!(flows.code == Some(0), lacks.is_none(), "{flows:?}");
    if let Some(reason) = reason.as_str() {
        assert!(flows.stderr.contains(reason), "{flows:?}");
    }
}

/// `require` is all or nothing.
#[test]
fn required_acceleration_refuses_before_anything_is_touched() {
    if !ready() {
        return;
    }
    let network = Network::new("degraded-require").unwrap();
    let root = PinRoot::new().unwrap();
    let attached = attach(&root, &network, &["--accelerate", "require"]);
    if Requirement::Acceleration.missing().is_some() {
        assert_eq!(attached.code, Some(69), "{}", attached.stderr);
        assert!(attached.stderr.contains("--accelerate require"), "{}", attached.stderr);
        assert!(root.pins().is_empty(), "{:?}", root.pins());
    } else {
        assert_eq!(attached.code, Some(0), "{}", attached.stderr);
    }
}

/// Rules about interfaces that cannot be followed are named.
#[test]
fn interfaces_that_cannot_be_told_are_named() {
    if !ready() {
        return;
    }
    let (_network, _root, says) = attached("degraded-ifindex", &["-c", "eth0", "-k", "eth0"]);
    assert_eq!(says.contains("no effect on inbound connections"), lacks(&["ingress_ifindex"]), "{says}");
    assert_eq!(says.contains("no tcx links"), lacks(&["tcx"]), "{says}");
}
