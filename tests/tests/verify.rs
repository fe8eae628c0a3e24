//! `sidestep verify` tells a workload that is redirected from one that is not, and leaves nothing behind.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::{Requirement, met};
use tests::server::{PROXY_USER, Server};
use tests::sidecar::Sidecar;
use tests::sidestep::{self, DEFAULT_FLAGS, Sidestep, workload};

const DUAL_STACK: &[&str] = &["--dual-stack"];

fn flags(more: &[&'static str]) -> Vec<&'static str> {
    DEFAULT_FLAGS.iter().chain(more).copied().collect()
}

/// Exit code, report, standard error.
fn verify(args: &[String]) -> (i32, Value, String) {
    let mut command = Command::new(sidestep::binary().unwrap());
    let output = command.args(["verify", "--output", "json"]).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    (output.status.code().unwrap(), report, stderr)
}

/// No sidecar is expected, unless a test says so.
fn verify_pod(pod: &Pod) -> (i32, Value, String) {
    verify(&[&["--no-sidecar".to_owned()], &workload(pod)[..]].concat())
}

fn outcomes(report: &Value) -> Vec<(&str, &str)> {
    let steps = report["steps"].as_array().unwrap();
    steps.iter().map(|step| (step["name"].as_str().unwrap(), step["outcome"].as_str().unwrap())).collect()
}

fn outcome<'a>(report: &'a Value, name: &str) -> &'a str {
    outcomes(report).into_iter().find(|(step, _)| *step == name).map_or("absent", |(_, outcome)| outcome)
}

fn child_cgroups(pod: &Pod) -> usize {
    let entries = fs::read_dir(pod.cgroup()).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count()
}

#[test]
fn an_attached_workload_passes_without_a_sidecar() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("verify-alone").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &flags(DUAL_STACK)).unwrap();
    let (code, report, stderr) = verify_pod(&network.pod);
    assert_eq!(code, 0, "{report:#} {stderr}");
    let passes = outcomes(&report).into_iter().filter(|(_, outcome)| *outcome == "pass");
    assert_eq!(passes.count(), 10, "{report:#}");
    assert_eq!((outcomes(&report).len(), outcome(&report, "sidecar")), (11, "skip"), "{report:#}");
    assert_eq!(child_cgroups(&network.pod), 0);
}

#[test]
fn an_attached_workload_passes_with_a_sidecar() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("verify-sidecar").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &flags(DUAL_STACK)).unwrap();
    let config = SidecarConfig::new(Forward::Passthrough, &[]);
    let _sidecar = Sidecar::start(&network.pod, &config).unwrap();
    let (code, report, stderr) = verify(&workload(&network.pod));
    assert_eq!(code, 0, "{report:#} {stderr}");
    assert!(outcomes(&report).iter().all(|(_, outcome)| *outcome == "pass"), "{report:#}");
}

#[test]
fn by_name_it_is_the_same() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("verify-name").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let name = network.pod.workload().unwrap();
    let (code, report, stderr) = verify(&["--no-sidecar".into(), "--workload".into(), name.clone()]);
    assert_eq!((code, report["workload"].as_str()), (0, Some(name.as_str())), "{report:#} {stderr}");
    assert_eq!(outcome(&report, "outbound-ipv6"), "skip", "no IPv6 rules: {report:#}");
}

#[test]
fn nothing_attached_fails() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("verify-none").unwrap();
    let (code, report, stderr) = verify_pod(&network.pod);
    assert_eq!(code, 126);
    assert_eq!(outcomes(&report), [("attached", "fail")]);
    assert!(stderr.contains("failed at step attached") && stderr.contains("sidestep attach"), "{stderr}");
}

#[test]
fn a_missing_program_fails_with_its_step_and_with_what_it_breaks() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("verify-broken").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let name = network.pod.workload().unwrap();
    fs::remove_file(format!("/sys/fs/bpf/sidestep/{name}/link_connect4")).unwrap();
    let (code, report, stderr) = verify_pod(&network.pod);
    assert_eq!(code, 126);
    assert_eq!(outcome(&report, "programs"), "fail", "{report:#}");
    assert_eq!(outcome(&report, "validation-ipv4"), "fail", "{report:#}");
    assert_eq!(outcome(&report, "outbound-ipv4"), "fail", "{report:#}");
    assert_eq!(outcome(&report, "inbound-ipv4"), "pass", "{report:#}");
    assert!(stderr.contains("failed at step programs"), "{stderr}");
    assert_eq!(child_cgroups(&network.pod), 0);
}

#[test]
fn what_is_not_captured_is_skipped_and_says_so() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("verify-little").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &["-u", "1337", "-b", "", "-i", ""]).unwrap();
    let (code, report, stderr) = verify_pod(&network.pod);
    assert_eq!(code, 0, "{report:#} {stderr}");
    assert_eq!(outcome(&report, "validation-ipv4"), "pass", "{report:#}");
    assert_eq!(outcome(&report, "outbound-ipv4"), "skip", "{report:#}");
    assert_eq!(outcome(&report, "inbound-ipv4"), "skip", "{report:#}");
}

/// Everything else is as it should be, and every connection is refused.
#[test]
fn a_dead_sidecar_fails() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("verify-dead").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let (code, report, stderr) = verify(&workload(&network.pod));
    assert_eq!((code, outcome(&report, "sidecar")), (126, "fail"), "{report:#}");
    let others = outcomes(&report).into_iter().filter(|(name, _)| *name != "sidecar");
    assert!(others.map(|(_, outcome)| outcome).all(|outcome| outcome != "fail"), "{report:#}");
    let words = ["failed at step sidecar", "nobody listens on ports 15001 and 15006", "--no-sidecar"];
    assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");

    // Half of one is none.
    let _half = Server::on(&network.pod)
        .user(PROXY_USER)
        .listen("0.0.0.0:15006".parse::<SocketAddr>().unwrap())
        .start()
        .unwrap();
    let (code, _, stderr) = verify(&workload(&network.pod));
    assert!(code == 126 && stderr.contains("nobody listens on port 15001:"), "{code} {stderr}");
    assert_eq!(child_cgroups(&network.pod), 0);
}
