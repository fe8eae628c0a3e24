//! Many connections at the same time, each with its own answer; more to different destinations than one rewritten
//! destination has source ports for.

use std::net::SocketAddr;

use rstest::rstest;
use tests::crowd::{Crowd, Expect};
use tests::data_plane::{DataPlane, flags};
use tests::envoy_config::{Forward, SidecarConfig};
use tests::network::Network;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::server::{self, Server};
use tests::sidecar::Sidecar;
use tests::sidestep::Sidestep;

#[rstest]
#[case::different_services("10.96.0.0/16")]
#[case::one_service("10.96.7.6/31")]
#[case::ipv6_services("fd00:96::/64")]
fn a_thousand(#[case] services: &str, #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("thousand").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let _sidecar = server::stand_in(&network.pod).hold().start().unwrap();
    let open = Crowd::to(services, 80, 1000).expect(Expect::OriginalDst).open(&network.pod).unwrap();
    assert_eq!((open.counts.connected, open.counts.mismatches), (1000, 0), "{:?}", open.counts);
    under.assert_counted("O15", 1000);
    under.assert_counted("original_dst", 1000);
    let inbound = Crowd::to("10.10.0.25/31", 8080, 1000).expect(Expect::OriginalDst);
    let open = inbound.open(&network.outside).unwrap();
    assert_eq!((open.counts.connected, open.counts.mismatches), (1000, 0), "{:?}", open.counts);
    under.assert_counted("I6", 1000);
}

#[test]
fn a_thousand_through_envoy() {
    if !DataPlane::Sidestep.met(&[Requirement::Envoy]) {
        return;
    }
    let network = Network::new("thousand-envoy").unwrap();
    let _under = DataPlane::Sidestep.under(&network.pod).unwrap();
    let _sidecar = Sidecar::start(&network.pod, &SidecarConfig::new(Forward::Passthrough, &[])).unwrap();
    let any: SocketAddr = "0.0.0.0:80".parse().unwrap();
    let _outside = Server::on(&network.outside).listen(any).hold().start().unwrap();
    let open = Crowd::to("10.96.0.0/16", 80, 1000).expect(Expect::Local).open(&network.pod).unwrap();
    assert_eq!((open.counts.connected, open.counts.mismatches), (1000, 0), "{:?}", open.counts);
}

/// There are 28,232 ephemeral ports for one destination.
#[rstest]
#[case::ipv4("10.96.0.0/16")]
#[case::ipv6("fd00:96::/112")]
fn more_than_there_are_ports_for_one_destination(#[case] services: &str) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let count: u32 = full_or(30_000, 40_000);
    let network = Network::new("forty").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &flags()).unwrap();
    let _sidecar = server::stand_in(&network.pod).hold().processes(4).start().unwrap();
    let open = Crowd::to(services, 80, count).expect(Expect::OriginalDst).open(&network.pod).unwrap();
    assert_eq!((open.counts.connected, open.counts.mismatches), (count, 0), "{:?}", open.counts);
    let counters = sidestep.counters().unwrap();
    assert_eq!(counters.of("O15"), u64::from(count), "{counters:?}");
    for loss in ["pending_full", "storage_full", "source_not_kept"] {
        assert_eq!(counters.of(loss), 0, "{counters:?}");
    }
}
