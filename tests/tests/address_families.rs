//! IPv4, IPv6 and the v4-mapped form in between: SO_ORIGINAL_DST, getpeername and the source, as under iptables.

use std::net::SocketAddr;

use rstest::rstest;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::report::canonical;
use tests::server::{self, PROXY_USER, Server};

#[rstest]
fn outbound(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values(
        ("10.96.7.7:80", false, "10.96.7.7:80"),
        ("[fd00:96::7]:80", false, "[fd00:96::7]:80"),
        ("10.96.7.7:80", true, "[::ffff:10.96.7.7]:80")
    )]
    (service, mapped, peername): (&str, bool, &str),
) {
    if !plane.met(&[]) {
        return;
    }
    let (service, peername): (SocketAddr, SocketAddr) = (service.parse().unwrap(), peername.parse().unwrap());
    let network = Network::new("family-out").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();

    let connect = Connect::to(service);
    let connect = if mapped { connect.v4_mapped() } else { connect };
    let seen = connect.from(&network.pod).unwrap();
    let report = seen.report().unwrap();
    assert_eq!(report.listener.port(), 15001);
    assert_eq!(report.original_dst().address, Some(service));
    let other = if service.is_ipv4() { report.sol_ipv6 } else { report.sol_ip };
    assert!(other.errno.is_some(), "the other level has no answer: {other:?}");
    assert_eq!(seen.peername, Some(peername), "the app sees the peer it asked for, in the form it asked");
    let own = if service.is_ipv4() { network.pod4(0) } else { network.pod6(0) };
    assert_eq!(canonical(seen.sockname.unwrap()).ip(), own.ip());
    assert_eq!(report.peer, canonical(seen.sockname.unwrap()));
    under.assert_counted("O15", 1);
    under.assert_counted("original_dst", 1);
}

/// The sidecar's listener takes IPv4 as v4-mapped when it is one socket on [::] for both.
#[rstest]
fn outbound_to_a_dual_stack_sidecar(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values(("10.96.7.7:80", false), ("10.96.7.7:80", true), ("[fd00:96::7]:80", false))] (service, mapped): (&str, bool),
) {
    if !plane.met(&[]) {
        return;
    }
    let service: SocketAddr = service.parse().unwrap();
    let network = Network::new("family-dual").unwrap();
    let _under = plane.under(&network.pod).unwrap();
    let listen: SocketAddr = "[::]:15001".parse().unwrap();
    let _sidecar = Server::on(&network.pod).listen(listen).dual().user(PROXY_USER).start().unwrap();

    let connect = Connect::to(service);
    let connect = if mapped { connect.v4_mapped() } else { connect };
    let report = connect.from(&network.pod).unwrap().report().unwrap();
    assert_eq!(report.original_dst().address, Some(service), "{report:?}");
}

#[rstest]
fn inbound(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values(4, 6)] family: u8,
    #[values(false, true)] dual_stack_sidecar: bool,
) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("family-in").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let dual: SocketAddr = "[::]:15006".parse().unwrap();
    let sidecar = if dual_stack_sidecar {
        Server::on(&network.pod).listen(dual).dual().user(PROXY_USER)
    } else {
        server::stand_in(&network.pod)
    };
    let _sidecar = sidecar.start().unwrap();

    let to = if family == 4 { network.pod4(8080) } else { network.pod6(8080) };
    let seen = Connect::to(to).from(&network.outside).unwrap();
    let report = seen.report().unwrap();
    assert_eq!(report.listener.port(), 15006);
    assert_eq!(report.original_dst().address, Some(to), "{report:?}");
    assert_eq!(report.original_dst().length, Some(128), "optlen stays as the caller gave it");
    assert_eq!(canonical(report.peer), seen.sockname.unwrap(), "the client's address is kept");
    under.assert_counted("I6", 1);
}

/// Loopback is the app's own business.
#[rstest]
fn loopback_is_left_alone(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values("127.0.0.1:8080", "[::1]:8080", "10.10.0.26:8080")] to: SocketAddr,
) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("family-lo").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let sidecar = server::stand_in(&network.pod).start().unwrap();
    let _app = Server::on(&network.pod).listen(to).start().unwrap();

    let report = Connect::to(to).from(&network.pod).unwrap().report().unwrap();
    assert_eq!((report.local, report.peer.ip()), (to, to.ip()));
    assert!(sidecar.accepted().is_empty());
    under.assert_counted("O4", 1);
}
