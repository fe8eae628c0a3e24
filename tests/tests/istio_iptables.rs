//! `istio-iptables` under its own name does what istio-init, istio-validation and a VM's start script ask of it.
//! The workload is always named: the defaults would mean this machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::{Requirement, met};
use tests::server::PROXY_USER;
use tests::sidestep::{self, DEFAULT_FLAGS, Sidestep};

/// The binary under the name of what it replaces.
fn istio_iptables(pod: &Pod) -> PathBuf {
    let path = pod.scratch().join("istio-iptables");
    if !path.exists() {
        symlink(sidestep::binary().unwrap(), &path).unwrap();
    }
    path
}

fn run(pod: &Pod, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(istio_iptables(pod));
    command.arg("--network-namespace").arg(pod.netns()).arg("--cgroup").arg(pod.cgroup());
    command.args(args).envs(env.iter().copied()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn is_attached(pod: &Pod) -> bool {
    sidestep::status().unwrap().contains(&format!("{}-", pod.netns_inode().unwrap()))
}

#[test]
fn a_dry_run_prints_the_rules_and_changes_nothing() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("dry-run").unwrap();
    let file = network.pod.scratch().join("rules.txt");
    let env = [("DRY_RUN_FILE_PATH", file.to_str().unwrap())];
    let flags = [&DEFAULT_FLAGS[..], &["--dry-run"]].concat();
    let text = stdout(&run(&network.pod, &flags, &env));
    assert!(
        text.starts_with("*nat\n-N ISTIO_INBOUND\n") && text.contains("ISTIO_OUTPUT -j ISTIO_REDIRECT"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert!(!is_attached(&network.pod));
    // What is not applied is not shown.
    assert_eq!(stdout(&run(&network.pod, &[&flags[..], &["--skip-rule-apply"]].concat(), &[])), "");
    // The pod has an IPv6 address, so with dual stack there is a second text.
    let both = stdout(&run(&network.pod, &[&flags[..], &["--dual-stack"]].concat(), &[]));
    assert!(both.starts_with(&text) && both.contains("-d ::1/128 -j RETURN"), "{both}");
}

#[test]
fn it_attaches_validates_and_cleans_up() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("istio-init").unwrap();
    // A guard, should the test fail between the two calls.
    let _guard = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let text = stdout(&run(&network.pod, &[&DEFAULT_FLAGS[..], &["--run-validation"]].concat(), &[]));
    assert!(text.contains("updated workload") && text.contains("pass  validation-ipv4"), "{text}");
    for dry in ["--dry-run", "--skip-rule-apply"] {
        let text = stdout(&run(&network.pod, &["--cleanup-only", dry], &[]));
        assert!(text.contains("nothing is detached") && is_attached(&network.pod), "{text}");
    }
    let text = stdout(&run(&network.pod, &["--cleanup-only"], &[]));
    assert!(text.contains("detached workload") && !is_attached(&network.pod), "{text}");
    let text = stdout(&run(&network.pod, &[], &[("CLEANUP_ONLY", "true")]));
    assert_eq!(text, "nothing was attached\n");
}

#[test]
fn validation_as_the_proxy_user_needs_no_privilege() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("validation").unwrap();
    let validate = |timeout: &str| {
        let command = network.pod.command(istio_iptables(&network.pod)).user(PROXY_USER.0, PROXY_USER.1);
        let args = ["--skip-rule-apply", "--run-validation", "--probe-timeout", timeout];
        command.args(DEFAULT_FLAGS).args(args).run()
    };
    let error = format!("{:#}", validate("500ms").unwrap_err());
    assert!(error.contains("126") && error.contains("failed at step validation-ipv4"), "{error}");
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let text = validate("5s").unwrap();
    assert!(
        text.contains("pass  validation-ipv4") && text.contains("SO_ORIGINAL_DST is 127.0.0.6:15002"),
        "{text}"
    );
}

#[test]
fn a_vm_is_configured_from_its_env_files() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("vm").unwrap();
    let files = [
        ("sidecar.env", "# knobs\nISTIO_SERVICE_CIDR='10.0.0.0/8'\n"),
        (
            "cluster.env",
            "ISTIO_INBOUND_PORTS='*'\nISTIO_LOCAL_EXCLUDE_PORTS='22,15090,15021,15020'\nISTIO_SERVICE_CIDR='*'\n",
        ),
    ];
    let mut args = vec!["--dry-run".to_owned()];
    for (name, text) in files {
        let path = network.pod.scratch().join(name);
        fs::write(&path, text).unwrap();
        args.extend(["--env-file".to_owned(), path.display().to_string()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let text = stdout(&run(&network.pod, &args, &[]));
    assert!(
        text.contains("--dport 22 -j RETURN") && text.contains("-A ISTIO_OUTPUT -j ISTIO_REDIRECT"),
        "{text}"
    );
}

#[test]
fn two_namespaces_are_one_too_many() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("two-netns").unwrap();
    let mut command = Command::new(sidestep::binary().unwrap());
    command.args(["attach", "--network-namespace"]).arg(network.outside.netns());
    command.args(sidestep::workload(&network.pod)).args(DEFAULT_FLAGS);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("differ; give one of them"));
}
