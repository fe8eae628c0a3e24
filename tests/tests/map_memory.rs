//! What a pod's connections take of kernel memory is not charged to who attached the pod.

use std::fs;
use std::path::{Path, PathBuf};

use tests::cgroup;
use tests::crowd::{Crowd, Expect};
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::requirement::Requirement;
use tests::server;
use tests::sidestep::{DEFAULT_FLAGS, ended_command};

/// Each has state in the client's and in the sidecar's socket, about 650 bytes.
const CONNECTIONS: u32 = 10_000;
/// A tenth of what they take. Charges are made 64 pages ahead on each CPU.
const MOST: u64 = 1 << 20;

/// A memory cgroup of the test's own.
struct Limited(PathBuf);

impl Limited {
    fn new() -> Self {
        let (root, _) = cgroup::memory().unwrap();
        let dir = root.join(format!("sidestep-test-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn used(&self) -> u64 {
        let (_, file) = cgroup::memory().unwrap();
        fs::read_to_string(self.0.join(file)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        cgroup::end(&self.0).unwrap();
    }
}

#[test]
fn who_attaches_does_not_pay_for_the_pods_connections() {
    if !DataPlane::Sidestep.met(&[Requirement::MemoryCgroups]) {
        return;
    }
    let network = Network::new("map-memory").unwrap();
    let root = PinRoot::new().unwrap();
    let limited = Limited::new();
    let verb = ["attach"].into_iter().chain(DEFAULT_FLAGS).collect::<Vec<_>>();
    let ended = ended_command(within(&limited.0, root.for_pod(&verb, &network.pod).unwrap())).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let _sidecar = server::stand_in(&network.pod).hold().processes(2).start().unwrap();
    let before = limited.used();
    let open = Crowd::to("10.96.0.0/16", 80, CONNECTIONS).expect(Expect::OriginalDst);
    let open = open.open(&network.pod).unwrap();
    assert_eq!(open.counts.connected, CONNECTIONS, "{:?}", open.counts);
    let after = limited.used();
    println!("{before} bytes charged after attach, {after} with {CONNECTIONS} connections");
    assert!(after.saturating_sub(before) < MOST, "{before}, then {after}");
}

/// The same command, run in a cgroup.
fn within(cgroup: &Path, command: std::process::Command) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(cgroup.join("cgroup.procs"));
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell
}
