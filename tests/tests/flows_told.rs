//! A pod's connections to itself: only the client's end knows whose they are, and tells the server's between SYN and accept.
//! What others do meanwhile changes nothing, and where there is no room to tell, nothing wrong is said.

use std::net::SocketAddr;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::client::Connect;
use tests::crowd::Crowd;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::pod::Pod;
use tests::process::Process;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::server::{RunningServer, Server};
use tests::sidestep::{DEFAULT_FLAGS, ended_command};
use tests::wait::until;

/// A SYN that is dropped comes again after 1, 3 and 7 seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
/// Of net.core.somaxconn connections and one more the handshake is done, whoever accepts them.
const ESTABLISHED: usize = 2;
/// `/proc/net/tcp`.
const TCP_ESTABLISHED: &str = "01";
const TCP_SYN_SENT: &str = "02";
/// Places of `proxy_common::workload::Shares`.
const PEERS: usize = 4;
const UNTOLD: usize = 5;
type Shares = [u64; 6];

fn at() -> SocketAddr {
    "127.0.0.1:7000".parse().unwrap()
}

/// Clients of the pod's in this state of TCP.
fn clients_in(pod: &Pod, state: &str) -> usize {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", pod.pid())).unwrap();
    let to = format!(":{:04X}", at().port());
    let is_ours = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[2].ends_with(&to) && words[3] == state
    };
    table.lines().skip(1).filter(is_ours).count()
}

fn is_stopped(process: &Process) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// A server of the pod that accepts nothing until it is told to, and clients, of which this many wait with their SYN sent.
struct Waiting {
    server: RunningServer,
    clients: Vec<Process>,
}

impl Waiting {
    fn begin(pod: &Pod, waiting: usize) -> Self {
        pod.sysctl("net/core/somaxconn", "1").unwrap();
        let server = Server::on(pod).listen(at()).start().unwrap();
        for process in server.processes() {
            process.signal(Signal::SIGSTOP).unwrap();
            until("it stands still", SEEN_WITHIN, || is_stopped(process));
        }
        let connect = Connect::to(at()).within(SEEN_WITHIN);
        let mut clients = Vec::new();
        for (state, count) in [(TCP_ESTABLISHED, ESTABLISHED), (TCP_SYN_SENT, waiting)] {
            for so_far in 1..=count {
                clients.push(connect.command(pod).unwrap().spawn().unwrap());
                until("the client has come so far", SEEN_WITHIN, || clients_in(pod, state) == so_far);
            }
        }
        Self { server, clients }
    }

    fn end(self) {
        for process in self.server.processes() {
            process.signal(Signal::SIGCONT).unwrap();
        }
        for mut client in self.clients {
            client.wait(SEEN_WITHIN).unwrap();
        }
    }
}

/// All flows to the server were the pod's own, and no stranger's.
fn assert_own(root: &PinRoot, pod: &Pod, count: usize) {
    let listed = ["flows", "--output", "json", "--port", "7000"];
    let flows = || -> Vec<Value> {
        let text = ended_command(root.command(&listed).unwrap()).unwrap().stdout;
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|flow| flow["state"] == "closed").collect()
    };
    until("all are closed", SEEN_WITHIN, || flows().len() >= count);
    let flows = flows();
    assert!(flows.len() == count && flows.iter().all(|flow| flow["direction"] == "self"), "{flows:#?}");
    let events = &root.status_of(pod).unwrap()["counters"]["events"];
    assert_eq!(events["outside_cgroup"].as_u64().unwrap_or(0), 0, "{events}");
}

#[test]
fn what_another_pod_opens_meanwhile_changes_nothing() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let (own, other) = (Network::new("told").unwrap(), Network::new("told-other").unwrap());
    let root = PinRoot::new().unwrap();
    for pod in [&own.pod, &other.pod] {
        root.attach(pod, &DEFAULT_FLAGS).unwrap();
    }
    let waiting = Waiting::begin(&own.pod, 1);
    let many = full_or(20_000, 40_000);
    let counts = Crowd::to("127.0.0.0/30", 9, many).open(&other.pod).unwrap().counts;
    assert_eq!(counts.failed.get("ECONNREFUSED"), Some(&many), "{counts:?}");
    waiting.end();
    assert_own(&root, &own.pod, ESTABLISHED + 1);
}

#[test]
fn who_has_no_room_to_tell_is_no_stranger() {
    const ROOM: u64 = 1;
    // As many as the server's queue has room for: they come all at once.
    const WAITING: usize = 2;
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("told-few").unwrap();
    let pod = &network.pod;
    let root = PinRoot::new().unwrap();
    root.attach(pod, &DEFAULT_FLAGS).unwrap();
    let map = |name: &str| -> Array<MapData, Shares> {
        let path = root.node_map(name).unwrap();
        Array::try_from(Map::Array(MapData::from_pin(path).unwrap())).unwrap()
    };
    let mut limits = map("LIMITS").get(&0, 0).unwrap();
    limits[PEERS] = ROOM;
    map("LIMITS").set(0, limits, 0).unwrap();
    let slot = root.status_of(pod).unwrap()["meta"]["slot"].as_u64().unwrap();
    let share = || map("SHARES").get(&u32::try_from(slot).unwrap(), 0).unwrap();

    let waiting = Waiting::begin(pod, WAITING);
    assert_eq!((share()[PEERS], share()[UNTOLD]), (ROOM, WAITING as u64 - ROOM));
    waiting.end();
    assert_own(&root, pod, ESTABLISHED + WAITING);
    assert_eq!(share()[PEERS..], [0, 0]);
}
