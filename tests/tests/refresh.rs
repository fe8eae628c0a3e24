//! Addresses and routes that change after attach. Until somebody looks again, what iptables would capture is refused
//! (docs/limitations.md): nothing passes the sidecar. `Node::refresh` looks again, and from then on decisions are made by
//! what is there.

use std::net::SocketAddr;
use std::path::Path;

use proxy_plane::cgroup::Cgroup;
use proxy_plane::dataplane::{Node, WorkloadPins};
use proxy_plane::netns::Netns;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::report::Outcome;
use tests::requirement::Requirement;
use tests::server::{self, APP_USER, Server};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

/// What tells which route a connection takes.
const LIVE: [Requirement; 1] = [Requirement::Kernel("netns_cookie_in_sock_ops")];
const MOVED: &str = "10.97.1.50";

/// Looks at the pod again; whether anything was found to be different.
fn refresh(network: &Network) -> bool {
    let netns = Netns::open(&network.pod.netns()).unwrap();
    let cgroup = Cgroup::open(Path::new(network.pod.cgroup())).unwrap();
    Node::open().unwrap().refresh(&WorkloadPins::new(&netns, &cgroup)).unwrap()
}

/// The port that took a connection of the app, or none.
fn taken_by(network: &Network, to: SocketAddr) -> Option<u16> {
    let seen = Connect::to(to).user(APP_USER).from(&network.pod).unwrap();
    seen.report().map(|report| report.listener.port())
}

/// Connections refused because the route the kernel took is not the one that was known.
fn refusals(sidestep: &Sidestep) -> u64 {
    sidestep.event("route_changed").unwrap()
}

#[test]
fn nothing_new_changes_nothing() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("refresh-none").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let before = sidestep.meta().unwrap();
    assert!(!refresh(&network));
    assert_eq!(sidestep.meta().unwrap(), before);
}

/// The pod's second address becomes another pod's: what goes there is captured, and what comes from there.
#[test]
fn an_address_that_moves_away_is_no_longer_the_pods() {
    if !DataPlane::Sidestep.met(&LIVE) {
        return;
    }
    let network = Network::new("refresh-moved").unwrap();
    network.pod.ip(&format!("addr add {MOVED}/32 dev eth0")).unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    network.pod.ip(&format!("addr del {MOVED}/32 dev eth0")).unwrap();
    network.outside.ip(&format!("addr add {MOVED}/32 dev veth0")).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let _app = Server::on(&network.pod).listen(network.pod4(8080)).start().unwrap();
    let there: SocketAddr = format!("{MOVED}:8000").parse().unwrap();
    let _other = Server::on(&network.outside).listen(there).start().unwrap();
    let arriving = || {
        let from = Connect::to(network.pod4(8080))
            .bind(SocketAddr::new(there.ip(), 0))
            .from(&network.outside)
            .unwrap();
        from.report().unwrap().listener.port()
    };
    assert_eq!((taken_by(&network, there), arriving()), (None, 15006), "refused, and captured");
    assert_eq!(refusals(&sidestep), 1);
    assert!(refresh(&network));
    assert_eq!((taken_by(&network, there), arriving()), (Some(15001), 15006));
    // And the other way: it comes back.
    network.outside.ip(&format!("addr del {MOVED}/32 dev veth0")).unwrap();
    network.pod.ip(&format!("addr add {MOVED}/32 dev eth0")).unwrap();
    let _own = Server::on(&network.pod).listen(there).start().unwrap();
    assert!(refresh(&network));
    assert_eq!(taken_by(&network, there), Some(8000));
    let addresses = sidestep.meta().unwrap()["addresses"].to_string();
    assert!(addresses.contains(MOVED), "{addresses}");
}

/// A prefix the kernel refused gets a route, loses it, and gets another.
#[test]
fn a_prefix_that_gets_a_route_is_captured() {
    if !DataPlane::Sidestep.met(&LIVE) {
        return;
    }
    let network = Network::new("refresh-route").unwrap();
    network.pod.ip("route add unreachable 203.0.113.0/24").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let there: SocketAddr = "203.0.113.7:80".parse().unwrap();
    let refused = Connect::to(there).user(APP_USER).from(&network.pod).unwrap();
    assert_ne!(refused.outcome(), Outcome::Answered, "{refused:?}");
    let way =
        |verb: &str| network.pod.ip(&format!("route {verb} 203.0.113.0/24 via {}", network.outside4(0).ip()));
    network.pod.ip("route del unreachable 203.0.113.0/24").unwrap();
    way("add").unwrap();
    network.answer_for("203.0.113.0/24").unwrap();
    let _other = Server::on(&network.outside).listen(there).start().unwrap();
    assert_eq!((taken_by(&network, there), refusals(&sidestep)), (None, 1), "not told of the route yet");
    assert!(refresh(&network));
    assert_eq!(taken_by(&network, there), Some(15001));
    way("del").unwrap();
    network.pod.ip("route add unreachable 203.0.113.0/24").unwrap();
    assert!(refresh(&network));
    let refused = Connect::to(there).user(APP_USER).from(&network.pod).unwrap();
    assert_ne!(refused.outcome(), Outcome::Answered, "{refused:?}");
    network.pod.ip("route replace 203.0.113.0/24 dev eth0").unwrap();
    assert!(refresh(&network));
    assert_eq!(taken_by(&network, there), Some(15001));
}
