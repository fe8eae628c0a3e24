//! A workload that an earlier build has attached, whose maps have another layout: attach takes it over, and nobody notices.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rstest::rstest;
use tests::data_plane::DataPlane;
use tests::earlier;
use tests::footprint::Footprint;
use tests::load::Load;
use tests::network::Network;
use tests::pin_root::{self, PinRoot};
use tests::process::Process;
use tests::requirement::Requirement;
use tests::server::{self, APP_USER, PROXY_USER};
use tests::sidestep::{DEFAULT_FLAGS, ended_command, workload};

const SAID_WITHIN: Duration = Duration::from_secs(10);
const SERVICE: &str = "10.96.7.7:80";
const LAYOUT_5: &str = "ed72cc4";
const LAYOUT_6: &str = "f897d0b";

fn can(commit: &'static str) -> bool {
    DataPlane::Sidestep.met(&[Requirement::EarlierBuild(commit), Requirement::Program("bpftool", "bpftool")])
}

fn succeed(command: std::process::Command) -> String {
    let ended = ended_command(command).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

fn attach(root: &PinRoot, network: &Network) -> String {
    succeed(root.for_pod(&[&["attach"], &DEFAULT_FLAGS[..]].concat(), &network.pod).unwrap())
}

fn attach_with(commit: &str, root: &PinRoot, network: &Network) {
    let mut command = std::process::Command::new(earlier::binary(commit).unwrap());
    command.arg("attach").args(DEFAULT_FLAGS).args(workload(&network.pod));
    if commit == LAYOUT_5 {
        // It lists flows by iterators, which hardened kernels refuse.
        command.args(["--observe", "off"]);
    }
    command.env(pin_root::VARIABLE, root.path());
    succeed(command);
}

/// Only what this build has is pinned.
fn assert_nothing_is_left_of_the_earlier(root: &PinRoot) {
    let foreign: Vec<_> = root
        .pins()
        .into_iter()
        .filter(|pin| {
            let pin = pin.to_string_lossy();
            pin.contains("node5")
                || pin.contains("node6")
                || pin.contains("-old")
                || pin.contains("map_PENDING") && !pin.contains("node")
        })
        .collect();
    assert_eq!(foreign, Vec::<std::path::PathBuf>::new());
}

/// Says it again; the last line.
fn ask(process: &mut Process, word: &str) -> String {
    let before = process.stdout().matches(word).count();
    process.say("again").unwrap();
    said(process, word, before + 1)
}

/// Waits until it has been said so often; the last line.
fn said(process: &Process, word: &str, times: usize) -> String {
    let deadline = Instant::now() + SAID_WITHIN;
    while process.stdout().matches(word).count() < times {
        assert!(Instant::now() < deadline, "{}", process.stdout());
        std::thread::sleep(Duration::from_millis(10));
    }
    process.stdout().lines().last().unwrap_or_default().to_owned()
}

#[rstest]
#[case::layout_5(LAYOUT_5)]
#[case::layout_6(LAYOUT_6)]
fn sockets_remember(#[case] commit: &'static str) {
    if !can(commit) {
        return;
    }
    let network = Network::new("takeover").unwrap();
    let root = PinRoot::new().unwrap();
    attach_with(commit, &root, &network);
    let [sidecar, app] = [PROXY_USER, APP_USER]
        .map(|(uid, gid)| network.pod.lab_agent("remember").unwrap().user(uid, gid).hold_input());
    let mut sidecar = sidecar.arg("--listen=127.0.0.1:15001").spawn().unwrap();
    sidecar.wait_for("listening").unwrap();
    let mut app = app.arg(format!("--to={SERVICE}")).spawn().unwrap();
    assert_eq!(said(&app, "peer", 1), format!("peer {SERVICE}"));
    assert_eq!(said(&sidecar, "wanted", 1), format!("wanted {SERVICE}"));
    for _ in 0..2 {
        let done = attach(&root, &network);
        assert!(done.starts_with("updated"), "{done}");
        assert_eq!(ask(&mut app, "peer"), format!("peer {SERVICE}"));
        assert_eq!(ask(&mut sidecar, "wanted"), format!("wanted {SERVICE}"));
    }
    assert_nothing_is_left_of_the_earlier(&root);
    succeed(root.for_pod(&["detach"], &network.pod).unwrap());
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
    assert!(Footprint::of(&network.pod).unwrap().is_empty());
}

#[rstest]
#[case::layout_5(LAYOUT_5)]
#[case::layout_6(LAYOUT_6)]
fn nobody_waits(#[case] commit: &'static str) {
    if !can(commit) {
        return;
    }
    let network = Network::new("takeover-load").unwrap();
    let root = PinRoot::new().unwrap();
    let _sidecar = server::echo_sidecar(&network.pod).start().unwrap();
    attach_with(commit, &root, &network);
    let service: SocketAddr = SERVICE.parse().unwrap();
    let loads = [
        Load::lasting(network.pod4(8080), 4).start(&network.outside).unwrap(),
        Load::lasting(service, 4).start(&network.pod).unwrap(),
        Load::churning(network.pod4(8080), 4).start(&network.outside).unwrap(),
        Load::churning(service, 4).start(&network.pod).unwrap(),
    ];
    attach(&root, &network);
    attach(&root, &network);
    for load in loads {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty() && exchanges.completed > 8, "{exchanges:?}");
    }
    assert_nothing_is_left_of_the_earlier(&root);
    succeed(root.command(&["detach", "--all"]).unwrap());
    assert!(Footprint::of(&network.pod).unwrap().is_empty());
}

/// Who wants to go back to nothing needs no build of then.
#[rstest]
#[case::layout_5(LAYOUT_5)]
#[case::layout_6(LAYOUT_6)]
fn it_can_be_detached(#[case] commit: &'static str) {
    if !can(commit) {
        return;
    }
    let network = Network::new("takeover-not").unwrap();
    let root = PinRoot::new().unwrap();
    attach_with(commit, &root, &network);
    succeed(root.for_pod(&["detach"], &network.pod).unwrap());
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
    assert!(Footprint::of(&network.pod).unwrap().is_empty());
}
