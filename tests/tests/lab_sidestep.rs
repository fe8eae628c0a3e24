//! The guard of the data plane under test: attached while it lives, gone without a trace after.

use tests::client::Connect;
use tests::footprint::Footprint;
use tests::load::Load;
use tests::network::Network;
use tests::requirement::{Requirement, met};
use tests::server::{self, Server};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

#[test]
fn a_dropped_guard_leaves_no_trace() {
    if !met(&[Requirement::Sidestep, Requirement::Program("bpftool", "bpftool")]) {
        return;
    }
    let network = Network::new("trace").unwrap();
    assert!(Footprint::of(&network.pod).unwrap().is_empty());
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let footprint = Footprint::of(&network.pod).unwrap();
    assert!(!footprint.links.is_empty() && !footprint.maps.is_empty(), "{footprint:?}");
    assert!(!footprint.pins.is_empty(), "{footprint:?}");
    drop(sidestep);
    footprint.assert_gone().unwrap();
    assert!(Footprint::of(&network.pod).unwrap().is_empty());
}

#[test]
fn load_outlives_the_guard() {
    if !met(&[Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("load").unwrap();
    let _echo =
        Server::on(&network.pod).listen(network.pod4(15006)).echo().user(server::PROXY_USER).start().unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let load = Load::lasting(network.pod4(8080), 4).pause_ms(10).start(&network.outside).unwrap();
    drop(sidestep);
    let after = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(after.outcome(), tests::report::Outcome::Refused, "nothing listens there: {after:?}");
    // For more exchanges than the first of each.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let exchanges = load.finish().unwrap();
    assert!(exchanges.failed.is_empty() && exchanges.completed > 4, "{exchanges:?}");
}
