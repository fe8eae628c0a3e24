//! What workloads share is shared out: one that uses up its share costs nobody else anything.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use proxy_common::guest::FLOWS;
use proxy_plane::netns::Netns;
use serde_json::Value;
use tests::accelerated::Accelerated;
use tests::any_reader::ANY_READER;
use tests::client::Connect;
use tests::crowd::Crowd;
use tests::data_plane::DataPlane;
use tests::guest;
use tests::load::Load;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::pod::Pod;
use tests::report::Outcome;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::server::{self, Server};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};
use tests::wait::until;

/// Nothing is captured; sockets of both pods are accelerated.
const NO_CAPTURE: [&str; 6] = ["-u", "1337", "-i", "", "-b", ""];
const CONNECTIONS: u32 = 20;
const MET_WITHIN: Duration = Duration::from_secs(20);
/// `proxy_common::workload::Shares`: pending, looked up, sockets, live, peers, untold.
const FEW: [u64; 6] = [4, 0, 4, 6, 4, 0];

struct Node(PinRoot);

impl Node {
    fn attach(&self, pod: &Pod) {
        let flags = Accelerated::new(ANY_READER).flags();
        let flags: Vec<&str> = NO_CAPTURE.into_iter().chain(flags.iter().map(String::as_str)).collect();
        self.0.attach(pod, &flags).unwrap();
    }

    fn map(&self, name: &str) -> Array<MapData, [u64; 6]> {
        let path = self.0.node_map(name).unwrap();
        Array::try_from(Map::Array(MapData::from_pin(path).unwrap())).unwrap()
    }

    fn limit(&self, limits: [u64; 6]) {
        self.map("LIMITS").set(0, limits, 0).unwrap();
    }

    fn of(&self, pod: &Pod) -> Value {
        self.0.status_of(pod).unwrap()
    }

    /// What a pod has.
    fn share(&self, pod: &Pod) -> [u64; 6] {
        let slot = self.of(pod)["meta"]["slot"].as_u64().unwrap();
        self.map("SHARES").get(&u32::try_from(slot).unwrap(), 0).unwrap()
    }
}

#[test]
fn who_has_its_share_gets_no_more_and_others_get_theirs() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration, Requirement::Observation]) {
        return;
    }
    let greedy = Network::new("share-greedy").unwrap();
    let modest = Network::new("share-modest").unwrap();
    let node = Node(PinRoot::new().unwrap());
    for pod in [&greedy.pod, &greedy.outside, &modest.pod, &modest.outside] {
        node.attach(pod);
    }
    node.limit(FEW);
    let at = greedy.pod4(7000);
    let _server = Server::on(&greedy.pod).listen(at).echo().start().unwrap();
    let load = Load::lasting(at, CONNECTIONS).start(&greedy.outside).unwrap();
    let refused = |pod: &Pod| {
        let seen = node.of(pod);
        let listed = seen["counters"]["events"]["flow_not_listed"].as_u64().unwrap_or(0);
        let enrolled = seen["acceleration"]["not_enrolled"]["sockets"].as_u64().unwrap_or(0);
        (listed, enrolled)
    };
    wait("the client's end is refused", || {
        let (listed, enrolled) = refused(&greedy.outside);
        listed > 0 && enrolled > 0
    });
    wait("the server's end is refused", || refused(&greedy.pod).0 > 0);
    for pod in [&greedy.pod, &greedy.outside] {
        let [pending, _, sockets, live, ..] = node.share(pod);
        // Programs that run at the same time on two processors may each see the last one.
        assert!(pending <= FEW[0] && sockets <= FEW[2] + 1 && live <= FEW[3] + 1, "{:?}", node.share(pod));
    }
    // Theirs are there, whatever the others do.
    let at = modest.pod4(7000);
    let _other = Server::on(&modest.pod).listen(at).echo().start().unwrap();
    let calm = Load::lasting(at, 2).start(&modest.outside).unwrap();
    wait("both connections have their share", || node.share(&modest.pod)[2..4] == [2, 2]);
    for load in [load, calm] {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty() && exchanges.completed >= 2, "{exchanges:?}");
    }
    for pod in [&greedy.pod, &greedy.outside, &modest.pod, &modest.outside] {
        wait("they go with the connections", || node.share(pod) == [0; 6]);
    }
}

/// A listener whose pod had no share left is like any other once there is one again.
#[test]
fn a_full_share_is_forgotten() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::new("share-again").unwrap();
    let node = Node(PinRoot::new().unwrap());
    for pod in [&network.pod, &network.outside] {
        node.attach(pod);
    }
    node.limit(FEW);
    let at = network.pod4(7000);
    let _server = Server::on(&network.pod).listen(at).echo().start().unwrap();
    let to_itself = Load::lasting(at, 2).start(&network.pod).unwrap();
    wait("both ends of its own connections use it up", || node.share(&network.pod)[2] == 4);
    let refused = Load::lasting(at, 1).start(&network.outside).unwrap();
    wait("the server's end is refused", || {
        node.of(&network.pod)["acceleration"]["not_enrolled"]["sockets"].as_u64().unwrap_or(0) == 1
    });
    assert_eq!(node.share(&network.outside)[2], 1);
    for load in [to_itself, refused] {
        load.finish().unwrap();
    }
    wait("they go with the connections", || node.share(&network.pod)[2] == 0);
    let load = Load::lasting(at, 1).start(&network.outside).unwrap();
    wait("the listener's next connection is taken", || node.share(&network.pod)[2] == 1);
    load.finish().unwrap();
}

/// A pod that connects to more servers than are remembered of it: what another pod knows of its own stays.
#[test]
fn what_is_known_of_servers_is_each_pods_own() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let greedy = Network::new("servers-greedy").unwrap();
    let modest = Network::with_own_addresses("servers-modest").unwrap();
    let node = Node(PinRoot::new().unwrap());
    node.attach(&greedy.pod);
    // Lab-agent may read what it likes; a listener that blocks declines.
    let flags = Accelerated::new("safe-readers").attach_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    for pod in [&modest.pod, &modest.outside] {
        node.0.attach(pod, &flags).unwrap();
    }
    let at = modest.pod4(7000);
    let _blocking = Server::on(&modest.pod).listen(at).start().unwrap();
    let enrolled = || {
        let seen = Connect::to(at).nonblocking().from(&modest.outside).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "{seen:?}");
        node.of(&modest.outside)["acceleration"]["enrolled"]["sockets"].as_u64().unwrap_or(0)
    };
    assert_eq!((enrolled(), enrolled()), (1, 1), "one client tries in vain, the next one knows");

    let every = "0.0.0.0:7000".parse::<std::net::SocketAddr>().unwrap();
    let servers = Server::on(&greedy.pod).listen(every).silent().hold().start().unwrap();
    let many = full_or(5_000, 6_000);
    let began = std::time::Instant::now();
    let crowd = Crowd::to("127.0.0.0/16", 7000, many).open(&greedy.pod).unwrap();
    assert_eq!(crowd.counts.connected, many, "{:?}", crowd.counts);
    let of_greedy = || node.of(&greedy.pod)["acceleration"]["enrolled"]["sockets"].as_u64().unwrap_or(0);
    println!("{} entered within {:?}", of_greedy(), began.elapsed());
    assert!(of_greedy() > u64::from(many));
    drop((crowd, servers));
    wait("they have left", || node.share(&greedy.pod)[2] == 0);

    // It is known for a minute (`proxy_common::accel::Server`).
    assert_eq!(enrolled(), 1, "{:?} later", began.elapsed());
}

/// A pod with a virtual machine, attached.
fn with_guest(name: &str) -> (Network, Pod, Sidestep) {
    let network = Network::new(name).unwrap();
    let guest = guest::behind(&network).unwrap();
    let flags = [DEFAULT_FLAGS.as_slice(), &["-k", guest::INTERFACE]].concat();
    let sidestep = Sidestep::attach(&network.pod, &flags).unwrap();
    (network, guest, sidestep)
}

/// A guest that opens more connections than are remembered of a workload's: an idle one of another pod's guest is
/// still known, in both directions.
#[test]
fn a_guest_forgets_its_own_connections_and_nobody_elses() {
    if !DataPlane::Sidestep.met(&[Requirement::Kernel("tcx")]) {
        return;
    }
    let (greedy, greedy_guest, _attached) = with_guest("guest-greedy");
    let (modest, modest_guest, _also) = with_guest("guest-modest");
    let to = "10.96.7.7:80".parse().unwrap();
    let _sidecar = server::echo_sidecar(&modest.pod).start().unwrap();
    let netns = Netns::open(&modest_guest.netns()).unwrap();
    let mut idle = netns.within(|| Ok(TcpStream::connect(to)?)).unwrap();
    idle.set_read_timeout(Some(MET_WITHIN)).unwrap();
    let mut exchange = |text: &[u8; 6]| {
        idle.write_all(text)?;
        let mut answer = [0; 6];
        idle.read_exact(&mut answer).map(|()| answer)
    };
    assert_eq!(exchange(b"first\n").unwrap(), *b"first\n");

    // Nobody listens there yet: what is refused is remembered as well, and takes no time. Each address from each port.
    greedy_guest.sysctl("net/ipv4/ip_local_port_range", "1024 65535").unwrap();
    let many = full_or(FLOWS + FLOWS / 4, 3 * FLOWS);
    let counts = Crowd::to("10.96.7.0/30", 80, many).open(&greedy_guest).unwrap().counts;
    assert_eq!(counts.failed.get("ECONNREFUSED"), Some(&many), "{counts:?}");

    assert_eq!(exchange(b"again\n").unwrap(), *b"again\n");
    // And the guest that did it has room for what comes.
    let _late = server::stand_in(&greedy.pod).start().unwrap();
    let call = Connect::to(to).from(&greedy_guest).unwrap();
    assert_eq!(call.outcome(), Outcome::Answered, "{call:?}");
    assert_eq!(call.report().unwrap().original_dst().address, Some(to));
}

fn wait(what: &str, met: impl Fn() -> bool) {
    until(what, MET_WITHIN, met);
}
