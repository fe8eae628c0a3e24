//! Where a connection goes on to, and from which address.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{args::Mode, listener::Direction, original_dst::OriginalDst};

/// Istio's default for a cluster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The sources Istio's inbound passthrough clusters bind; the capture rules leave them alone.
const SIDECAR_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const SIDECAR_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// How inbound connections are forwarded.
#[derive(Debug)]
pub(super) struct Forwarding {
    pub(super) mode: Mode,
    /// Ports that `Mode::Lo` sends to loopback; `None` is every port.
    pub(super) declared: Option<BTreeSet<u16>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// It was addressed to the relay itself: forwarding it would come straight back (Istio's BlackHoleCluster).
    Blackhole,
    Connect {
        to: SocketAddr,
        from: Option<IpAddr>,
    },
}

impl Forwarding {
    /// The decision for a connection that arrived on a listener with port `own_port`.
    pub(super) fn route(&self, direction: Direction, own_port: u16, original: OriginalDst) -> Route {
        let OriginalDst(to) = original;
        if to.port() == own_port {
            return Route::Blackhole;
        }
        match direction {
            Direction::Outbound => Route::Connect { to, from: None },
            Direction::Inbound if self.mode == Mode::Lo && self.declares(to.port()) => {
                Route::Connect { to: SocketAddr::new(loopback(to), to.port()), from: None }
            }
            Direction::Inbound => Route::Connect { to, from: Some(sidecar(to)) },
        }
    }

    fn declares(&self, port: u16) -> bool {
        self.declared.as_ref().is_none_or(|ports| ports.contains(&port))
    }
}

fn loopback(to: SocketAddr) -> IpAddr {
    if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

fn sidecar(to: SocketAddr) -> IpAddr {
    if to.is_ipv4() { SIDECAR_V4.into() } else { SIDECAR_V6.into() }
}

/// Connects to `to`, from the address `from` if given.
///
/// # Errors
/// Those of bind(2) and connect(2), and `TimedOut`.
pub(super) async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        // The port is then chosen at connect time and shared between destinations, as Envoy does it: without this
        // one source address holds no more than one port range of connections.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream =
        timeout(CONNECT_TIMEOUT, socket.connect(to)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{BTreeSet, Direction, Forwarding, Mode, OriginalDst, Route};

    const POD4: &str = "10.244.0.2:8080";
    const POD6: &str = "[fd00::2]:8080";

    #[rstest]
    #[case::outbound(Direction::Outbound, Mode::Lo, &[], "1.1.1.1:80", Some(("1.1.1.1:80", None)))]
    #[case::outbound_to_another_pods_inbound(
        Direction::Outbound, Mode::Eth0, &[], "10.0.0.9:15006", Some(("10.0.0.9:15006", None)))]
    #[case::outbound_to_itself(Direction::Outbound, Mode::Eth0, &[], "127.0.0.1:15001", None)]
    #[case::inbound_to_itself(Direction::Inbound, Mode::Lo, &[], "10.244.0.2:15006", None)]
    #[case::eth0(Direction::Inbound, Mode::Eth0, &[], POD4, Some((POD4, Some("127.0.0.6"))))]
    #[case::eth0_v6(Direction::Inbound, Mode::Eth0, &[], POD6, Some((POD6, Some("::6"))))]
    #[case::eth0_ignores_declared(Direction::Inbound, Mode::Eth0, &[8080], POD4, Some((POD4, Some("127.0.0.6"))))]
    #[case::lo_all_ports(Direction::Inbound, Mode::Lo, &[], POD4, Some(("127.0.0.1:8080", None)))]
    #[case::lo_v6(Direction::Inbound, Mode::Lo, &[], POD6, Some(("[::1]:8080", None)))]
    #[case::lo_declared(Direction::Inbound, Mode::Lo, &[80, 8080], POD4, Some(("127.0.0.1:8080", None)))]
    #[case::lo_undeclared(Direction::Inbound, Mode::Lo, &[80], POD4, Some((POD4, Some("127.0.0.6"))))]
    fn route(
        #[case] direction: Direction,
        #[case] mode: Mode,
        #[case] declared: &[u16],
        #[case] original: &str,
        #[case] want: Option<(&str, Option<&str>)>,
    ) {
        let declared: BTreeSet<u16> = declared.iter().copied().collect();
        let forwarding = Forwarding { mode, declared: (!declared.is_empty()).then_some(declared) };
        let own_port = if direction == Direction::Outbound { 15001 } else { 15006 };
        let want = want.map_or(Route::Blackhole, |(to, from)| Route::Connect {
            to: to.parse().unwrap(),
            from: from.map(|ip| ip.parse().unwrap()),
        });
        let original = OriginalDst(original.parse().unwrap());
        assert_eq!(forwarding.route(direction, own_port, original), want);
    }
}
