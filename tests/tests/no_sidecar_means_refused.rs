//! A captured connection whose sidecar does not listen is refused, as under iptables. Nothing leaks past it.

use std::net::SocketAddr;

use rstest::rstest;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::report::Outcome;
use tests::server::{self, Server};

#[rstest]
fn outbound_never_leaves(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values("10.96.7.7:80", "[fd00:96::7]:80")] service: SocketAddr,
) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("refused-out").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let any: SocketAddr = if service.is_ipv4() { "0.0.0.0:80" } else { "[::]:80" }.parse().unwrap();
    let outside = Server::on(&network.outside).listen(any).start().unwrap();
    for connect in [Connect::to(service), Connect::to(service).nonblocking()] {
        let seen = connect.from(&network.pod).unwrap();
        assert_eq!(seen.outcome(), Outcome::Refused, "{seen:?}");
    }
    // Not captured, so that what came before it would have come before this one.
    let direct = Connect::to(service).user(server::PROXY_USER).from(&network.pod).unwrap();
    assert_eq!(direct.outcome(), Outcome::Answered, "{direct:?}");
    assert_eq!(outside.wait_accepted_count(1).unwrap().len(), 1, "only the proxy's own call arrived");
    under.assert_counted("O15", 2);
}

#[rstest]
fn inbound_never_reaches_the_app(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values(4, 6)] family: u8,
) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("refused-in").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let to = if family == 4 { network.pod4(8080) } else { network.pod6(8080) };
    let app = Server::on(&network.pod).listen(to).start().unwrap();
    let seen = Connect::to(to).from(&network.outside).unwrap();
    assert_eq!(seen.outcome(), Outcome::Refused, "{seen:?}");
    assert!(app.accepted().is_empty());
    under.assert_counted("no_listener", 1);
}

/// A sidecar that has crashed: the listeners were there.
#[rstest]
fn after_the_sidecar_was_killed(#[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("refused-crash").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let app = Server::on(&network.pod).listen(network.pod4(8080)).start().unwrap();
    let outside = Server::on(&network.outside).listen(SocketAddr::from(([0, 0, 0, 0], 80))).start().unwrap();
    let sidecar = server::stand_in(&network.pod).start().unwrap();
    let inbound = Connect::to(network.pod4(8080));
    let outbound = Connect::to("10.96.7.7:80".parse().unwrap());
    assert_eq!(inbound.from(&network.outside).unwrap().report().unwrap().listener.port(), 15006);
    assert_eq!(outbound.from(&network.pod).unwrap().report().unwrap().listener.port(), 15001);
    drop(sidecar);
    assert_eq!(inbound.from(&network.outside).unwrap().outcome(), Outcome::Refused);
    assert_eq!(outbound.from(&network.pod).unwrap().outcome(), Outcome::Refused);
    assert!(app.accepted().is_empty() && outside.accepted().is_empty());
    under.assert_counted("no_listener", 1);
}
