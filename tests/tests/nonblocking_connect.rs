//! An event loop's connect: EINPROGRESS, then writable, then the peer it asked for.

use std::net::SocketAddr;

use rstest::rstest;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::report::Outcome;
use tests::server;

#[rstest]
fn in_progress_then_connected(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values("10.96.7.7:80", "[fd00:96::7]:80")] service: SocketAddr,
) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("nonblocking").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let seen = Connect::to(service).nonblocking().from(&network.pod).unwrap();
    assert!(seen.in_progress, "{seen:?}");
    assert_eq!(seen.peername, Some(service));
    assert_eq!(seen.report().unwrap().original_dst().address, Some(service));
    under.assert_counted("O15", 1);
}

#[rstest]
fn in_progress_then_refused(#[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("nonblocking-no").unwrap();
    let _under = plane.under(&network.pod).unwrap();
    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let seen = Connect::to(service).nonblocking().from(&network.pod).unwrap();
    assert_eq!(seen.outcome(), Outcome::Refused, "{seen:?}");
}
