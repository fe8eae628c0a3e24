//! Interfaces that are treated apart: excluded ones (`-c`), and those of virtual machines (`-k`). The cases also run
//! under real iptables.

use std::net::SocketAddr;

use rstest::rstest;
use tests::client::Connect;
use tests::network::Network;
use tests::plane::{Plane, Planed};
use tests::report::Outcome;
use tests::server::{self, Server};
use tests::sidestep::DEFAULT_FLAGS;
use tests::veth::{self, End};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A second way between pod and outside, over the pod's eth1.
fn second_way(network: &Network) {
    let ends = [["10.20.0.26/24", "fd00:20::26/64"], ["10.20.0.9/24", "fd00:20::9/64"]];
    let [here, there] = ends.map(|end| end.map(str::to_owned));
    veth::connect(
        End { pod: &network.pod, name: "eth1", addresses: &here },
        End { pod: &network.outside, name: "veth1", addresses: &there },
    )
    .unwrap();
    network.pod.ip("route add 10.97.0.0/16 via 10.20.0.9\nroute add fd00:97::/64 via fd00:20::9\n").unwrap();
    network.answer_for("10.97.0.0/16").unwrap();
    network.answer_for("fd00:97::/64").unwrap();
}

fn excluded(name: &str, plane: Plane) -> Option<Planed> {
    plane.network_after(name, &[DEFAULT_FLAGS.as_slice(), &["-c", "eth1"]].concat(), second_way)
}

#[rstest]
fn what_leaves_by_an_excluded_interface_is_untouched(
    #[values(Plane::Iptables, Plane::Sidestep)] plane: Plane,
) {
    let Some(lab) = excluded("excluded-out", plane) else { return };
    let network = &lab.network;
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let outside = Server::on(&network.outside).listen(address("0.0.0.0:80")).listen(address("[::]:80"));
    let _outside = outside.start().unwrap();
    let cases = [
        ("excluded", "10.97.1.1:80", 80, "10.20.0.26"),
        ("excluded, on the link", "10.20.0.9:80", 80, "10.20.0.26"),
        ("excluded, IPv6", "[fd00:97::1]:80", 80, "fd00:20::26"),
        ("other", "10.96.7.7:80", 15001, "10.10.0.26"),
        ("other, on the link", "10.10.0.9:80", 15001, "10.10.0.26"),
        ("other, IPv6", "[fd00:96::7]:80", 15001, "fd00:10::26"),
    ];
    for (name, to, port, source) in cases {
        let call = Connect::to(address(to)).from(&network.pod).unwrap();
        assert_eq!(call.outcome(), Outcome::Answered, "{name}: {call:?}");
        let report = call.report().unwrap();
        assert_eq!((report.listener.port(), report.peer.ip().to_string().as_str()), (port, source), "{name}");
        assert_eq!(call.peername, Some(address(to)), "{name}");
    }
    if let Some(sidestep) = lab.sidestep() {
        assert_eq!((sidestep.rule("O0").unwrap(), sidestep.rule("O15").unwrap()), (3, 3));
    }
}

#[rstest]
fn what_arrives_by_an_excluded_interface_is_untouched(
    #[values(Plane::Iptables, Plane::Sidestep)] plane: Plane,
) {
    let Some(lab) = excluded("excluded-in", plane) else { return };
    let network = &lab.network;
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let app = Server::on(&network.pod).listen(address("0.0.0.0:8080")).listen(address("[::]:8080"));
    let _app = app.start().unwrap();
    // The interface counts, not whose address it is: eth0's is reached over eth1 from here on.
    let from_eth1 = |to: SocketAddr| {
        network.outside.ip(&format!("route replace {} via 10.20.0.26\n", to.ip())).unwrap();
    };
    let cases = [
        ("excluded", "10.20.0.26:8080", 8080),
        ("excluded, IPv6", "[fd00:20::26]:8080", 8080),
        ("other", "10.10.0.26:8080", 15006),
        ("other, IPv6", "[fd00:10::26]:8080", 15006),
        ("eth0's address over eth1", "10.10.0.26:8080", 8080),
    ];
    for (name, to, port) in cases {
        if name.contains("over eth1") {
            from_eth1(address(to));
        }
        let call = Connect::to(address(to)).from(&network.outside).unwrap();
        assert_eq!(call.outcome(), Outcome::Answered, "{name}: {call:?}");
        assert_eq!(call.report().unwrap().listener.port(), port, "{name}");
    }
    if let Some(sidestep) = lab.sidestep() {
        assert_eq!((sidestep.rule("I3").unwrap(), sidestep.rule("I6").unwrap()), (3, 2));
    }
}
