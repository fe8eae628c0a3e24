//! A hundred thousand connections that came and went leave nothing in any map.

use std::time::Duration;

use tests::accelerated::{Accelerated, streams};
use tests::any_reader::ANY_READER;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::wait::until;

/// Towards one port their ephemeral ports would run out in TIME_WAIT.
const PORTS: u64 = 5;
/// Long enough to stay in the map: short ones would keep out (`short_lived`).
const BYTES: u64 = 4000;
const CHUNK: usize = 300;
const GONE_WITHIN: Duration = Duration::from_secs(20);

fn connections() -> u64 {
    full_or(5_000, 100_000)
}

#[test]
fn every_map_is_empty_afterwards() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration, Requirement::Program("bpftool", "bpftool")]) {
        return;
    }
    let connections = connections();
    let network = Network::new("many").unwrap();
    let attached = Accelerated::new(ANY_READER).attach(&network.pod).unwrap();
    for port in 7000..7000 + PORTS as u16 {
        let _server = streams::serve(&network.pod, network.pod4(port), &[]).unwrap();
        let client =
            streams::Client::to(network.pod4(port), 32, BYTES).streams(connections / PORTS).chunk(CHUNK);
        let seen = client.run(&network.pod).unwrap();
        assert_eq!((seen.corrupted, seen.broken.len()), (0, 0), "{seen:?}");
        assert_eq!(seen.completed, connections / PORTS, "{seen:?}");
    }
    let status = Acceleration::of_pod(&network.pod).unwrap();
    println!("{:?}", status.counters);
    assert!(status.of("enrolled").sockets >= connections, "they were in the map: {status:?}");
    // Sockets leave the map with their last reference, a little after close.
    for map in ["SOCKS", "ENDS"] {
        until(&format!("{map} is empty"), GONE_WITHIN, || attached.node_map_is_empty(map).unwrap());
    }
}
