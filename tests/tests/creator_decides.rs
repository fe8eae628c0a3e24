//! Who created the socket decides, with the effective ids of that moment, as xt_owner has it.

use std::net::SocketAddr;

use rstest::rstest;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::server::{self, APP_USER, PROXY_USER, Server};

/// Name, connection, whether it goes to the sidecar, and the rule that says so.
fn cases(service: SocketAddr) -> [(&'static str, Connect, bool, &'static str); 9] {
    let to = || Connect::to(service);
    [
        ("the app", to().user(APP_USER), true, "O15"),
        ("root", to().user((0, 0)), true, "O15"),
        ("the proxy's uid", to().user((1337, 1000)), false, "O5"),
        ("the proxy's gid", to().user((1000, 1337)), false, "O8"),
        ("the proxy, dropping to the app's uid", to().ids([0, 1337, 0, 0]).then_user(APP_USER), false, "O5"),
        ("the app, becoming the proxy", to().ids([0, 1000, 0, 1000]).then_user(PROXY_USER), true, "O15"),
        ("setgid: effective gid of the proxy", to().ids([1000, 1000, 1000, 1337]), false, "O8"),
        ("real gid of the proxy, effective one not", to().ids([1000, 1000, 1337, 1000]), true, "O15"),
        ("setuid: effective uid of the proxy", to().ids([1000, 1337, 1000, 1000]), false, "O5"),
    ]
}

#[rstest]
fn by_uid_and_gid(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
    #[values("10.96.7.7:80", "[fd00:96::7]:80")] service: SocketAddr,
) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("creator").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let any: SocketAddr = if service.is_ipv4() { "0.0.0.0:80" } else { "[::]:80" }.parse().unwrap();
    let _outside = Server::on(&network.outside).listen(any).start().unwrap();
    for (name, connect, captured, rule) in cases(service) {
        let report = connect.from(&network.pod).unwrap().report().unwrap();
        assert_eq!(report.listener.port() == 15001, captured, "{name}: {report:?}");
        under.assert_counted(rule, 1);
    }
    for (rule, times) in [("O15", 4), ("O5", 3), ("O8", 2)] {
        under.assert_counted(rule, times);
    }
}
