//! A pod behind a real Envoy, in and out, in both of Istio's forwarding modes: Envoy sees what it sees under iptables.

use std::net::SocketAddr;

use rstest::rstest;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::network::Network;
use tests::report::Outcome;
use tests::requirement::Requirement;
use tests::server::Server;
use tests::sidecar::{Kind, Sidecar};

#[rstest]
fn the_app_is_reached_through_envoy(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values(
        (Forward::Localhost, "127.0.0.1:8080", "127.0.0.1"),
        (Forward::Passthrough, "10.10.0.26:8080", "127.0.0.6")
    )]
    (forward, app, source): (Forward, &str, &str),
) {
    if !plane.met(&[Requirement::Envoy]) {
        return;
    }
    let network = Network::new("envoy-in").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let sidecar =
        Sidecar::start_kind(Kind::Envoy, &network.pod, &SidecarConfig::new(forward, &[8080])).unwrap();
    let _app = Server::on(&network.pod).listen(app.parse::<SocketAddr>().unwrap()).start().unwrap();

    let seen = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    let report = seen.report().unwrap();
    assert_eq!(report.peer.ip().to_string(), source);
    let line = sidecar.wait_logged_from(seen.sockname.unwrap()).unwrap();
    assert_eq!((line.direction.as_str(), line.downstream_local), ("inbound", Some(network.pod4(8080))));
    assert_eq!(line.upstream_local, Some(report.peer));
    under.assert_counted("I6", 1);
    under.assert_counted(if forward == Forward::Localhost { "O5" } else { "O2" }, 1);
}

/// What the two modes differ in: the address an app has to listen on.
#[rstest]
fn the_other_address_is_closed_by_envoy(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values((Forward::Localhost, "10.10.0.26:8080"), (Forward::Passthrough, "127.0.0.1:8080"))]
    (forward, app): (Forward, &str),
) {
    if !plane.met(&[Requirement::Envoy]) {
        return;
    }
    let network = Network::new("envoy-shut").unwrap();
    let _under = plane.under(&network.pod).unwrap();
    let sidecar =
        Sidecar::start_kind(Kind::Envoy, &network.pod, &SidecarConfig::new(forward, &[8080])).unwrap();
    let app = Server::on(&network.pod).listen(app.parse::<SocketAddr>().unwrap()).start().unwrap();

    let seen = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(seen.outcome(), Outcome::Closed, "{seen:?}");
    let line = sidecar.wait_logged_from(seen.sockname.unwrap()).unwrap();
    assert!(line.flags.unwrap().contains("UF"));
    assert!(app.accepted().is_empty());
}

#[rstest]
fn a_service_is_called_through_envoy(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values(Forward::Localhost, Forward::Passthrough)] forward: Forward,
    #[values("10.96.7.7:80", "[fd00:96::7]:80")] service: SocketAddr,
) {
    if !plane.met(&[Requirement::Envoy]) {
        return;
    }
    let network = Network::new("envoy-out").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let sidecar =
        Sidecar::start_kind(Kind::Envoy, &network.pod, &SidecarConfig::new(forward, &[8080])).unwrap();
    let any: SocketAddr = if service.is_ipv4() { "0.0.0.0:80" } else { "[::]:80" }.parse().unwrap();
    let _service = Server::on(&network.outside).listen(any).start().unwrap();

    let seen = Connect::to(service).from(&network.pod).unwrap();
    assert_eq!(seen.peername, Some(service));
    let own = if service.is_ipv4() { network.pod4(0) } else { network.pod6(0) };
    assert_eq!(seen.sockname.unwrap().ip(), own.ip(), "the source is chosen before the rewrite");
    let report = seen.report().unwrap();
    assert_eq!((report.local, report.peer.ip()), (service, own.ip()));
    let line = sidecar.wait_logged_from(seen.sockname.unwrap()).unwrap();
    assert_eq!((line.direction.as_str(), line.downstream_local), ("outbound", Some(service)));
    assert_eq!(line.upstream_local, Some(report.peer));
    under.assert_counted("O15", 1);
    under.assert_counted("O5", 1);
    under.assert_counted("original_dst", 1);
}
