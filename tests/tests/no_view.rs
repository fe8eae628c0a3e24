//! Who cannot see what is attached says so: without privilege, and without a bpffs. Nothing is said of workloads then.

use rstest::rstest;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::nobody::{Nobody, SETPRIV};
use tests::pin_root::{self, PinRoot};
use tests::sidestep::{DEFAULT_FLAGS, Ended, ended_command};

const UNAVAILABLE: i32 = 69;
const PERMISSION: i32 = 77;

/// Said of what is attached, or of what to do about it.
const FALSE: [&str; 6] = [
    "no workload is attached",
    "not observed",
    "attach` again",
    "detach --all",
    "not attached",
    "nothing was attached",
];

fn assert_unseen(said: &Ended, code: i32, words: &[&str]) {
    assert_eq!(said.code, Some(code), "{said:?}");
    assert!(said.stdout.is_empty(), "{said:?}");
    assert_eq!(said.stderr.matches("sidestep: ").count(), 1, "{said:?}");
    assert!(said.stderr.starts_with("sidestep: "), "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "{said:?} does not say {word}");
    }
    for word in FALSE {
        assert!(!said.stderr.contains(word), "{said:?}");
    }
}

/// With this in the place of the workload's name.
const NAME: &str = "NAME";

#[rstest]
#[case::status(&["status"])]
#[case::status_json(&["status", "--output", "json"])]
#[case::flows(&["flows"])]
#[case::flows_of_one(&["flows", "--workload", NAME])]
#[case::follow(&["flows", "-f"])]
#[case::verify(&["verify", "--workload", NAME])]
#[case::explain(&["explain", "--from", "0:0", "--to", "10.96.7.7:80", "--workload", NAME])]
#[case::audit(&["audit", "--workload", NAME])]
#[case::detach(&["detach", "--workload", NAME])]
#[case::prune(&["prune"])]
#[case::serve(&["serve", "--listen", "0"])]
fn each_verb_says_so(#[case] args: &[&str]) {
    if !DataPlane::Sidestep.met(&[SETPRIV]) {
        return;
    }
    let network = Network::new("unseen").unwrap();
    let root = PinRoot::new().unwrap();
    let attach = [&["attach"], &DEFAULT_FLAGS[..]].concat();
    assert_eq!(ended_command(root.for_pod(&attach, &network.pod).unwrap()).unwrap().code, Some(0));
    let name = network.pod.workload().unwrap();
    let args: Vec<&str> = args.iter().map(|word| if *word == NAME { &*name } else { word }).collect();
    let nobody = Nobody::new().unwrap();
    let mut command = nobody.command(&args);
    command.env(pin_root::VARIABLE, root.path());
    assert_unseen(&ended_command(command).unwrap(), PERMISSION, &["root", "CAP_BPF"]);

    // Another file system in its place, and nothing at all.
    let directory = nobody.directory().join("empty");
    std::fs::create_dir(&directory).unwrap();
    for path in [directory.clone(), directory.join("none")] {
        let mut command = root.command(&args).unwrap();
        command.env(pin_root::VARIABLE, &path);
        let said = ended_command(command).unwrap();
        assert_unseen(&said, UNAVAILABLE, &["no bpffs at", path.to_str().unwrap(), "mount -t bpf"]);
    }
}

#[test]
fn a_server_without_privilege_does_not_start_though_nothing_is_attached() {
    if !DataPlane::Sidestep.met(&[SETPRIV]) {
        return;
    }
    let (root, nobody) = (PinRoot::new().unwrap(), Nobody::new().unwrap());
    let mut command = nobody.command(&["serve", "--listen", "0"]);
    command.env(pin_root::VARIABLE, root.path());
    assert_unseen(&ended_command(command).unwrap(), PERMISSION, &["CAP_BPF", "root"]);
    // That nothing is attached is true for everybody.
    let mut command = nobody.command(&["status"]);
    command.env(pin_root::VARIABLE, root.path());
    let said = ended_command(command).unwrap();
    assert_eq!((said.code, &*said.stdout), (Some(0), "no workload is attached\n"), "{said:?}");
}

#[test]
fn the_bench_asks_for_root() {
    if !DataPlane::Sidestep.met(&[SETPRIV]) {
        return;
    }
    let said = ended_command(Nobody::new().unwrap().command(&["bench"])).unwrap();
    assert_unseen(&said, PERMISSION, &["run it as root"]);
}

/// A VM's start script cleans up first, also where nobody has mounted anything yet.
#[test]
fn cleaning_up_before_there_is_a_bpffs_is_no_failure() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let (root, network) = (PinRoot::new().unwrap(), Network::new("cleanup").unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut command = root.for_pod(&["attach", "--cleanup-only"], &network.pod).unwrap();
    command.env(pin_root::VARIABLE, directory.path());
    let said = ended_command(command).unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("nothing is detached: no bpffs at"), "{said:?}");
}
