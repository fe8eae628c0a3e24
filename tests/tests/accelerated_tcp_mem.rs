//! A thousand readers that never read: what they may hold each is more than the machine allows all of TCP, which stops
//! their senders. A test binary of its own: meanwhile every other connection of the machine is short of memory too.

use std::time::{Duration, Instant};

use tests::accelerated::Accelerated;
use tests::any_reader::ANY_READER;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::report::Filled;
use tests::requirement::Requirement;
use tests::server::Server;

/// `lab-agent fill` ends some seconds after the last byte was taken.
const FULL_WITHIN: Duration = Duration::from_secs(600);

/// Bytes of all TCP sockets of the machine, and how many it allows before senders have to wait.
fn tcp_memory() -> (u64, u64) {
    let page = 4096;
    let stat = std::fs::read_to_string("/proc/net/sockstat").unwrap();
    let tcp = stat.lines().find(|line| line.starts_with("TCP:")).unwrap();
    let used: u64 = tcp.split(' ').next_back().unwrap().parse().unwrap();
    let limits = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").unwrap();
    let most: u64 = limits.split_whitespace().next_back().unwrap().parse().unwrap();
    (used * page, most * page)
}

#[test]
fn tcp_mem_bounds_them() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::new("tcp-mem").unwrap();
    let _attached = Accelerated::new(ANY_READER).attach(&network.pod).unwrap();
    let at = network.pod4(7000);
    let _server = Server::on(&network.pod).listen(at).silent().hold().start().unwrap();
    let command = network.pod.agent_as_app("fill").unwrap();
    let filling = command.args(["--to", &at.to_string(), "--connections", "1000"]).spawn().unwrap();
    let (mut peak, mut most) = (0, 0);
    let deadline = Instant::now() + FULL_WITHIN;
    while filling.is_running() {
        assert!(Instant::now() < deadline, "not within {FULL_WITHIN:?}: the senders are stopped");
        let used;
        (used, most) = tcp_memory();
        peak = peak.max(used);
        std::thread::sleep(Duration::from_millis(20));
    }
    let filled: Filled = filling.records().pop().unwrap();
    let counters = Acceleration::of_pod(&network.pod).unwrap();
    let redirected = counters.of("redirected");
    println!("{filled:?}, {redirected:?}; TCP held {peak} of {most}");
    assert!(redirected.bytes > 0 && counters.of("memory").messages > 0, "{counters:?}");
    assert_eq!(filled.error, "EAGAIN", "the senders are stopped as by stock TCP");
    assert!(peak <= most + most / 10, "{peak} of {most}");
}
