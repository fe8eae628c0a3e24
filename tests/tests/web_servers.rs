//! nginx and haproxy as they are, behind the sidecar: they answer, and say who asked.

use std::net::SocketAddr;

use rstest::rstest;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::network::Network;
use tests::readiness::http_get;
use tests::server::APP_USER;
use tests::sidecar::Sidecar;
use tests::web_server::{self, WebServer};

#[rstest]
fn a_web_server_answers_behind_the_sidecar(
    #[values(WebServer::Nginx, WebServer::Haproxy)] program: WebServer,
    #[values(
        (Forward::Localhost, "127.0.0.1:8080", "127.0.0.1"),
        (Forward::Passthrough, "0.0.0.0:8080", "127.0.0.6"),
        (Forward::Passthrough, "[::]:8080", "::6")
    )]
    (forward, listen, source): (Forward, &str, &str),
) {
    if !DataPlane::Sidestep.met(&[program.requirement()]) {
        return;
    }
    let listen: SocketAddr = listen.parse().unwrap();
    let network = Network::new("web").unwrap();
    let under = DataPlane::Sidestep.under(&network.pod).unwrap();
    let sidecar = Sidecar::start(&network.pod, &SidecarConfig::new(forward, &[8080]).http()).unwrap();
    let _app = program.start(&network.pod, &[listen]).unwrap();

    let to = if listen.is_ipv4() { network.pod4(8080) } else { network.pod6(8080) };
    for _ in 0..20 {
        let answer = http_get(&network.outside, APP_USER, to, "/").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(web_server::peer(&answer.body).unwrap().ip().to_string(), source);
    }
    let line = sidecar.wait_logged(|line| line.downstream_local == Some(to)).unwrap();
    assert_eq!(line.direction, "inbound");
    under.assert_counted("I6", 20);
}

/// A web server that is a client too: what nginx asks upstream goes out through the sidecar.
#[rstest]
#[case::nginx(WebServer::Nginx)]
#[case::haproxy(WebServer::Haproxy)]
fn a_web_server_outside_is_reached_through_the_sidecar(#[case] program: WebServer) {
    if !DataPlane::Sidestep.met(&[program.requirement()]) {
        return;
    }
    let network = Network::new("web-out").unwrap();
    let under = DataPlane::Sidestep.under(&network.pod).unwrap();
    let sidecar =
        Sidecar::start(&network.pod, &SidecarConfig::new(Forward::Passthrough, &[]).http()).unwrap();
    let any: SocketAddr = "0.0.0.0:80".parse().unwrap();
    let _service = program.start(&network.outside, &[any]).unwrap();

    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let answer = http_get(&network.pod, APP_USER, service, "/").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let line = sidecar.wait_logged(|line| line.downstream_local == Some(service)).unwrap();
    assert_eq!(line.upstream_local, web_server::peer(&answer.body).ok(), "the sidecar asked, not the app");
    under.assert_counted("O15", 1);
}
