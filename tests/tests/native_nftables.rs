//! `--native-nftables`: Istio's nftables rules are of both families, also where the first address is an IPv4 one and nobody
//! has asked for dual stack. What they capture, sidestep captures.

use std::net::SocketAddr;

use rstest::rstest;
use tests::client::Connect;
use tests::istio_iptables;
use tests::network::Network;
use tests::requirement::{Requirement, met};
use tests::server::{PROXY_USER, Server, stand_in};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

const FLAG: &str = "--native-nftables";

#[rstest]
#[case::istio(true)]
#[case::sidestep(false)]
fn ipv6_is_captured_without_dual_stack(#[case] real: bool) {
    let plane = if real { Requirement::IstioIptables } else { Requirement::Sidestep };
    let nft = Requirement::Program("nft", "nftables");
    if !met(&[Requirement::Root, Requirement::Cgroup2, nft, plane]) {
        return;
    }
    let network = Network::new("native-nft").unwrap();
    let flags = [&DEFAULT_FLAGS[..], &[FLAG]].concat();
    let _sidestep = (!real).then(|| Sidestep::attach(&network.pod, &flags).unwrap());
    if real {
        network.pod.command(istio_iptables::binary().unwrap()).args(&flags).run().unwrap();
    }
    let _sidecar = stand_in(&network.pod).start().unwrap();
    let outside: SocketAddr = "[::]:80".parse().unwrap();
    let _server = Server::on(&network.outside).listen(outside).start().unwrap();

    for service in ["10.96.7.7:80", "[fd00:96::7]:80"] {
        let service: SocketAddr = service.parse().unwrap();
        let report = Connect::to(service).from(&network.pod).unwrap().report().unwrap();
        assert_eq!((report.listener.port(), report.original_dst().address), (15001, Some(service)));
    }
    let report = Connect::to(network.pod6(8080)).from(&network.outside).unwrap().report().unwrap();
    assert_eq!(report.listener.port(), 15006);
    // The sidecar's own goes out.
    let own = Connect::to("[fd00:96::7]:80".parse().unwrap()).user(PROXY_USER).from(&network.pod).unwrap();
    assert_eq!(own.report().unwrap().listener, outside);
}
