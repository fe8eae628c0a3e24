//! Pods that are gone while they are attached: `status` says so, no figures are shown of them, and they are removed by
//! `prune` and by each attach.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pin_root::{self, PinRoot};
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::serve::Serve;
use tests::sidestep::{DEFAULT_FLAGS, Ended, ended_command};
use tests::wait;

fn attach(root: &PinRoot, pod: &Pod, more: &[&str]) -> Ended {
    let verb = [&["attach"], &DEFAULT_FLAGS[..], more].concat();
    succeed(root.for_pod(&verb, pod).unwrap())
}

fn succeed(command: Command) -> Ended {
    let ended = ended_command(command).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended
}

fn run(root: &PinRoot, args: &[&str]) -> String {
    succeed(root.command(args).unwrap()).stdout
}

/// Name and what of it is gone, of each workload.
fn gone(root: &PinRoot) -> Vec<(String, Option<String>)> {
    let status: Value = serde_json::from_str(&run(root, &["status", "--output", "json"])).unwrap();
    let of = |workload: &Value| {
        let name = workload["workload"].as_str().unwrap().to_owned();
        (name, workload["gone"].as_str().map(str::to_owned))
    };
    let mut all: Vec<_> = status["workloads"].as_array().unwrap().iter().map(of).collect();
    all.sort();
    all
}

/// The kernel takes a namespace down a moment after its last process.
fn wait_until_gone(root: &PinRoot, name: &str) {
    let is_gone = || gone(root).iter().any(|(found, gone)| found == name && gone.as_deref() == Some("both"));
    wait::until("the pod is gone", Duration::from_secs(20), is_gone);
}

/// A node with a living pod `shop/lives` and one that is gone, `shop/gone`.
fn node() -> (PinRoot, Network, String) {
    let root = PinRoot::new().unwrap();
    let lives = Network::new("lives").unwrap();
    attach(&root, &lives.pod, &["--pod", "shop/lives"]);
    let dies = Network::new("dies").unwrap();
    attach(&root, &dies.pod, &["--pod", "shop/gone"]);
    let gone = dies.pod.workload().unwrap();
    drop(dies);
    wait_until_gone(&root, &gone);
    (root, lives, gone)
}

#[test]
fn status_says_it_and_the_metrics_leave_it_out() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let (root, lives, dead) = node();
    let mut expected = vec![(lives.pod.workload().unwrap(), None), (dead.clone(), Some("both".to_owned()))];
    expected.sort();
    assert_eq!(gone(&root), expected);
    let table = run(&root, &["status"]);
    assert_eq!(table.matches("gone:").count(), 1, "{table}");

    let serve = Serve::start_with(&[], &[(pin_root::VARIABLE, &root.path().display().to_string())]).unwrap();
    let metrics = serve.metrics().unwrap();
    assert!(metrics.0.contains(&lives.pod.workload().unwrap()) && !metrics.0.contains(&dead), "{metrics:?}");
    assert_eq!(metrics.of("sidestep_workloads", &["state=\"readable\""]), 1.0, "{metrics:?}");
    assert_eq!(metrics.of("sidestep_workloads", &["state=\"gone\""]), 1.0, "{metrics:?}");
    let page = serve.get("/api/v1/node", &[]).unwrap().body;
    assert!(page.contains(&lives.pod.workload().unwrap()) && !page.contains(&dead), "{page}");
}

#[test]
fn prune_removes_it_and_nothing_else() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let (root, lives, dead) = node();
    let said = run(&root, &["prune"]);
    assert_eq!(said, format!("removed workload {dead}: its network namespace is gone\n"));
    assert_eq!(gone(&root), [(lives.pod.workload().unwrap(), None)]);
    assert_eq!(run(&root, &["prune"]), "nothing is gone\n");
    run(&root, &["detach", "--workload", "shop/lives"]);
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_last_one_that_is_gone_takes_all_with_it() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let root = PinRoot::new().unwrap();
    let network = Network::new("last").unwrap();
    attach(&root, &network.pod, &[]);
    let name = network.pod.workload().unwrap();
    drop(network);
    wait_until_gone(&root, &name);
    assert!(run(&root, &["prune"]).starts_with("removed workload "));
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn each_attach_prunes() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    // Made first: it does not get the number of the namespace that goes.
    let other = Network::new("other").unwrap();
    let (root, lives, dead) = node();
    let said = attach(&root, &other.pod, &[]);
    assert!(
        said.stdout.contains(&format!("removed workload {dead}: its network namespace is gone")),
        "{said:?}"
    );
    let mut expected = vec![(lives.pod.workload().unwrap(), None), (other.pod.workload().unwrap(), None)];
    expected.sort();
    assert_eq!(gone(&root), expected);
}

/// What still arrives in its namespace is still captured: that is not taken away behind anybody's back.
#[test]
fn a_pod_without_its_cgroup_stays() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let (root, network) = (PinRoot::new().unwrap(), Network::new("no-cgroup").unwrap());
    let cgroup = network.pod.cgroup().join("inner");
    std::fs::create_dir(&cgroup).unwrap();
    let netns = network.pod.netns().display().to_string();
    let place = ["attach", "--netns", &netns, "--cgroup", cgroup.to_str().unwrap()];
    succeed(root.command(&[&place[..], &DEFAULT_FLAGS].concat()).unwrap());
    std::fs::remove_dir(&cgroup).unwrap();
    assert_eq!(gone(&root)[0].1.as_deref(), Some("cgroup"));
    assert!(run(&root, &["status"]).contains("its cgroup is gone"));
    assert_eq!(run(&root, &["prune"]), "nothing is gone\n");
}

/// StatefulSets: the new pod has the old one's name.
#[test]
fn a_pods_name_means_the_one_that_lives() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let (root, lives, dead) = node();
    // Two that live: which is meant has to be said.
    let twin = Network::new("twin").unwrap();
    attach(&root, &twin.pod, &["--pod", "shop/lives"]);
    let twin_name = twin.pod.workload().unwrap();
    let question = ["explain", "--from", "0:0", "--to", "10.96.7.7:80", "--workload", "shop/lives"];
    let both = ended_command(root.command(&question).unwrap()).unwrap();
    assert_eq!(both.code, Some(64), "{both:?}");
    assert!(
        both.stderr.contains(&twin_name) && both.stderr.contains(&lives.pod.workload().unwrap()),
        "{both:?}"
    );
    let first = lives.pod.workload().unwrap();
    drop(lives);
    wait_until_gone(&root, &first);
    let answer = run(&root, &[&question[..], &["--output", "json"]].concat());
    assert!(answer.contains(&twin_name) && !answer.contains(&dead), "{answer}");
    let mut verbs = vec![&["verify", "--no-sidecar"][..], &["audit"]];
    if Requirement::Observation.missing().is_none() {
        verbs.push(&["flows"]);
    }
    for verb in verbs {
        let ended =
            ended_command(root.command(&[verb, &["--workload", "shop/lives"]].concat()).unwrap()).unwrap();
        assert!(matches!(ended.code, Some(0 | 1)), "{verb:?}: {ended:?}");
        assert!(!ended.stderr.contains("attached"), "{verb:?}: {ended:?}");
    }
    let said = run(&root, &["detach", "--workload", "shop/lives"]);
    assert_eq!(said, format!("detached workload {twin_name}\n"));
}

#[rstest::rstest]
#[case::detach(&["detach"])]
#[case::verify_is_a_step(&["verify"])]
#[case::explain(&["explain", "--from", "0:0", "--to", "10.96.7.7:80"])]
#[case::audit(&["audit"])]
#[case::flows(&["flows"])]
fn a_name_that_nobody_has_is_an_error(#[case] verb: &[&str]) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let (root, network) = (PinRoot::new().unwrap(), Network::new("typo").unwrap());
    attach(&root, &network.pod, &["--pod", "shop/web-0"]);
    for typo in ["4026532247-1", "shop/web-1", "web-0"] {
        let said = ended_command(root.command(&[verb, &["--workload", typo]].concat()).unwrap()).unwrap();
        assert!(matches!(said.code, Some(64 | 126)), "{said:?}");
        let there = format!("attached: {} (shop/web-0)", network.pod.workload().unwrap());
        assert!(said.stderr.contains(typo) && said.stderr.contains(&there), "{said:?}");
    }
}
