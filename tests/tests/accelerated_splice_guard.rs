//! splice(2) does not see redirected bytes. Where BPF LSM is active it is refused with EINVAL from sockets that are redirected
//! to, and from no others; who splices then reads, and all of that can be redirected.

use std::net::SocketAddr;
use std::time::Duration;

use tests::accelerated::{Accelerated, streams};
use tests::alone::alone;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::footprint::Footprint;
use tests::network::Network;
use tests::pod::Pod;
use tests::process::Process;
use tests::report::Spliced;
use tests::requirement::Requirement;
use tests::server::APP_USER;
use tests::wait::until;

const SERVER: ([u8; 4], u16) = ([127, 0, 0, 1], 7000);
const RELAY: ([u8; 4], u16) = ([127, 0, 0, 1], 7001);
/// Of a connection on which what is sent before it is accepted does not count.
const LONG: u64 = 2_000_000;
const WITHIN: Duration = Duration::from_secs(60);
const NEEDS: [Requirement; 2] = [Requirement::Acceleration, Requirement::Kernel("bpf_lsm")];

/// A relay that splices, between streams that are compared byte for byte.
struct Relayed {
    network: Network,
    relay: Process,
    _server: Process,
}

impl Relayed {
    fn new(name: &str) -> Self {
        let network = Network::new(name).unwrap();
        let server = streams::serve(&network.pod, SERVER.into(), &[]).unwrap();
        let relay = network.pod.agent_as_app("splice").unwrap();
        let [listen, to] = [RELAY, SERVER].map(|at| SocketAddr::from(at).to_string());
        let relay = relay.args(["--listen", &listen, "--to", &to]).spawn().unwrap();
        relay.wait_for("ready").unwrap();
        Self { network, relay, _server: server }
    }

    /// So many connections, all of whose bytes arrive; what the relay says of its directions.
    fn carry(&self, connections: u64, bytes: u64) -> Vec<Spliced> {
        let before = self.relay.records::<Spliced>().len();
        carry(&self.network.pod, connections, bytes);
        let wanted = before + usize::try_from(2 * connections).unwrap();
        until("the relay is done", WITHIN, || self.relay.records::<Spliced>().len() >= wanted);
        let said = self.relay.records::<Spliced>().split_off(before);
        // A stream has a head.
        assert!(said.iter().all(|direction| direction.bytes >= bytes), "{said:?}");
        said
    }
}

/// With pauses: what is sent to who has not accepted yet goes over the stack.
fn carry(pod: &Pod, connections: u64, bytes: u64) {
    let client = streams::Client::to(RELAY.into(), 4, bytes).streams(connections).chunk(16_384).burst(20_000);
    let seen = client.run(pod).unwrap();
    assert_eq!((seen.completed, seen.corrupted), (connections, 0), "{seen:?}");
}

/// Messages of a pod's sockets in the map.
#[derive(Clone, Copy)]
struct Paths {
    all: u64,
    redirected: u64,
}

impl Paths {
    fn of(pod: &Pod) -> Self {
        let seen = Acceleration::of_pod(pod).unwrap();
        println!("{:?}", seen.counters);
        let all = seen.counters.values().map(|paths| paths.messages).sum();
        Self { all, redirected: seen.of("redirected").messages }
    }

    fn percent_since(self, before: Self) -> u64 {
        (self.redirected - before.redirected) * 100 / (self.all - before.all).max(1)
    }
}

fn refused(said: &[Spliced]) -> usize {
    said.iter().filter(|direction| direction.refused > 0).count()
}

/// Also: it goes on splicing into sockets that are redirected to, which nothing refuses.
#[test]
fn who_splices_reads_and_is_redirected_to() {
    if !DataPlane::Sidestep.met(&NEEDS) {
        return;
    }
    let _alone = alone();
    let relayed = Relayed::new("splice-guard");
    let attached = Accelerated::new("require").attach(&relayed.network.pod).unwrap();
    assert!(attached.meta().unwrap()["not_guarded"].is_null());
    // The listener was there before: connections that begin now are marked.
    let said = relayed.carry(1000, 20_000);
    assert_eq!((refused(&said), said.iter().map(|it| it.spliced).sum::<u64>()), (2000, 0));
    let before = Paths::of(&relayed.network.pod);
    assert_eq!(refused(&relayed.carry(8, LONG)), 16);
    let share = Paths::of(&relayed.network.pod).percent_since(before);
    assert!(share >= 95, "{share} %");
}

/// The same relay, which nobody vouches for: nothing is redirected to it, and nothing refused.
#[test]
fn who_is_not_redirected_to_splices() {
    if !DataPlane::Sidestep.met(&NEEDS) {
        return;
    }
    let _alone = alone();
    let relayed = Relayed::new("splice-free");
    let _attached = Accelerated::new("require").trusting_nobody().attach(&relayed.network.pod).unwrap();
    let said = relayed.carry(20, 100_000);
    assert_eq!(refused(&said), 0, "{said:?}");
    assert!(said.iter().all(|direction| direction.spliced == direction.bytes), "{said:?}");
    assert_eq!(Acceleration::of_pod(&relayed.network.pod).unwrap().of("redirected").messages, 0);
}

#[test]
fn nothing_is_refused_after_detach() {
    if !DataPlane::Sidestep.met(&NEEDS) {
        return;
    }
    let _alone = alone();
    let relayed = Relayed::new("splice-detach");
    let attached = Accelerated::new("require").attach(&relayed.network.pod).unwrap();
    assert_eq!(refused(&relayed.carry(10, 10_000)), 20);
    let footprint = Footprint::of(&relayed.network.pod).unwrap();
    attached.detach().unwrap();
    footprint.assert_gone().unwrap();
    let said = relayed.carry(10, 10_000);
    assert_eq!(refused(&said), 0, "{said:?}");
    assert!(said.iter().all(|direction| direction.spliced == direction.bytes), "{said:?}");
}

/// A workload that is not accelerated has none.
#[test]
fn only_what_is_accelerated_is_guarded() {
    if !DataPlane::Sidestep.met(&NEEDS) {
        return;
    }
    let _alone = alone();
    let network = Network::new("splice-off").unwrap();
    let links = |mode: &str| {
        let _attached = Accelerated::new(mode).attach(&network.pod).unwrap();
        Footprint::of(&network.pod).unwrap().links.len()
    };
    assert_eq!(links("safe-readers"), links("off") + 1);
}

/// Known by its program to read where it may not splice; where FIONREAD is wrong, that stands against it.
#[test]
fn haproxy_is_redirected_to() {
    if !DataPlane::Sidestep.met(&[&NEEDS[..], &[Requirement::Program("haproxy", "haproxy")]].concat()) {
        return;
    }
    let _alone = alone();
    let network = Network::new("splice-haproxy").unwrap();
    let pod = &network.pod;
    let _server = streams::serve(pod, SERVER.into(), &[]).unwrap();
    let _haproxy = haproxy(pod);
    let _attached = Accelerated::new("require").attach(pod).unwrap();
    let seen = Acceleration::of_pod(pod).unwrap();
    let is_wrong = seen.kernel_differs.iter().any(|it| it.starts_with("FIONREAD"));
    let stays = seen.hazardous.iter().any(|program| program.ends_with("haproxy"));
    assert!(!stays || is_wrong, "{seen:?}");
    let before = Paths::of(pod);
    carry(pod, 8, LONG);
    let share = Paths::of(pod).percent_since(before);
    println!("HAProxy: stays out {stays}, {share} %");
    assert!(stays || share >= 95, "{share} %");
}

fn haproxy(pod: &Pod) -> Process {
    let [listen, to] = [RELAY, SERVER].map(SocketAddr::from);
    let config = format!(
        "global\n  maxconn 1000\ndefaults\n  mode tcp\n  option splice-auto\n  option splice-request\n  \
         option splice-response\n  timeout client 60s\n  timeout connect 10s\n  timeout server 60s\n\
         listen front\n  bind {listen}\n  server back {to}\n"
    );
    let path = pod.scratch().join("haproxy.cfg");
    std::fs::write(&path, config).unwrap();
    let process = pod.command("haproxy").args(["-db", "-f"]).arg(&path).user(APP_USER.0, APP_USER.1);
    let process = process.spawn().unwrap();
    let port = format!(":{}", listen.port());
    until("haproxy listens", WITHIN, || {
        assert!(process.is_running(), "{}", process.stderr());
        !pod.command("ss").args(["-Hltn", "sport", "=", &port]).run().unwrap().is_empty()
    });
    process
}
