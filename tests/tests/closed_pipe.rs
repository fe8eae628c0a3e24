//! Who reads a verb's results may go: the verb ends without a word, and with its own exit code.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use rstest::rstest;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::sidestep::{self, DEFAULT_FLAGS, Sidestep, workload};

/// A pipe whose reader has gone.
fn closed() -> OwnedFd {
    pipe2(OFlag::O_CLOEXEC).unwrap().1
}

#[rstest]
#[case::status(&["status"], 0)]
#[case::status_json(&["status", "--output", "json"], 0)]
#[case::doctor(&["doctor"], 1)]
#[case::rules(&["rules", "-b", "*"], 0)]
#[case::help(&["help"], 0)]
#[case::version(&["--version"], 0)]
// A lab guest has no address of its own: then it is an error.
#[case::dry_run(&["istio-iptables", "--dry-run", "-b", "*"], 1)]
#[case::explain(&["explain", "--from", "0:0", "--to", "10.96.7.7:80", "-i", "*"], 0)]
fn nobody_reads(#[case] args: &[&str], #[case] most: i32) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("pipe").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    quiet(args, 0..=most);
}

#[rstest]
#[case::flows(&["flows"])]
#[case::flows_json(&["flows", "--output", "json"])]
#[case::follow(&["flows", "-f"])]
fn nobody_reads_flows(#[case] args: &[&str]) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("pipe-flows").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    quiet(args, 0..=0);
}

#[test]
fn the_exit_code_is_still_that_of_the_result() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("pipe-result").unwrap();
    let place = workload(&network.pod);
    let of = |verb: &[&str]| -> Vec<String> {
        verb.iter().map(|word| (*word).to_owned()).chain(place.iter().cloned()).collect()
    };
    let args = of(&["verify"]);
    quiet(&args.iter().map(String::as_str).collect::<Vec<_>>(), 126..=126);
    let _guard = Sidestep::around(&network.pod);
    // With lines of the log.
    let args: Vec<String> =
        of(&["attach", "-v"]).into_iter().chain(DEFAULT_FLAGS.map(str::to_owned)).collect();
    quiet(&args.iter().map(String::as_str).collect::<Vec<_>>(), 0..=0);
    let args = of(&["verify", "--no-sidecar"]);
    quiet(&args.iter().map(String::as_str).collect::<Vec<_>>(), 0..=0);
}

/// With standard output closed, and with both.
fn quiet(args: &[&str], codes: std::ops::RangeInclusive<i32>) {
    let run = |errors: Stdio| {
        let mut command = Command::new(sidestep::binary().unwrap());
        command.args(args).stdin(Stdio::null()).stdout(closed()).stderr(errors);
        command.spawn().unwrap().wait_with_output().unwrap()
    };
    let output = run(Stdio::piped());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| codes.contains(&code)), "{args:?}: {output:?}");
    assert!(!said.contains("panicked") && !said.contains("Broken pipe"), "{args:?}: {said}");
    let output = run(Stdio::from(closed()));
    assert!(output.status.code().is_some_and(|code| codes.contains(&code)), "{args:?}: {output:?}");
}
