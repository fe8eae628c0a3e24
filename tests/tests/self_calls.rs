//! Calls of the pod to its own addresses. The client's SYN tells of them: the lookup it meets cannot see where it comes
//! from, and an address alone proves nothing (`refresh.rs`).

use std::net::SocketAddr;
use std::time::Duration;

use rstest::rstest;
use tests::client::Connect;
use tests::data_plane::{DataPlane, Under};
use tests::network::Network;
use tests::report::Connected;
use tests::requirement::Requirement;
use tests::server::{self, APP_USER, PROXY_USER, Server};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};
use tests::wait::until;

const TRIED_WITHIN: Duration = Duration::from_secs(10);

fn taken_by(network: &Network, to: SocketAddr, user: (u32, u32)) -> u16 {
    Connect::to(to).user(user).from(&network.pod).unwrap().report().unwrap().listener.port()
}

#[rstest]
fn the_application_calls_itself_past_the_sidecar(
    #[values(DataPlane::Iptables, DataPlane::Sidestep)] plane: DataPlane,
) {
    if !plane.met(&[]) {
        return;
    }
    let network = Network::new("self-calls").unwrap();
    let under = plane.under(&network.pod).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let own = [network.pod4(8080), network.pod6(8080)];
    let _app = own.map(|at| Server::on(&network.pod).listen(at).start().unwrap());
    for at in own {
        assert_eq!(taken_by(&network, at, APP_USER), 8080, "{at}");
        let bound =
            Connect::to(at).bind(SocketAddr::new(at.ip(), 0)).user(APP_USER).from(&network.pod).unwrap();
        assert_eq!(bound.report().unwrap().listener.port(), 8080, "{at}");
        let arriving = Connect::to(at).from(&network.outside).unwrap().report().unwrap();
        assert_eq!(arriving.listener.port(), 15006, "{at}");
    }
    // The listener answers without remembering the SYN: the lookup comes again with the last packet of the handshake.
    network.pod.sysctl("net/ipv4/tcp_syncookies", "2").unwrap();
    for at in own {
        assert_eq!(taken_by(&network, at, APP_USER), 8080, "{at} by a cookie");
    }
    // Nobody listens there.
    assert!(Connect::to(network.pod4(8081)).user(APP_USER).from(&network.pod).unwrap().report().is_none());
    if let Under::Sidestep(sidestep) = &under {
        assert_eq!(sidestep.pending().unwrap(), 0, "none of them is waited for any more");
    }
}

/// Nobody tells of its calls: to the sidecar they come from outside.
#[test]
fn a_process_of_the_pod_outside_its_cgroup_arrives() {
    if !DataPlane::Sidestep.met(&[Requirement::Kernel("netns_cookie_in_sock_ops")]) {
        return;
    }
    let network = Network::new("self-calls-outside").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let _app = Server::on(&network.pod).listen(network.pod4(8080)).start().unwrap();
    let call = Connect::to(network.pod4(8080)).command(&network.pod).unwrap().outside_cgroup().unwrap();
    let seen: Connected = call.run_json().unwrap();
    assert_eq!(seen.report().unwrap().listener.port(), 15006);
}

/// Duplicate address detection tries the address when the pod is attached: the kernel has no route to it yet.
#[test]
fn an_address_that_is_still_tried_is_the_pods() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("self-calls-dad").unwrap();
    let at: SocketAddr = "[fd00:10::77]:8080".parse().unwrap();
    network.pod.sysctl("net/ipv6/conf/eth0/accept_dad", "1").unwrap();
    network.pod.sysctl("net/ipv6/conf/eth0/dad_transmits", "4").unwrap();
    network.pod.ip("addr add fd00:10::77/64 dev eth0").unwrap();
    let under = DataPlane::Sidestep.under(&network.pod).unwrap();
    let tried = || network.pod.command("ip").args(["-6", "addr", "show", "tentative"]).run().unwrap();
    assert!(tried().contains("fd00:10::77"), "too late to show anything: {}", tried());
    until("it is tried no more", TRIED_WITHIN, || !tried().contains("fd00:10::77"));
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let _app = Server::on(&network.pod).listen(at).start().unwrap();
    assert_eq!(taken_by(&network, at, APP_USER), 8080);
    assert_eq!(taken_by(&network, at, PROXY_USER), 15006);
    under.assert_counted("O3", 1);
}
