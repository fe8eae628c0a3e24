//! What a process does in its pod is not felt in another, and an end of a connection is whose it is.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::accelerated::{Accelerated, attach_both};
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::server::{self, PROXY_USER, Server};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep, ended_command};

const DONE_WITHIN: Duration = Duration::from_secs(20);

/// Who knows addresses and sequence numbers of a connection can make up its other end in a namespace of its own
/// (TCP_REPAIR takes CAP_NET_ADMIN there, no more). Nobody is led to believe it.
#[test]
fn an_end_that_is_made_up_is_nobodys_peer() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::with_own_addresses("made-up").unwrap();
    let _attached = attach_both(&network, &Accelerated::new("safe-readers")).unwrap();
    let victim = network.pod.lab_agent("repair").unwrap().args(["victim", "--port", "8080"]).hold_input();
    let mut victim = victim.spawn().unwrap();
    victim.wait_for("ready").unwrap();
    let said = victim.stdout();
    let words: Vec<&str> = said.split_whitespace().collect();
    let [port, sends, receives, ..] = words[..] else { panic!("{said}") };
    let attacker = network.outside.lab_agent("repair").unwrap().hold_input().args([
        "attacker",
        "--local=127.0.0.1:8080",
        &format!("--remote=127.0.0.1:{port}"),
        &format!("--send={receives}"),
        &format!("--receive={sends}"),
    ]);
    let mut attacker = attacker.spawn().unwrap();
    attacker.wait_for("made up").unwrap();
    victim.say("go").unwrap();
    assert!(victim.wait(DONE_WITHIN).unwrap().success(), "{}", victim.stderr());
    attacker.say("go").unwrap();
    assert!(attacker.wait(DONE_WITHIN).unwrap().success(), "{}", attacker.stderr());
    assert!(victim.stdout().contains("server read \"secret\""), "{}", victim.stdout());
    assert!(victim.stdout().contains("client read \"\""), "{}", victim.stdout());
    assert!(attacker.stdout().contains("stolen \"\""), "{}", attacker.stdout());
}

/// What belongs to a connection ends with it: bytes nobody read, and where a captured socket wanted to go.
#[test]
fn a_socket_begins_its_second_life_with_nothing() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::new("lives").unwrap();
    let trusting = Accelerated::new("safe-readers").flags();
    let trusting: Vec<&str> = trusting.iter().map(String::as_str).collect();
    let _sidestep = Sidestep::attach(&network.pod, &[&DEFAULT_FLAGS[..], &trusting].concat()).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let lives = network.pod.lab_agent("lives").unwrap();
    let said = lives.args(["--captured=10.96.7.7:80", "--listen=127.0.0.1:9300"]).run().unwrap();
    assert!(said.contains("second connection read \"new answer\""), "{said}");
    assert!(said.contains("accept says who it is"), "{said}");
}

/// REDIRECT goes to 127.0.0.1: who listens on another address of loopback gets nothing.
#[test]
fn a_listener_beside_the_sidecars_address_is_not_the_sidecar() {
    for plane in [DataPlane::Iptables, DataPlane::Sidestep] {
        if !plane.met(&[]) {
            continue;
        }
        let network = Network::new("beside").unwrap();
        let _under = plane.under(&network.pod).unwrap();
        let on = |text: &str| text.parse::<SocketAddr>().unwrap();
        let beside = Server::on(&network.pod).listen(on("127.0.0.2:15001")).start().unwrap();
        let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
        let before = Connect::to(service).from(&network.pod).unwrap();
        assert_eq!(before.outcome(), Outcome::Refused, "{plane:?}: {before:?}");
        let _sidecar =
            Server::on(&network.pod).user(PROXY_USER).listen(on("127.0.0.1:15001")).start().unwrap();
        for _ in 0..8 {
            let captured = Connect::to(service).from(&network.pod).unwrap();
            assert_eq!(captured.report().unwrap().listener, on("127.0.0.1:15001"), "{plane:?}");
        }
        assert!(beside.accepted().is_empty(), "{plane:?}");
    }
}

/// The same, there before the attach.
#[test]
fn nor_is_one_that_was_there_first() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("beside-first").unwrap();
    let on = |text: &str| text.parse::<SocketAddr>().unwrap();
    let beside = Server::on(&network.pod).listen(on("127.0.0.2:15001")).start().unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let captured = Connect::to("10.96.7.7:80".parse::<SocketAddr>().unwrap()).from(&network.pod).unwrap();
    assert_eq!(captured.outcome(), Outcome::Refused, "{captured:?}");
    assert!(beside.accepted().is_empty());
}

/// A captured connection goes to the sidecar: what a socket says of the hosts its packets go by is refused, where
/// iptables turns each packet back.
#[test]
fn a_captured_socket_brings_no_route_of_its_own() {
    if !DataPlane::Sidestep.met(&[Requirement::Kernel("btf"), Requirement::Kernel("read_kernel_memory")]) {
        return;
    }
    let network = Network::new("detour").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &[&DEFAULT_FLAGS[..], &["--dual-stack"]].concat()).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let mut refused = 0;
    for (to, by) in [("10.96.7.7:80", network.outside4(0)), ("[fd00:96::7]:80", network.outside6(0))] {
        // Source routes take CAP_NET_RAW on newer kernels; segment routing takes nothing.
        let detour = network.pod.lab_agent("detour").unwrap();
        let said = detour.args([format!("--to={to}"), format!("--by={}", by.ip())]).run().unwrap();
        assert!(said.contains("before connect: EPERM"), "{to}: {said}");
        assert!(said.contains("after connect: EPERM"), "{to}: {said}");
        refused += 2;
        assert_eq!(sidestep.event("own_route").unwrap(), refused, "{to}");
    }
}

/// A container chooses what stands at the paths of the files it has mapped: an attach does not open it.
#[test]
fn what_a_container_puts_in_the_place_of_its_files_is_not_read() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::new("bait").unwrap();
    let place = network.pod.scratch().join("lab-agent");
    std::fs::copy(tests::agent::path().unwrap(), &place).unwrap();
    let holder = network.pod.command(&place).arg("repair").args(["victim", "--port", "8080"]).hold_input();
    let holder = holder.spawn().unwrap();
    holder.wait_for("ready").unwrap();
    std::fs::remove_file(&place).unwrap();
    for bait in [place.clone(), Path::new(&format!("{} (deleted)", place.display())).to_owned()] {
        nix::unistd::mkfifo(&bait, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let began = Instant::now();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    assert!(began.elapsed() < DONE_WITHIN, "{:?}", began.elapsed());
    assert!(sidestep.meta().unwrap()["not_accelerated"].is_null());
}

/// Anybody may make a directory in a bpffs that was mounted for everybody.
#[test]
fn a_pin_root_somebody_else_made_is_refused() {
    if !met(&[Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("pin-root").unwrap();
    let verb = [&["attach"], &DEFAULT_FLAGS[..]].concat();
    let attach = |root: &PinRoot| ended_command(root.for_pod(&verb, &network.pod).unwrap()).unwrap();
    let theirs = PinRoot::new().unwrap();
    let place = theirs.path().join("sidestep");
    std::fs::create_dir(&place).unwrap();
    std::os::unix::fs::chown(&place, Some(1000), None).unwrap();
    let ended = attach(&theirs);
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert!(ended.stderr.contains("uid 1000"), "{ended:?}");

    let linked = PinRoot::new().unwrap();
    let elsewhere = linked.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, linked.path().join("sidestep")).unwrap();
    let ended = attach(&linked);
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert!(ended.stderr.contains("a link") && elsewhere.read_dir().unwrap().next().is_none(), "{ended:?}");

    let ours = PinRoot::new().unwrap();
    assert_eq!(attach(&ours).code, Some(0));
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(ours.path().join("sidestep")).unwrap());
    assert_eq!(mode & 0o777, 0o700);
}
