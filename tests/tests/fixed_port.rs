//! A source port that is used again for another destination, while the first connection is open: a socket bound to a port
//! alone, or to an address and a port. As under iptables, each reaches the sidecar with its own original destination.

use std::net::SocketAddr;

use rstest::rstest;
use tests::client::from_one_port;
use tests::data_plane::{DataPlane, Under};
use tests::network::Network;
use tests::report::canonical;
use tests::server;

const PORT: u16 = 41_000;
const DESTINATIONS: u16 = 20;

#[rstest]
fn many_destinations_from_one_port(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values(
        ("0.0.0.0", "10.96.7.7"),
        ("10.10.0.26", "10.96.7.7"),
        ("[::]", "10.96.7.7"),
        ("[::]", "[fd00:96::7]"),
        ("[fd00:10::26]", "[fd00:96::7]"),
        // The kernel refuses such a source to another host for IPv4 alone.
        ("[::1]", "[fd00:96::7]")
    )]
    (bind, service): (&str, &str),
) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("fixed-port").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let _sidecar = server::stand_in(&network.pod).hold().start().unwrap();
    let destinations: Vec<SocketAddr> =
        (0..DESTINATIONS).map(|more| format!("{service}:{}", 80 + more).parse().unwrap()).collect();
    let all = from_one_port(&network.pod, format!("{bind}:{PORT}").parse().unwrap(), &destinations).unwrap();
    for (to, connected) in destinations.iter().zip(&all) {
        let report = connected.report().unwrap_or_else(|| panic!("{to}: {connected:?}"));
        assert_eq!(report.listener.port(), 15001, "{to}: {report:?}");
        assert_eq!(report.original_dst().address, Some(*to), "{report:?}");
        assert_eq!(connected.peername.map(canonical), Some(*to));
        let source = canonical(connected.sockname.unwrap());
        let own = match bind {
            "[::1]" => "[::1]:0".parse().unwrap(),
            _ if to.is_ipv4() => network.pod4(0),
            _ => network.pod6(0),
        };
        assert_eq!(source, SocketAddr::new(own.ip(), PORT), "{to}");
        // NAT gives a second connection of one port another one; there is no NAT.
        assert_eq!(report.peer.ip().to_canonical(), source.ip(), "{report:?}");
        if plane == DataPlane::Sidestep {
            assert_eq!(canonical(report.peer), source, "{report:?}");
        }
    }
    assert_eq!(all.len(), destinations.len());
    under.assert_counted("O15", u64::from(DESTINATIONS));
    if let Under::Sidestep(sidestep) = &under {
        assert_eq!(sidestep.event("source_not_kept").unwrap(), 0);
        assert_eq!(sidestep.rule("I6").unwrap(), 0, "nothing came from outside");
    }
}

/// Nobody listens for the sidecar: refused, not let through.
#[rstest]
fn without_a_sidecar_they_are_refused(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values(("0.0.0.0", "10.96.7.7:80"), ("[::]", "[fd00:96::7]:80"))] (bind, service): (&str, &str),
) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("fixed-port-no").unwrap();
    let _under = plane.under(&network.pod).unwrap();
    let outside: SocketAddr =
        if service.starts_with('[') { "[::]:80" } else { "0.0.0.0:80" }.parse().unwrap();
    let _server = server::Server::on(&network.outside).listen(outside).start().unwrap();
    let bind = format!("{bind}:{PORT}").parse().unwrap();
    let all = from_one_port(&network.pod, bind, &[service.parse().unwrap()]).unwrap();
    assert_eq!(all[0].failure.as_ref().map(|failure| failure.errno), Some(libc::ECONNREFUSED), "{all:?}");
}
