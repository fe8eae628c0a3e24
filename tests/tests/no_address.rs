//! connect and sendmsg to 0.0.0.0, `::` and `::ffff:0.0.0.0` mean the pod itself (Go's `Dial(":8080")`, curl, node): the
//! application gets them as under iptables, also where nobody listens for the sidecar.

use std::net::{IpAddr, SocketAddr};

use rstest::rstest;
use tests::answerer::Answerer;
use tests::client::Connect;
use tests::data_plane::{DataPlane, Under};
use tests::network::Network;
use tests::sample::{Attempt, Observed, Transport, observe};
use tests::server::{APP_USER, PROXY_USER, Server};

const PORT: u16 = 8080;

fn attempt(transport: Transport, to: &str, bind: Option<IpAddr>, v4_mapped: bool) -> Attempt {
    let (uid, gid) = APP_USER;
    let to = SocketAddr::new(to.parse().unwrap(), PORT);
    Attempt { transport, to, bind, uid, gid, v4_mapped }
}

fn no_route(under: &Under) -> u64 {
    match under {
        Under::Iptables => 0,
        Under::Sidestep(sidestep) => sidestep.event("no_route").unwrap(),
    }
}

#[rstest]
fn the_pod_itself_is_meant(#[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("no-address").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let app = Answerer {
        pod: &network.pod,
        name: "app",
        ports: &[PORT],
        user: APP_USER,
        transparent: false,
        loopback: false,
    };
    let _app = app.start().unwrap();
    let pod4 = network.pod4(0).ip();
    let pod6 = network.pod6(0).ip();
    let cases = [
        ("0.0.0.0", None, false, "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", None, true, "::ffff:127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", Some(pod4), false, "10.10.0.26", "10.10.0.26"),
        ("0.0.0.0", Some(pod4), true, "::ffff:10.10.0.26", "10.10.0.26"),
        ("::", None, false, "::1", "::1"),
        ("::", Some(pod6), false, "::1", "fd00:10::26"),
    ];
    for transport in [Transport::Tcp, Transport::UdpConnected, Transport::Udp] {
        let attempts: Vec<Attempt> =
            cases.iter().map(|(to, bind, mapped, ..)| attempt(transport, to, *bind, *mapped)).collect();
        let seen = observe(&network.pod, &attempts).unwrap();
        for ((to, bind, mapped, peername, source), seen) in cases.iter().zip(seen) {
            let case = format!("{transport:?} to {to} from {bind:?}, mapped: {mapped}");
            let Observed { answer, peername: shown, error, .. } = seen;
            let answer = answer.unwrap_or_else(|| panic!("{case}: {error:?}"));
            assert_eq!(
                (answer.who.as_str(), answer.peer.ip().to_string()),
                ("app:8080", (*source).into()),
                "{case}"
            );
            if transport != Transport::Udp {
                let peername = SocketAddr::new(peername.parse().unwrap(), PORT);
                assert_eq!(shown, Some(peername), "{case}");
            }
        }
    }
    // Four of the six connections and datagrams are IPv4 ones; both families have rules.
    under.assert_counted("O4", 12);
    assert_eq!(no_route(&under), 0);
}

/// The sidecar's own call to nowhere, bound to the pod's address, is one to its own pod: row O3.
#[rstest]
fn of_the_sidecar_too(#[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("no-address-own").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let inbound: SocketAddr = "0.0.0.0:15006".parse().unwrap();
    let _sidecar = Server::on(&network.pod).listen(inbound).user(PROXY_USER).start().unwrap();
    let to = "0.0.0.0:8080".parse().unwrap();
    let seen = Connect::to(to).bind(network.pod4(0)).user(PROXY_USER).from(&network.pod).unwrap();
    let report = seen.report().unwrap();
    assert_eq!(report.original_dst().address, Some(network.pod4(8080)));
    assert_eq!(seen.peername, Some(network.pod4(8080)));
    under.assert_counted("O3", 1);
}

/// What a resolver does before it sorts addresses: a UDP socket is connected to each, to see whether it can be reached.
/// `::` is what it asks for a server (AI_PASSIVE), and a host without IPv6 is told of IPv6 addresses all the same.
#[test]
fn a_resolvers_probe_is_no_event() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("no-address-probe").unwrap();
    network.pod.sysctl("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
    let under = DataPlane::Sidestep.under(&network.pod).unwrap();
    let probes = ["::", "0.0.0.0", "2001:db8::7", "fd00:96::7"];
    let attempts: Vec<Attempt> =
        probes.iter().map(|to| attempt(Transport::UdpConnected, to, None, false)).collect();
    observe(&network.pod, &attempts).unwrap();
    assert_eq!(no_route(&under), 0);
}
