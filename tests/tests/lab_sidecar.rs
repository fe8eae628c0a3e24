//! The sidecar under Istio's real iptables rules: the baseline every other data plane is held against.

use std::net::SocketAddr;

use rstest::rstest;
use tests::client::Connect;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::iptables::{self, Backend};
use tests::network::Network;
use tests::readiness;
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::server::{self, APP_USER, Server};
use tests::sidecar::{Kind, Sidecar};
use tests::web_server::{self, WebServer};

fn baseline(name: &str, backend: Backend) -> Option<Network> {
    if !met(&[Requirement::Root, Requirement::Cgroup2, Requirement::Envoy, Requirement::Iptables(backend)]) {
        return None;
    }
    let network = Network::new(name).unwrap();
    iptables::apply(&network.pod, iptables::default_rules(), backend).unwrap();
    Some(network)
}

#[rstest]
#[case::legacy(Backend::Legacy)]
#[case::nft(Backend::Nft)]
fn a_stand_in_sidecar_sees_what_envoy_would(#[case] backend: Backend) {
    let Some(network) = baseline("stand-in", backend) else { return };
    let _sidecar = server::stand_in(&network.pod).start().unwrap();

    let inbound = Connect::to(network.pod4(8080)).from(&network.outside).unwrap().report().unwrap();
    assert_eq!((inbound.listener.port(), inbound.original_dst().address), (15006, Some(network.pod4(8080))));
    assert_eq!(inbound.original_dst().length, Some(128), "the kernel leaves optlen as it was");

    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let call = Connect::to(service).from(&network.pod).unwrap();
    let outbound = call.report().unwrap();
    assert_eq!((outbound.listener.port(), outbound.original_dst().address), (15001, Some(service)));
    assert_eq!(call.peername, Some(service));
}

#[rstest]
#[case::localhost(Forward::Localhost, "127.0.0.1:8080", "127.0.0.1")]
#[case::passthrough(Forward::Passthrough, "10.10.0.26:8080", "127.0.0.6")]
fn envoy_speaks_http(#[case] forward: Forward, #[case] app: SocketAddr, #[case] source: &str) {
    let Some(network) = baseline("http", Backend::Nft) else { return };
    let sidecar =
        Sidecar::start_kind(Kind::Envoy, &network.pod, &SidecarConfig::new(forward, &[8080]).http()).unwrap();
    // Not an HTTP server: it is enough to see who connected.
    let server =
        Server::on(&network.pod).listen(app).banner("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r").start();
    let server = server.unwrap();
    let answer = readiness::http_get(&network.outside, APP_USER, network.pod4(8080), "/").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = server.wait_accepted(|_| true).unwrap();
    assert_eq!(seen.peer.ip().to_string(), source);
    let line = sidecar.wait_logged(|line| line.upstream_local == Some(seen.peer)).unwrap();
    assert_eq!((line.direction.as_str(), line.downstream_local), ("inbound", Some(network.pod4(8080))));
}

#[test]
fn envoy_closes_what_it_cannot_forward() {
    let Some(network) = baseline("closed", Backend::Nft) else { return };
    let sidecar = Sidecar::start(&network.pod, &SidecarConfig::new(Forward::Passthrough, &[8080])).unwrap();
    let seen = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(seen.outcome(), Outcome::Closed, "{seen:?}");
    let line = sidecar.wait_logged_from(seen.sockname.unwrap()).unwrap();
    assert!(line.flags.unwrap().contains("UF"));
}

#[test]
fn no_sidecar_means_refused() {
    let Some(network) = baseline("absent", Backend::Nft) else { return };
    let _app = Server::on(&network.pod).listen(network.pod4(8080)).start().unwrap();
    let seen = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(seen.outcome(), Outcome::Refused, "{seen:?}");
}

#[rstest]
#[case::nginx(WebServer::Nginx)]
#[case::haproxy(WebServer::Haproxy)]
fn web_servers_say_who_asked(#[case] program: WebServer) {
    if !met(&[program.requirement()]) {
        return;
    }
    let Some(network) = baseline("web", Backend::Nft) else { return };
    let _sidecar = Sidecar::start(&network.pod, &SidecarConfig::new(Forward::Passthrough, &[8080])).unwrap();
    let _app = program.start(&network.pod, &[network.pod4(8080)]).unwrap();
    let answer = readiness::http_get(&network.outside, APP_USER, network.pod4(8080), "/").unwrap();
    assert_eq!(web_server::peer(&answer.body).unwrap().ip().to_string(), "127.0.0.6");
}
