//! A pod with a memory limit whose readers stand still: what is handed over counts against the limit, and must not get
//! the pod killed where stock TCP would not.

use std::fs;

use rstest::rstest;
use tests::accelerated::{Accelerated, attach_both};
use tests::alone::alone;
use tests::any_reader::ANY_READER;
use tests::cgroup;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::report::Filled;
use tests::requirement::Requirement;
use tests::server::Server;

/// With 4 MiB each these connections would hold more than the limit.
const FEW: (&str, &str) = ("60", "100M");
/// With 16 KiB each, from where on a single queue is compared with the limits, these would as well.
const MANY: (&str, &str) = ("4000", "60M");

#[rstest]
fn nobody_is_killed(
    #[values("off", ANY_READER)] mode: &str,
    #[values(FEW, MANY)] (connections, limit): (&str, &str),
) {
    if !DataPlane::Sidestep.met(&[Requirement::MemoryController, Requirement::Acceleration]) {
        return;
    }
    let _alone = alone();
    let network = Network::with_own_addresses("memcg").unwrap();
    fs::write(cgroup::mount().unwrap().join("cgroup.subtree_control"), "+memory").unwrap();
    let limited = network.pod.cgroup();
    fs::write(limited.join("memory.max"), limit).unwrap();
    let _attached = attach_both(&network, &Accelerated::new(mode)).unwrap();
    let at = network.pod4(7000);
    let server = Server::on(&network.pod).listen(at).silent().hold().start().unwrap();
    let fill = network.outside.agent_as_app("fill").unwrap();
    let filled: Filled =
        fill.args(["--to", &at.to_string(), "--connections", connections]).run_json().unwrap();

    let counters = Acceleration::of_pod(&network.outside).unwrap();
    let events = fs::read_to_string(limited.join("memory.events")).unwrap();
    let current = fs::read_to_string(limited.join("memory.current")).unwrap();
    println!("{mode}: {filled:?}, {counters:?}; {} bytes, {events:?}", current.trim());
    assert!(events.lines().any(|line| line == "oom_kill 0"), "{mode}: {events}");
    assert!(server.processes().iter().all(tests::process::Process::is_running), "{mode}: the server is gone");
    assert_eq!(filled.error, "EAGAIN", "{mode}: the senders are stopped as by stock TCP");
    if mode == ANY_READER && counters.reason_if_not.is_none() {
        assert!(counters.of("redirected").bytes > 0 && counters.of("memory").messages > 0, "{counters:?}");
    }
}
