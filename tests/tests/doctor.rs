//! `sidestep doctor`: what it says of this machine, as root and as nobody, and of a pod with Istio's chains.

use serde_json::Value;
use tests::iptables::{self, Backend};
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::{Requirement, met};
use tests::server::APP_USER;
use tests::sidestep;

const NEEDS: [Requirement; 3] = [Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep];

fn finding<'a>(diagnosis: &'a Value, check: &str) -> &'a Value {
    let findings = diagnosis["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("no {check}: {diagnosis:#}"))
}

fn examine(pod: &Pod, as_user: (u32, u32)) -> Value {
    let command = pod.command(sidestep::binary().unwrap()).args(["doctor", "--output", "json"]);
    let mut process = command.user(as_user.0, as_user.1).spawn().unwrap();
    let code = process.wait(tests::process::RUN_WITHIN).unwrap().code();
    let diagnosis: Value = serde_json::from_str(&process.stdout()).unwrap();
    let wanted = match diagnosis["verdict"].as_str() {
        Some("ok") => 0,
        Some("degraded") => 1,
        Some("unusable") => 2,
        other => panic!("{other:?}"),
    };
    assert_eq!(code, Some(wanted), "{diagnosis:#}");
    diagnosis
}

#[test]
fn root_gets_an_answer_to_everything() {
    if !met(&NEEDS) {
        return;
    }
    let network = Network::new("doctor-root").unwrap();
    let diagnosis = examine(&network.pod, (0, 0));
    assert_ne!(diagnosis["verdict"], "unusable", "the lab's tests run here: {diagnosis:#}");
    for feature in diagnosis["features"].as_array().unwrap() {
        assert_ne!(feature["answer"], "inconclusive", "{feature:#}");
    }
    for finding in diagnosis["findings"].as_array().unwrap() {
        assert_eq!(
            finding["advice"].is_null(),
            finding["level"] == "ok",
            "advice where it is needed: {finding:#}"
        );
    }
    assert_eq!(finding(&diagnosis, "istio_chains")["level"], "ok");
    assert!(finding(&diagnosis, "mtu")["found"].as_str().unwrap().contains("eth0 "));
}

#[test]
fn nobody_is_told_what_could_not_be_seen() {
    if !met(&NEEDS) {
        return;
    }
    let network = Network::new("doctor-nobody").unwrap();
    let diagnosis = examine(&network.pod, APP_USER);
    // Not being allowed to look is never "no", and never a reason to call a machine unusable.
    assert_eq!(diagnosis["verdict"], "degraded", "{diagnosis:#}");
    assert_eq!(finding(&diagnosis, "sk_lookup")["level"], "unseen");
    assert_eq!(finding(&diagnosis, "capabilities")["level"], "unseen");
}

#[test]
fn chains_of_istio_are_found() {
    if !met(&NEEDS) || !met(&[Requirement::Iptables(Backend::Nft)]) {
        return;
    }
    let network = Network::new("doctor-chains").unwrap();
    iptables::apply(&network.pod, iptables::default_rules(), Backend::Nft).unwrap();
    let diagnosis = examine(&network.pod, (0, 0));
    let chains = finding(&diagnosis, "istio_chains");
    assert_eq!(chains["level"], "degraded");
    assert!(chains["found"].as_str().unwrap().contains("ISTIO_OUTPUT"), "{chains:#}");
    assert_eq!(diagnosis["verdict"], "degraded");
}

/// The table of features is what tests skip by: a kernel must have what its release has.
#[test]
fn this_kernel_has_what_its_release_has() {
    if !met(&NEEDS) {
        return;
    }
    let network = Network::new("doctor-features").unwrap();
    let diagnosis = examine(&network.pod, (0, 0));
    for feature in diagnosis["features"].as_array().unwrap() {
        let name = feature["name"].as_str().unwrap();
        let expected = feature["expected"] == true && !tests::kernel::withheld(name);
        // The other way round nothing is promised: distributions carry features back.
        assert!(!expected || feature["answer"] == "yes", "{feature:#}");
    }
}
