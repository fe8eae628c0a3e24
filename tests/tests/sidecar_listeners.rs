//! Finding the sidecar's listeners: there before us or after, gone and back, every worker's.

use std::net::SocketAddr;

use rstest::rstest;
use tests::client::Connect;
use tests::crowd::{Crowd, Expect};
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::report::{Accepted, Outcome};
use tests::requirement::Requirement;
use tests::server::{self, RunningServer};
use tests::sidestep::{DEFAULT_FLAGS, Ended, Sidestep, ended_command};

const SERVICE: &str = "10.96.7.7:80";

fn both_directions(network: &Network) -> (Outcome, Outcome) {
    let inbound = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    let outbound = Connect::to(SERVICE.parse().unwrap()).from(&network.pod).unwrap();
    if let Some(report) = inbound.report() {
        assert_eq!(
            (report.listener.port(), report.original_dst().address),
            (15006, Some(network.pod4(8080)))
        );
    }
    if let Some(report) = outbound.report() {
        assert_eq!((report.listener.port(), report.original_dst().address), (15001, SERVICE.parse().ok()));
    }
    (inbound.outcome(), outbound.outcome())
}

#[rstest]
#[case::one(1)]
#[case::as_envoy_has_them(4)]
fn there_before_the_attach(#[case] workers: u32) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("before").unwrap();
    let _sidecar = server::stand_in(&network.pod).workers(workers).start().unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    assert_eq!(both_directions(&network), (Outcome::Answered, Outcome::Answered));
}

/// What the node remembers of sockets outlives a workload as long as another one is there.
#[test]
fn there_before_a_detach() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let root = PinRoot::new().unwrap();
    let [network, staying, next] = ["listens", "stays", "next"].map(|name| Network::new(name).unwrap());
    let attach = [&["attach"], &DEFAULT_FLAGS[..]].concat();
    let run = |verb: &[&str], network: &Network| {
        let ended = ended_command(root.for_pod(verb, &network.pod).unwrap()).unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    };
    let _sidecar = server::stand_in(&network.pod).workers(2).start().unwrap();
    run(&attach, &network);
    run(&attach, &staying);
    for step in ["the same slot", "another slot"] {
        run(&["detach"], &network);
        if step == "another slot" {
            run(&attach, &next);
        }
        run(&attach, &network);
        assert_eq!(both_directions(&network), (Outcome::Answered, Outcome::Answered), "{step}");
    }
    for network in [&network, &staying, &next] {
        run(&["detach"], network);
    }
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
}

#[rstest]
fn gone_and_back(#[values(false, true)] before: bool) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("back").unwrap();
    let mut sidecar = before.then(|| server::stand_in(&network.pod).workers(2).start().unwrap());
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    // More rounds than there are slots for listeners: a slot is free again once its listener has closed.
    for round in 0..20 {
        let running = match sidecar.take() {
            Some(sidecar) => sidecar,
            None => server::stand_in(&network.pod).workers(2).start().unwrap(),
        };
        assert_eq!(both_directions(&network), (Outcome::Answered, Outcome::Answered), "round {round}");
        drop(running);
        assert_eq!(both_directions(&network), (Outcome::Refused, Outcome::Refused), "round {round}");
    }
    let counters = sidestep.counters().unwrap();
    assert_eq!(counters.of("listener_full"), 0, "{counters:?}");
    assert_eq!(counters.of("no_listener"), 20, "{counters:?}");
}

/// A hot restart: the new one listens before the old one ends.
#[test]
fn handed_over_without_a_gap() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("handover").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let old = server::stand_in(&network.pod).workers(2).start().unwrap();
    assert_eq!(both_directions(&network), (Outcome::Answered, Outcome::Answered));
    let new = server::stand_in(&network.pod).workers(2).start().unwrap();
    drop(old);
    for _ in 0..20 {
        assert_eq!(both_directions(&network), (Outcome::Answered, Outcome::Answered));
    }
    assert_eq!(new.wait_accepted_count(40).unwrap().len(), 40);
}

fn assert_each_used(sidecar: &RunningServer, port: u16) {
    let counts: Vec<usize> = sidecar
        .processes()
        .iter()
        .map(|process| {
            process.records::<Accepted>().iter().filter(|seen| seen.listener.port() == port).count()
        })
        .collect();
    println!("connections to {port} by worker: {counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{port}: {counts:?}");
}

/// Also with more workers than listener slots: the members of an SO_REUSEPORT group stand for each other.
#[rstest]
fn every_worker_is_used(#[values(2, 4, 20)] workers: u32, #[values(false, true)] before: bool) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("workers").unwrap();
    let start = || server::stand_in(&network.pod).processes(workers).start().unwrap();
    let early = before.then(start);
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let sidecar = early.unwrap_or_else(start);
    let connections = workers * 25;
    for (from, crowd) in [
        (&network.pod, Crowd::to("10.96.0.0/16", 80, connections)),
        (&network.outside, Crowd::to("10.10.0.25/31", 8080, connections)),
    ] {
        let open = crowd.expect(Expect::OriginalDst).open(from).unwrap();
        assert_eq!((open.counts.connected, open.counts.mismatches), (connections, 0), "{:?}", open.counts);
    }
    sidecar.wait_accepted_count(2 * connections as usize).unwrap();
    assert_each_used(&sidecar, 15001);
    assert_each_used(&sidecar, 15006);
}

/// sidestep with these words in a container of its own, which shows it no process of the node.
fn seeing_no_process(root: &PinRoot, network: &Network, verb: &[&str]) -> Ended {
    let at = network.pod.scratch().join("netns");
    let script = format!(
        "touch {0} && mount --bind {1} {0} && exec unshare --pid --fork --mount-proc \"$@\" --netns {0} --cgroup {2}",
        at.display(),
        network.pod.netns().display(),
        network.pod.cgroup().display()
    );
    let inner = root.command(verb).unwrap();
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    ended_command(command).unwrap()
}

/// Nobody can hand their sockets over, and each is found all the same: of one group, and of both families.
#[rstest]
fn of_processes_that_are_not_visible(#[values(1, 4, 20)] workers: u32, #[values(4, 6)] family: u8) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("unseen").unwrap();
    let root = PinRoot::new().unwrap();
    let sidecar = server::stand_in(&network.pod).processes(workers).start().unwrap();
    let attach = [&["attach", "--dual-stack"], &DEFAULT_FLAGS[..]].concat();
    // The second time it has its places.
    for _ in 0..2 {
        let ended = seeing_no_process(&root, &network, &attach);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.stderr.contains("sidecar listeners"), "{ended:?}");
    }
    let connections = workers * 25;
    let [services, pod] =
        if family == 4 { ["10.96.0.0/16", "10.10.0.25/31"] } else { ["fd00:96::/112", "fd00:10::25/127"] };
    for (from, crowd) in [
        (&network.pod, Crowd::to(services, 80, connections)),
        (&network.outside, Crowd::to(pod, 8080, connections)),
    ] {
        let open = crowd.expect(Expect::OriginalDst).open(from).unwrap();
        assert_eq!((open.counts.connected, open.counts.mismatches), (connections, 0), "{:?}", open.counts);
    }
    sidecar.wait_accepted_count(2 * connections as usize).unwrap();
    assert_each_used(&sidecar, 15001);
    assert_each_used(&sidecar, 15006);
    let ended = ended_command(root.for_pod(&["detach"], &network.pod).unwrap()).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
}

/// A sidecar bound to loopback alone is found by what leaves, and by nothing that arrives.
#[rstest]
fn on_loopback_alone(#[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("loopback").unwrap();
    let _under = plane.under(&network.pod).unwrap();
    let on = |text: &str| text.parse::<SocketAddr>().unwrap();
    let _sidecar = server::Server::on(&network.pod)
        .user(server::PROXY_USER)
        .listen(on("127.0.0.1:15001"))
        .listen(on("127.0.0.1:15006"))
        .start()
        .unwrap();
    assert_eq!(both_directions(&network), (Outcome::Refused, Outcome::Answered));
}

/// istio-validation is a Go program, so its listeners are MPTCP: the kernel keeps none of these in a sockmap. Real pods
/// had one counted, each, as if the map were full.
#[rstest]
#[case::of_istio_validation(&["127.0.0.1:15001", "127.0.0.1:15006"], 0)]
#[case::of_a_sidecar(&["0.0.0.0:15001", "0.0.0.0:15006"], 2)]
fn with_mptcp(#[case] listen: &[&str], #[case] counted: u64) {
    if !DataPlane::Sidestep.met(&[Requirement::Mptcp]) {
        return;
    }
    let network = Network::new("mptcp").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let mut server = server::Server::on(&network.pod).user(server::PROXY_USER).mptcp();
    for address in listen {
        server = server.listen(address.parse::<SocketAddr>().unwrap());
    }
    let listening = server.start().unwrap();
    let inbound = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(inbound.outcome(), Outcome::Refused);
    assert_eq!(sidestep.event("listener_full").unwrap(), 0);
    assert_eq!(sidestep.event("listener_mptcp").unwrap(), counted);
    drop(listening);
    // The sidecar comes after it, and is found.
    let _sidecar = server::stand_in(&network.pod).workers(2).start().unwrap();
    assert_eq!(both_directions(&network), (Outcome::Answered, Outcome::Answered));
}
