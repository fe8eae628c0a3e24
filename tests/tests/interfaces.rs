//! Interfaces that are treated apart: excluded ones (`-c`), and those of virtual machines (`-k`). The cases also run
//! under real iptables.

use std::collections::HashSet;
use std::net::SocketAddr;

use rstest::rstest;
use tests::accelerated::streams;
use tests::client::Connect;
use tests::crowd::{Crowd, Expect};
use tests::footprint::Footprint;
use tests::guest;
use tests::load::Load;
use tests::network::Network;
use tests::plane::{Plane, Planed};
use tests::pod::Pod;
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::server::{self, PROXY_USER, Server};
use tests::sidestep::{self, DEFAULT_FLAGS, Sidestep};
use tests::veth::{self, End};

/// e27c3295114b: without it a SYN whose port REDIRECT's clash resolution has changed goes to the socket of the one before.
const REDIRECT_AFTER_CLASH: Requirement =
    Requirement::Linux(6, 7, "REDIRECT serves one connection at a time from a port, others time out");

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
    if plane == Plane::Sidestep && !met(&[Requirement::Kernel("ingress_ifindex")]) {
        return;
    }
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

fn virtual_machine(name: &str, plane: Plane, flags: &[&str]) -> Option<(Planed, Pod)> {
    if plane == Plane::Sidestep && !met(&[Requirement::Kernel("tcx")]) {
        return None;
    }
    let mut vm = None;
    let planed = plane.network_after(name, flags, |network| vm = Some(guest::behind(network).unwrap()))?;
    Some((planed, vm.unwrap()))
}

#[rustfmt::skip]
const SOME: [&str; 18] = [
    "-p", "15001", "-z", "15006", "-u", "1337", "-g", "1337", "-m", "REDIRECT",
    "-i", "10.96.0.0/16,fd00:96::/64", "-b", "*", "-d", "15090,15021,15020", "-k", "vm0",
];

#[rstest]
fn what_a_guest_calls_is_outbound(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let flags = [DEFAULT_FLAGS.as_slice(), &["-k", "vm0"]].concat();
    let Some((lab, vm)) = virtual_machine("guest-all", plane, &flags) else { return };
    let network = &lab.network;
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let cases = [
        ("forwarded", "10.96.7.7:80", "10.30.0.1:15001"),
        ("forwarded, the next hop itself", "10.10.0.9:80", "10.30.0.1:15001"),
        ("forwarded, IPv6", "[fd00:96::7]:80", "[fd00:30::1]:15001"),
        ("to the port of the listener", "10.96.7.7:15001", "10.30.0.1:15001"),
    ];
    for (name, to, local) in cases {
        let call = Connect::to(address(to)).from(&vm).unwrap();
        assert_eq!(call.outcome(), Outcome::Answered, "{name}: {call:?}");
        let report = call.report().unwrap();
        assert_eq!((report.listener.port(), report.local), (15001, address(local)), "{name}: {report:?}");
        assert_eq!(report.original_dst().address, Some(address(to)), "{name}");
        assert_eq!((Some(report.peer), call.peername), (call.sockname, Some(address(to))), "{name}");
    }
    // The pod's own addresses are another matter than the outside's, but not to the rule.
    for to in ["10.30.0.1:8080", "10.10.0.26:8080", "[fd00:30::1]:8080"] {
        let report = Connect::to(address(to)).from(&vm).unwrap().report().unwrap();
        assert_eq!(
            (report.listener.port(), report.original_dst().address),
            (15001, Some(address(to))),
            "{to}"
        );
    }
    if let Some(sidestep) = lab.sidestep() {
        assert_eq!(sidestep.rule("I1").unwrap(), 7);
    }
}

#[rstest]
fn a_guest_calls_past_the_included_ranges(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let Some((lab, vm)) = virtual_machine("guest-some", plane, &SOME) else { return };
    let network = &lab.network;
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let outside = Server::on(&network.outside).listen(address("0.0.0.0:80")).listen(address("[::]:80"));
    let _outside = outside.start().unwrap();
    let app = Server::on(&network.pod).listen(address("0.0.0.0:8080")).listen(address("[::]:8080"));
    let _app = app.start().unwrap();
    let cases = [
        ("included", "10.96.7.7:80", 15001),
        ("included, IPv6", "[fd00:96::7]:80", 15001),
        ("not included", "10.10.0.9:80", 80),
        ("not included, IPv6", "[fd00:10::9]:80", 80),
        ("the pod", "10.30.0.1:8080", 8080),
        ("the pod by eth0's address", "10.10.0.26:8080", 8080),
    ];
    for (name, to, port) in cases {
        let call = Connect::to(address(to)).from(&vm).unwrap();
        assert_eq!(call.outcome(), Outcome::Answered, "{name}: {call:?}");
        let report = call.report().unwrap();
        assert_eq!((report.listener.port(), report.peer), (port, call.sockname.unwrap()), "{name}");
    }
    // Who comes from elsewhere is not the guest.
    let inbound = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(inbound.report().unwrap().listener.port(), 15006);
}

/// One port of the guest, several destinations at a time: REDIRECT makes them one, and the sidecar tells them apart by
/// other ports (conntrack does the same).
#[rstest]
fn a_guest_uses_a_port_several_times(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    if plane == Plane::Iptables && !met(&[REDIRECT_AFTER_CLASH]) {
        return;
    }
    let flags = [DEFAULT_FLAGS.as_slice(), &["-k", "vm0"]].concat();
    let Some((lab, vm)) = virtual_machine("guest-port", plane, &flags) else { return };
    let sidecar = server::stand_in(&lab.network.pod).hold().start().unwrap();
    let seen =
        Crowd::to("10.96.0.0/24", 80, 200).expect(Expect::OriginalDst).bind_port(40000).open(&vm).unwrap();
    assert_eq!((seen.counts.connected, seen.counts.mismatches), (200, 0), "{:?}", seen.counts);
    let peers: HashSet<SocketAddr> =
        sidecar.wait_accepted_count(200).unwrap().iter().map(|accepted| accepted.peer).collect();
    assert_eq!(peers.len(), 200);
    drop(seen);
}

/// A megabyte each way through both rewritings, and a refusal when nobody listens.
#[rstest]
fn a_guest_is_served_and_refused(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let flags = [DEFAULT_FLAGS.as_slice(), &["-k", "vm0"]].concat();
    let Some((lab, vm)) = virtual_machine("guest-data", plane, &flags) else { return };
    let refused = Connect::to(address("10.96.7.7:80")).from(&vm).unwrap();
    assert_eq!(refused.outcome(), Outcome::Refused, "{refused:?}");
    let _sidecar = streams::serve_as(PROXY_USER, &lab.network.pod, address("[::]:15001"), &[]).unwrap();
    for to in ["10.96.7.7:80", "[fd00:96::7]:80"] {
        let seen = streams::Client::to(address(to), 1, 1 << 20).run(&vm).unwrap();
        assert_eq!((seen.corrupted, seen.broken.len(), seen.completed), (0, 0, 1), "{to}: {seen:?}");
    }
}

/// Programs on the interface come and go with the configuration and the workload.
#[test]
fn a_guests_interface_is_as_it_was() {
    let flags = [DEFAULT_FLAGS.as_slice(), &["--dual-stack", "-k", "vm0"]].concat();
    let without = [DEFAULT_FLAGS.as_slice(), &["--dual-stack"]].concat();
    let Some((lab, vm)) = virtual_machine("guest-gone", Plane::Sidestep, &flags) else { return };
    let pod = &lab.network.pod;
    let _sidecar = server::stand_in(pod).start().unwrap();
    let _outside = Server::on(&lab.network.outside).listen(address("0.0.0.0:80")).start().unwrap();
    let answers =
        || Connect::to(address("10.96.7.7:80")).from(&vm).unwrap().report().unwrap().listener.port();
    assert_eq!(answers(), 15001);
    let not = Sidestep::attach(pod, &without).unwrap();
    assert_eq!(answers(), 80);
    let with = Sidestep::attach(pod, &flags).unwrap();
    assert_eq!(answers(), 15001);
    let footprint = Footprint::of(pod).unwrap();
    assert!(
        footprint.pins.iter().any(|pin| pin.to_string_lossy().contains("link_guest_in_")),
        "{footprint:?}"
    );
    with.detach().unwrap();
    assert_eq!(answers(), 80);
    footprint.assert_gone().unwrap();
    drop(not);
}

/// Flows are remembered across a second attach.
#[test]
fn a_guests_connections_survive_an_update() {
    let flags = [DEFAULT_FLAGS.as_slice(), &["--dual-stack", "-k", "vm0"]].concat();
    let Some((lab, vm)) = virtual_machine("guest-update", Plane::Sidestep, &flags) else { return };
    let sidecar = Server::on(&lab.network.pod).user(PROXY_USER).listen(address("[::]:15001")).dual();
    let _sidecar = sidecar.echo().start().unwrap();
    let loads: Vec<_> = ["10.96.7.7:80", "[fd00:96::7]:80"]
        .iter()
        .map(|to| Load::lasting(address(to), 8).start(&vm).unwrap())
        .collect();
    for _ in 0..3 {
        sidestep::run(&[&["attach"], &flags[..]].concat(), &lab.network.pod).unwrap();
    }
    for load in loads {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.completed > 0 && exchanges.failed.is_empty(), "{exchanges:?}");
    }
}

/// What cannot be captured is said, not passed over.
#[test]
fn tproxy_does_not_capture_a_guest_and_says_so() {
    let flags: Vec<&str> =
        DEFAULT_FLAGS.iter().map(|flag| if *flag == "REDIRECT" { "TPROXY" } else { flag }).collect();
    let flags = [&flags[..], &["-k", "vm0"]].concat();
    let Some((lab, _vm)) = virtual_machine("guest-tproxy", Plane::Sidestep, &flags) else { return };
    let text = lab.sidestep().unwrap().warnings();
    assert!(text.contains("behind vm0 makes to others than the pod are not captured"), "{text}");
}
