//! Detach while traffic flows: established connections live on, new ones are as if we had never been, nothing stays.

use std::net::SocketAddr;

use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::footprint::Footprint;
use tests::load::Load;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::{self, Server};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

#[test]
fn established_connections_live_on_and_no_trace_stays() {
    if !DataPlane::Sidestep.met(&[Requirement::Program("bpftool", "bpftool")]) {
        return;
    }
    let network = Network::new("leave").unwrap();
    let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let sidecar = server::echo_sidecar(&network.pod).start().unwrap();
    let _app = Server::on(&network.pod).listen(any(8080)).start().unwrap();
    let _outside = Server::on(&network.outside).listen(any(80)).start().unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let loads = [
        Load::lasting(network.pod4(8080), 16).start(&network.outside).unwrap(),
        Load::lasting(service, 16).start(&network.pod).unwrap(),
    ];
    let footprint = Footprint::of(&network.pod).unwrap();
    sidestep.detach().unwrap();
    footprint.assert_gone().unwrap();
    assert!(Footprint::of(&network.pod).unwrap().is_empty());

    let accepted = sidecar.accepted().len();
    let inbound = Connect::to(network.pod4(8080)).from(&network.outside).unwrap().report().unwrap();
    let outbound = Connect::to(service).from(&network.pod).unwrap().report().unwrap();
    assert_eq!((inbound.listener.port(), outbound.listener.port()), (8080, 80));
    for load in loads {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty() && exchanges.completed > 16, "{exchanges:?}");
    }
    assert_eq!(sidecar.accepted().len(), accepted);
}

#[test]
fn detach_twice_and_without_attach_says_so() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("leave-twice").unwrap();
    let said = tests::sidestep::run(&["detach"], &network.pod).unwrap();
    assert_eq!(said.trim(), "nothing was attached");
    Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap().detach().unwrap();
    let said = tests::sidestep::run(&["detach"], &network.pod).unwrap();
    assert_eq!(said.trim(), "nothing was attached");
}
