//! `sidestep attach --annotations`: a pod's annotations in place of flags.

use std::fs;
use std::process::{Command, Output};

use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::{Requirement, met};
use tests::sidestep::{self, DEFAULT_FLAGS, Sidestep, workload};

fn attach(pod: &Pod, annotations: &str, args: &[&str]) -> Output {
    let file = pod.scratch().join("annotations");
    fs::write(&file, annotations).unwrap();
    let mut command = Command::new(sidestep::binary().unwrap());
    command.arg("attach").args(workload(pod)).arg("--annotations").arg(file).args(args).output().unwrap()
}

fn row(pod: &Pod, question: &[&str]) -> String {
    let args = [&["explain", "--output", "json"], question].concat();
    let answer: serde_json::Value = serde_json::from_str(&sidestep::run(&args, pod).unwrap()).unwrap();
    answer["row"].as_str().unwrap().to_owned()
}

#[test]
fn annotations_configure_a_workload() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("annotated").unwrap();
    let _guard = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let lines = "kubernetes.io/config.seen=\"2026-01-01T00:00:00Z\"\n\
                 traffic.sidecar.istio.io/excludeOutboundIPRanges=\"10.99.0.0/16\"\n";
    let output = attach(&network.pod, lines, &["--defaults", "cni"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(row(&network.pod, &["--from", "1000:1000", "--to", "10.99.0.1:80"]), "O13");
    assert_eq!(row(&network.pod, &["--from", "1000:1000", "--to", "10.96.0.1:80"]), "O15");
    assert_eq!(
        row(&network.pod, &["--from", "1000:1000", "--to", "10.96.0.1:15020"]),
        "O1",
        "the CNI's default"
    );
}

#[test]
fn a_pod_that_wants_no_capture_gets_none() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("unannotated").unwrap();
    for (annotations, reason) in [
        (r#"{"sidecar.istio.io/interceptionMode": "NONE"}"#, "interceptionMode is NONE"),
        (r#"{"sidecar.istio.io/inject": "false"}"#, "inject is false"),
    ] {
        let output = attach(&network.pod, annotations, &[]);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && stdout.contains("nothing is attached") && stdout.contains(reason),
            "{stdout}"
        );
    }
    assert!(!sidestep::status().unwrap().contains(&network.pod.netns_inode().unwrap().to_string()));
}

#[test]
fn faults_and_contradictions_are_usage_errors() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("misannotated").unwrap();
    let wrong = r#"{"traffic.sidecar.istio.io/includeInboundPorts": "http", "sidecar.istio.io/interceptionMode": "X"}"#;
    for (annotations, args, says) in [
        (wrong, &[][..], vec!["includeInboundPorts invalid", "interceptionMode invalid"]),
        ("{}", &["-b", "80"][..], vec!["--istio-inbound-ports", "cannot be used with"]),
        ("nonsense", &[][..], vec!["line 1: has no = sign"]),
    ] {
        let output = attach(&network.pod, annotations, args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        assert!(says.iter().all(|part| stderr.contains(part)), "{stderr}");
    }
}
