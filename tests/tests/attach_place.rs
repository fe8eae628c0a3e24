//! Where `attach` attaches: a name of `ip netns` is enough, the machine's own namespace has to be meant, and what is there
//! of Istio's is said.

use std::fs;
use std::process::Command;

use tests::data_plane::DataPlane;
use tests::iptables::{self, Backend};
use tests::network::Network;
use tests::pin_root::{self, PinRoot};
use tests::pod::Pod;
use tests::requirement::{Requirement, met};
use tests::sidestep::{self, DEFAULT_FLAGS, Ended, Sidestep, ended_command};

/// A PID namespace whose process 1 is in the pod's namespaces: the pod is the machine.
fn in_a_machine(root: &PinRoot, pod: &Pod, args: &[&str]) -> Ended {
    let pid = pod.pid().to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid, "--net", "--", "unshare", "--pid", "--fork", "--mount-proc"]);
    // Process 1 waits for sidestep, and ends as it does.
    let script = r#""$@"; exit $?"#;
    command.args(["sh", "-c", script, "sh"]).arg(sidestep::binary().unwrap()).args(args);
    command.env(pin_root::VARIABLE, root.path());
    ended_command(command).unwrap()
}

#[test]
fn the_machine_itself_has_to_be_meant() {
    if !DataPlane::Sidestep
        .met(&[Requirement::Program("nsenter", "util-linux"), Requirement::Program("unshare", "util-linux")])
    {
        return;
    }
    let (root, network) = (PinRoot::new().unwrap(), Network::new("machine").unwrap());
    let cgroup = network.pod.cgroup().to_str().unwrap();
    for place in [&[][..], &["--cgroup", cgroup]] {
        let said = in_a_machine(&root, &network.pod, &[&["attach"], place, &DEFAULT_FLAGS].concat());
        assert_eq!(said.code, Some(64), "{said:?}");
        assert!(
            said.stderr.contains("this machine's own traffic") && said.stderr.contains("--host"),
            "{said:?}"
        );
        assert!(root.pins().is_empty(), "{said:?}");
    }
    // A cgroup, so that the test does not redirect everything there is.
    let meant = in_a_machine(
        &root,
        &network.pod,
        &[&["attach", "--host", "--cgroup", cgroup], &DEFAULT_FLAGS[..]].concat(),
    );
    assert_eq!(meant.code, Some(0), "{meant:?}");
    let gone = in_a_machine(&root, &network.pod, &["detach"]);
    assert!(gone.stdout.starts_with("detached workload "), "{gone:?}");
    // Istio's scripts mean it without saying so.
    let istio = in_a_machine(
        &root,
        &network.pod,
        &[&["istio-iptables", "--cgroup", cgroup], &DEFAULT_FLAGS[..]].concat(),
    );
    assert_eq!(istio.code, Some(0), "{istio:?}");
    let gone = in_a_machine(&root, &network.pod, &["istio-iptables", "--cleanup-only"]);
    assert!(gone.stdout.starts_with("detached workload "), "{gone:?}");
    let both = sidestep::ended(["attach", "--host", "--netns", "/proc/self/ns/net"]).unwrap();
    assert_eq!(both.code, Some(64), "{both:?}");
}

#[test]
fn a_name_of_ip_netns_is_enough() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let (root, network) = (PinRoot::new().unwrap(), Network::new("named").unwrap());
    let name = format!("sidestep-lab-{}", std::process::id());
    let file = format!("/run/netns/{name}");
    fs::create_dir_all("/run/netns").unwrap();
    // As `ip netns attach` does it, with a link in place of a mount.
    std::os::unix::fs::symlink(network.pod.netns(), &file).unwrap();
    let cgroup = network.pod.cgroup().to_str().unwrap();
    let run = |args: &[&str]| ended_command(root.command(args).unwrap()).unwrap();
    let attached = run(&[&["attach", "--netns", &name, "--cgroup", cgroup], &DEFAULT_FLAGS[..]].concat());
    let verified = run(&["verify", "--no-sidecar", "--netns", &name]);
    let detached = run(&["detach", "--netns", &name]);
    fs::remove_file(&file).unwrap();
    assert_eq!(attached.code, Some(0), "{attached:?}");
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(detached.stdout.starts_with("detached workload "), "{detached:?}");
    let typo = run(&["detach", "--netns", "no-such-name"]);
    assert_eq!(typo.code, Some(64), "{typo:?}");
    assert!(typo.stderr.contains("/run/netns/no-such-name"), "{typo:?}");
}

#[test]
fn chains_of_istio_are_said_to_capture_too() {
    if !DataPlane::Sidestep.met(&[]) || !met(&[Requirement::Iptables(Backend::Nft)]) {
        return;
    }
    let network = Network::new("beside").unwrap();
    // Of what this kernel lacks there are others.
    let chains = |warnings: &str| -> Vec<String> {
        let of_chains = warnings.lines().filter(|line| line.contains("iptables chains"));
        of_chains.map(str::to_owned).collect()
    };
    let alone = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    assert_eq!(chains(alone.warnings()), Vec::<String>::new());
    iptables::apply(&network.pod, iptables::default_rules(), Backend::Nft).unwrap();
    let beside = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let said = chains(beside.warnings()).concat();
    assert!(said.starts_with("sidestep: warning: Istio's iptables chains"), "{said}");
    assert!(said.contains("ISTIO_OUTPUT") && said.contains("both capture"), "{said}");
}
