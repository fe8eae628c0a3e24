//! What the command line says to what it cannot use: the value, the reason, the next step, and an exit code that means
//! something. Nothing is attached.

use std::process::Command;

use rstest::rstest;
use tests::cgroup::mount_v1;
use tests::data_plane::DataPlane;
use tests::footprint::Footprint;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::requirement::{Requirement, met};
use tests::sidestep::{DEFAULT_FLAGS, Ended, Sidestep, binary, ended, ended_command, workload};

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;
const PERMISSION: i32 = 77;

fn assert_said(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is missing: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked") && ended.stdout.is_empty(), "{ended:?}");
}

#[rstest]
#[case::unknown_netns("--netns", "/run/netns/no-such", USAGE, &["/run/netns/no-such", "No such file", "--netns /proc/<pid>/ns/net"])]
#[case::netns_of_no_process("--netns", "/proc/4194304/ns/net", USAGE, &["/proc/4194304/ns/net", "No such file", "give --netns"])]
#[case::not_a_namespace("--netns", "/etc/passwd", USAGE, &["/etc/passwd", "no namespace", "give --netns"])]
#[case::a_directory("--netns", "/tmp", USAGE, &["/tmp", "no namespace", "give --netns"])]
#[case::another_kind_of_namespace("--netns", "/proc/self/ns/mnt", USAGE, &["/proc/self/ns/mnt", "not a network namespace", "give --netns"])]
#[case::unknown_cgroup("--cgroup", "/sys/fs/cgroup/no-such", USAGE, &["/sys/fs/cgroup/no-such", "No such file", "below the cgroup2 mount"])]
#[case::not_a_cgroup("--cgroup", "/tmp", UNAVAILABLE, &["/tmp", "not a cgroup2 directory", "give --cgroup"])]
fn a_place_that_is_none(#[case] flag: &str, #[case] value: &str, #[case] code: i32, #[case] words: &[&str]) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("place").unwrap();
    let mut place = workload(&network.pod);
    let index = place.iter().position(|word| word == flag).unwrap();
    place[index + 1] = value.to_owned();
    let place = place.each_ref().map(String::as_str);
    assert_said(&ended([&["attach"], &place[..], &DEFAULT_FLAGS[..]].concat()).unwrap(), code, words);
    assert!(Footprint::of(&network.pod).unwrap().is_empty());
}

#[test]
fn a_cgroup_of_version_1() {
    if !DataPlane::Sidestep.met(&[Requirement::Cgroup1]) {
        return;
    }
    let v1 = mount_v1().unwrap().display().to_string();
    let network = Network::new("v1").unwrap();
    let netns = network.pod.netns().display().to_string();
    let said = ended(["attach", "--netns", &netns, "--cgroup", &v1, "-b", "*"]).unwrap();
    assert_said(&said, UNAVAILABLE, &[&v1, "cgroup v1", "give --cgroup a directory below"]);
}

#[rstest]
#[case::port_out_of_range(&["-b", "*", "-d", "15090,70000"], &["70000", "-d", "65535"])]
#[case::port_not_a_number(&["-p", "http"], &["http", "-p"])]
#[case::port_negative(&["-o=-1"], &["-1", "-o"])]
#[case::exclude_everything(&["-x", "*"], &["*", "-x", "OUTBOUND_IP_RANGES_EXCLUDE", "instead"])]
#[case::cidr_without_length(&["-i", "10.0.0.0"], &["10.0.0.0", "-i", "/32"])]
#[case::cidr_too_long(&["-i", "10.0.0.0/33"], &["10.0.0.0/33", "-i"])]
#[case::cidr_garbage(&["-x", "10.0.0.0/8,banana"], &["banana", "-x", "for example"])]
#[case::mode(&["-m", "MASQUERADE"], &["MASQUERADE", "-m"])]
#[case::uid(&["-u", "12x"], &["12x", "-u"])]
#[case::unknown_flag(&["--no-such-flag"], &["--no-such-flag"])]
#[case::inflight_limit(&["--inflight-limit", "lots"], &["lots", "--inflight-limit"])]
#[case::accelerate(&["--accelerate", "turbo"], &["turbo", "--accelerate", "safe-readers"])]
#[case::trusted_program(&["--trust-program", "/no/such/program"], &["/no/such/program", "No such file"])]
fn a_flag_that_is_wrong(#[case] flags: &[&str], #[case] words: &[&str]) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("flag").unwrap();
    let place = workload(&network.pod);
    let place = place.each_ref().map(String::as_str);
    assert_said(&ended([&["attach"], &place[..], flags].concat()).unwrap(), USAGE, words);
    assert!(Footprint::of(&network.pod).unwrap().is_empty());
}

/// All of them at once, not one a run.
#[test]
fn every_fault_is_reported() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let said = ended(["attach", "-b", "*", "-d", "70000", "-x", "*", "-i", "banana"]).unwrap();
    assert_said(&said, USAGE, &["70000", "OUTBOUND_IP_RANGES_EXCLUDE", "banana"]);
}

#[rstest]
#[case::no_capabilities(&["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--"], "CAP_BPF")]
#[case::one_is_missing(&["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"], "CAP_NET_ADMIN")]
#[case::another_user(&["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"], "CAP_BPF")]
fn without_the_privilege(#[case] wrapper: &[&str], #[case] missing: &str) {
    if !DataPlane::Sidestep.met(&[Requirement::Program("setpriv", "util-linux")]) {
        return;
    }
    let network = Network::new("privilege").unwrap();
    // Readable for every uid, unlike a clone below /root.
    let copy = network.pod.scratch().join("sidestep");
    // By a process of its own: one that another test forks meanwhile would hold ours open, and keep it from being run.
    let copied = Command::new("cp").arg(binary().unwrap()).arg(&copy).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(&copy).arg("attach").args(workload(&network.pod)).args(DEFAULT_FLAGS);
    let said = ended_command(command).unwrap();
    assert_said(&said, PERMISSION, &[missing]);
    assert!(said.stderr.contains("run as root") || said.stderr.contains("grant"), "{said:?}");
    assert!(Footprint::of(&network.pod).unwrap().is_empty());
}

/// A failing attach of what is attached leaves it as it was.
#[rstest]
#[case::wrong_flag(&["-b", "*", "-d", "70000"], USAGE)]
#[case::wrong_program(&["--trust-program", "/no/such/program"], USAGE)]
fn what_is_attached_stays(#[case] flags: &[&str], #[case] code: i32) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("stays").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let before = Footprint::of(&network.pod).unwrap();
    let place = workload(&network.pod);
    let place = place.each_ref().map(String::as_str);
    assert_said(&ended([&["attach"], &place[..], flags].concat()).unwrap(), code, &[]);
    assert_eq!(Footprint::of(&network.pod).unwrap(), before);
}

/// One namespace has one cgroup.
#[test]
fn a_second_cgroup_of_one_namespace() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let (network, other) = (Network::new("first").unwrap(), Network::new("second").unwrap());
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let (netns, cgroup) = (network.pod.netns(), other.pod.cgroup());
    let said = ended(["attach", "--netns", netns.to_str().unwrap(), "--cgroup", cgroup.to_str().unwrap()]);
    assert_said(&said.unwrap(), USAGE, &["attached already with another cgroup", "sidestep detach"]);
    assert!(Footprint::of(&other.pod).unwrap().is_empty());
}

/// A hook of the cgroup that somebody holds alone: what was attached before it is taken back.
#[test]
fn an_attach_that_fails_halfway_takes_all_back() {
    if !DataPlane::Sidestep.met(&[Requirement::Program("bpftool", "bpftool")]) {
        return;
    }
    let (network, donor) = (Network::new("halfway").unwrap(), Network::new("donor").unwrap());
    let _donor = Sidestep::attach(&donor.pod, &DEFAULT_FLAGS).unwrap();
    let program = Footprint::of(&donor.pod)
        .unwrap()
        .programs
        .into_iter()
        .map(|id| id.to_string())
        .find(|id| bpftool(&["prog", "show", "id", id]).contains("name connect4"))
        .unwrap();
    let cgroup = network.pod.cgroup().to_str().unwrap();
    // Without "multi" it is exclusive.
    bpftool(&["cgroup", "attach", cgroup, "connect4", "id", &program]);
    let root = PinRoot::new().unwrap();
    let attach = || {
        let verb = [&["attach"], &DEFAULT_FLAGS[..]].concat();
        ended_command(root.for_pod(&verb, &network.pod).unwrap()).unwrap()
    };
    assert_said(&attach(), PERMISSION, &["attach connect4 to", cgroup]);
    assert!(Footprint::of(&network.pod).unwrap().is_empty());
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
    bpftool(&["cgroup", "detach", cgroup, "connect4", "id", &program]);
    assert_eq!(attach().code, Some(0));
}

fn bpftool(args: &[&str]) -> String {
    // Before 5.11 a link's memory counts as locked, and bpftool does not raise its limit to attach.
    // Where it may not be raised bpftool says what is wrong.
    proxy_plane::dataplane::raise_memlock().ok();
    let output = Command::new("bpftool").args(args).output().unwrap();
    assert!(output.status.success(), "bpftool {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
