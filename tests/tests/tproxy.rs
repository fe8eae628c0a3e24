//! TPROXY mode: the application sees the client's address, with real Envoy and `original_src`. Every case also runs
//! under real iptables, marks, rules and routes: both must say the same.

use std::net::{IpAddr, SocketAddr};

use rstest::rstest;
use tests::client::Connect;
use tests::envoy_config::{Forward, SidecarConfig, TPROXY_MARK};
use tests::network::Network;
use tests::plane::Plane;
use tests::report::{Outcome, canonical};
use tests::requirement::{Requirement, met};
use tests::server::{self, APP_USER, Server};
use tests::sidecar::{Kind, Sidecar};
use tests::sidestep::Sidestep;

#[rustfmt::skip]
const FLAGS: [&str; 18] = [
    "-p", "15001", "-z", "15006", "-u", "1337", "-g", "1337", "-m", "TPROXY",
    "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020",
];
const SIDECAR: (u32, u32) = (0, 1337);

#[rstest]
fn envoy_forwards_as_the_client(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    if !met(&[Requirement::Envoy]) {
        return;
    }
    let Some(lab) = plane.network("tproxy-envoy", &FLAGS) else { return };
    let network = &lab.network;
    let config = SidecarConfig::new(Forward::Passthrough, &[8080]).transparent();
    let sidecar = Sidecar::start_kind(Kind::Envoy, &network.pod, &config).unwrap();
    let cases = [
        ("v4", "0.0.0.0:8080", network.pod4(8080)),
        ("v6", "[::]:8080", network.pod6(8080)),
        ("v4, undeclared port", "0.0.0.0:4000", network.pod4(4000)),
        ("v6, undeclared port", "[::]:4000", network.pod6(4000)),
    ];
    for (name, listen, to) in cases {
        let app = Server::on(&network.pod).listen(listen.parse::<SocketAddr>().unwrap()).start().unwrap();
        let seen = Connect::to(to).from(&network.outside).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "{name}: {seen:?}");
        let client = seen.sockname.unwrap();
        let report = seen.report().unwrap();
        assert_eq!((report.peer.ip(), report.local), (client.ip(), to), "{name}: {report:?}");
        assert_eq!(report.peername, Some(report.peer), "{name}");
        let line = sidecar.wait_logged_from(client).unwrap();
        assert_eq!((line.downstream_local, line.upstream_host), (Some(to), Some(to)), "{name}: {line:?}");
        assert_eq!(
            line.upstream_local,
            Some(report.peer),
            "{name}: the sidecar sees the address it asked for"
        );
        drop(app);
    }
    if plane == Plane::Sidestep {
        assert_eq!(lab.event("tproxy_source"), 4);
    }
}

#[rstest]
fn a_dual_stack_application_sees_the_mapped_client(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let Some(lab) = plane.network("tproxy-mapped", &FLAGS) else { return };
    let network = &lab.network;
    let _app =
        Server::on(&network.pod).listen("[::]:8080".parse::<SocketAddr>().unwrap()).dual().start().unwrap();
    let client: SocketAddr = "10.96.3.3:0".parse().unwrap();
    let report = upstream(network.pod4(8080), client).from(&network.pod).unwrap().report().unwrap();
    assert_eq!(canonical(report.peer).ip(), client.ip());
    assert!(report.peer.is_ipv6() && report.peername == Some(report.peer), "{report:?}");
}

/// The sidecar's upstream connection.
fn upstream(to: SocketAddr, client: SocketAddr) -> Connect {
    Connect::to(to).user(SIDECAR).transparent(TPROXY_MARK).bind(client)
}

#[rstest]
fn a_kept_client_port_is_seen_and_may_be_shared(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let Some(lab) = plane.network("tproxy-port", &FLAGS) else { return };
    let network = &lab.network;
    let _app = Server::on(&network.pod)
        .listen("0.0.0.0:8080".parse::<SocketAddr>().unwrap())
        .listen("[::]:8080".parse::<SocketAddr>().unwrap())
        .hold()
        .start()
        .unwrap();
    for (to, client) in [
        (network.pod4(8080), "10.96.3.3:4711"),
        (network.pod4(8080), "10.96.3.4:4711"),
        (network.pod6(8080), "[fd00:96::3]:4711"),
    ] {
        let client: SocketAddr = client.parse().unwrap();
        let seen = upstream(to, client).one_line().from(&network.pod).unwrap();
        assert_eq!(seen.sockname, Some(client), "{seen:?}");
        assert_eq!(seen.report().unwrap().peer, client);
    }
}

/// What is not the sidecar's transparent socket keeps its address.
#[rstest]
fn other_sockets_are_left_alone(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let Some(lab) = plane.network("tproxy-others", &FLAGS) else { return };
    let network = &lab.network;
    let _app =
        Server::on(&network.pod).listen("0.0.0.0:8080".parse::<SocketAddr>().unwrap()).start().unwrap();
    let own = SocketAddr::new(IpAddr::V4(network.addresses.pod4), 0);
    let cases = [
        ("application, own address", Connect::to(network.pod4(8080)).user(APP_USER).bind(own)),
        (
            "application, own address and mark",
            Connect::to(network.pod4(8080)).user((0, 0)).mark(TPROXY_MARK).bind(own),
        ),
        ("sidecar, transparent, own address", upstream(network.pod4(8080), own)),
        (
            "sidecar, passthrough source",
            Connect::to(network.pod4(8080)).user(SIDECAR).bind("127.0.0.6:0".parse().unwrap()),
        ),
        ("application, loopback", Connect::to("127.0.0.1:8080".parse().unwrap()).user(APP_USER)),
    ];
    for (name, connect) in cases {
        let seen = connect.from(&network.pod).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "{name}: {seen:?}");
        let report = seen.report().unwrap();
        assert_eq!((Some(report.peer), report.peername), (seen.sockname, Some(report.peer)), "{name}");
    }
    assert_eq!(lab.event("tproxy_source"), 0);
}

/// A socket that is not transparent may not have an address of somebody else.
#[rstest]
fn an_application_cannot_take_the_way_of_the_sidecar(
    #[values(Plane::Iptables, Plane::Sidestep)] plane: Plane,
) {
    let Some(lab) = plane.network("tproxy-refused", &FLAGS) else { return };
    let foreign: SocketAddr = "10.96.3.3:0".parse().unwrap();
    let connect = Connect::to(lab.network.pod4(8080)).user((0, 0)).mark(TPROXY_MARK).bind(foreign);
    let failure = connect.from(&lab.network.pod).unwrap().failure.unwrap();
    assert_eq!((failure.call.as_str(), failure.errno), ("bind", libc::EADDRNOTAVAIL));
    assert_eq!(lab.event("tproxy_source"), 0);
}

/// The sidecar calls its own pod (a service that chose itself): the inbound listener gets it, and sees the destination
/// as its own address; the connection it then makes is not caught again.
#[rstest]
fn a_self_call_arrives_once(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let Some(lab) = plane.network("tproxy-self", &FLAGS) else { return };
    let network = &lab.network;
    let _sidecar = server::stand_in(&network.pod).user(SIDECAR).transparent().start().unwrap();
    let _app = Server::on(&network.pod)
        .listen("0.0.0.0:8080".parse::<SocketAddr>().unwrap())
        .listen("[::]:8080".parse::<SocketAddr>().unwrap())
        .start()
        .unwrap();
    for (to, own) in [
        (network.pod4(8080), IpAddr::V4(network.addresses.pod4)),
        (network.pod6(8080), IpAddr::V6(network.addresses.pod6)),
    ] {
        let call = Connect::to(to).user(SIDECAR).from(&network.pod).unwrap().report().unwrap();
        assert_eq!((call.listener.port(), call.local, call.peer.ip()), (15006, to, own), "{call:?}");
        assert_eq!(call.original_dst().address, Some(to));
        let onward = upstream(to, SocketAddr::new(own, 0)).from(&network.pod).unwrap().report().unwrap();
        assert_eq!((onward.listener.port(), onward.peer.ip()), (8080, own), "{onward:?}");
    }
}

/// Neither rules nor routes nor tables; `::6` on lo only while attached.
#[test]
fn the_namespace_is_as_it_was() {
    if !met(&[Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("tproxy-traces").unwrap();
    network.pod.ip("addr del ::6/128 dev lo\n").unwrap();
    let look = || {
        ["ip rule", "ip -6 rule", "ip route show table all", "ip -6 route show table all", "nft list ruleset"]
            .map(|line| network.pod.command("sh").args(["-c", line]).run().unwrap_or_default())
    };
    let has_passthrough = || {
        let text = network.pod.command("ip").args(["-6", "addr", "show", "dev", "lo"]).run().unwrap();
        text.contains("inet6 ::6/128")
    };
    let before = look();
    let flags: Vec<&str> = FLAGS.into_iter().chain(["--dual-stack"]).collect();
    let sidestep = Sidestep::attach(&network.pod, &flags).unwrap();
    assert!(has_passthrough());
    let without_passthrough = |text: String| {
        text.lines().filter(|line| !line.contains("::6 ")).map(|line| format!("{line}\n")).collect()
    };
    let during: [String; 5] = look().map(without_passthrough);
    assert_eq!(during, before);
    // Attaching again must not forget who added it.
    let again = Sidestep::attach(&network.pod, &flags).unwrap();
    again.detach().unwrap();
    assert!(!has_passthrough());
    assert_eq!(look(), before);
    drop(sidestep);
}

#[test]
fn an_address_that_was_there_stays() {
    if !met(&[Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("tproxy-kept").unwrap();
    let flags: Vec<&str> = FLAGS.into_iter().chain(["--dual-stack"]).collect();
    Sidestep::attach(&network.pod, &flags).unwrap().detach().unwrap();
    let text = network.pod.command("ip").args(["-6", "addr", "show", "dev", "lo"]).run().unwrap();
    assert!(text.contains("inet6 ::6/128"), "{text}");
}
