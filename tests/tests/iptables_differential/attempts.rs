//! Random connections, most of them to where the settings make a difference.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;
use proptest::sample::select;
use tests::sample::{Attempt, Transport};

use crate::rule_set::RuleSet;
use crate::testbed::APP_PORTS;

/// Addresses of the pod, by family. One of each is on lo and reached from outside over eth1.
const OWN4: [&str; 4] = ["10.10.0.26", "10.20.0.26", "10.30.0.26", "10.40.0.26"];
const OWN6: [&str; 4] = ["fd00:10::26", "fd00:20::26", "fd00:30::26", "fd00:40::26"];
const LOOPBACK: [&str; 6] = ["127.0.0.1", "127.0.0.6", "127.0.0.53", "127.1.2.3", "::1", "::6"];
/// By eth0, eth1, eth2, and nowhere.
const FAR: [&str; 13] = [
    "10.10.0.9",
    "10.96.7.7",
    "10.96.0.10",
    "1.1.1.1",
    "fd00:10::9",
    "fd00:96::7",
    "2001:db8::7",
    "10.20.0.9",
    "10.77.1.1",
    "fd00:77::1",
    "10.88.1.1",
    "fd00:88::1",
    "10.99.1.1",
];

/// No host's: the kernel takes the first two for the pod itself, and has no TCP to the others.
const NO_HOST: [&str; 5] = ["0.0.0.0", "::", "224.0.0.7", "255.255.255.255", "ff02::7"];

/// From a process in the pod.
pub(crate) fn inside(set: &RuleSet) -> impl Strategy<Value = Attempt> + use<> {
    let to = prop_oneof![
        3 => select([&OWN4[..], &OWN6[..]].concat()),
        2 => select(&LOOPBACK[..]),
        6 => select(&FAR[..]),
        1 => select(&NO_HOST[..]),
    ];
    let uids = [&set.uids[..], &[0, 1000, 1337]].concat();
    let gids = [&set.gids[..], &set.groups, &[0, 1000, 1337]].concat();
    let from = (select(uids), select(gids), 0..8u8, 0..8u8);
    (transport(), to, port(set), from).prop_map(|(transport, to, port, (uid, gid, bound, mapped))| {
        let to: IpAddr = to.parse().expect("an address");
        // Datagrams to many hosts are answered by whoever hears them.
        let many = to.is_multicast() || to == IpAddr::V4(Ipv4Addr::BROADCAST);
        let transport = if many { Transport::Tcp } else { transport };
        Attempt {
            transport,
            to: SocketAddr::new(to, port),
            bind: source(to, bound),
            uid,
            gid,
            v4_mapped: to.is_ipv4() && mapped == 0,
        }
    })
}

/// From the outside, to each of the pod's interfaces.
pub(crate) fn outside(set: &RuleSet) -> impl Strategy<Value = Attempt> + use<> {
    let to = select([&OWN4[..], &OWN6[..]].concat());
    (transport(), to, port(set)).prop_map(|(transport, to, port)| {
        let to = SocketAddr::new(to.parse().expect("an address"), port);
        Attempt { transport, to, bind: None, uid: 1000, gid: 1000, v4_mapped: false }
    })
}

/// What the client binds to: mostly nothing, else the passthrough source, loopback, or an address of the pod.
fn source(to: IpAddr, bound: u8) -> Option<IpAddr> {
    let text = match (to.is_ipv4(), bound) {
        (true, 0) => "127.0.0.6",
        (true, 1) => "127.0.0.1",
        (true, 2) => "10.20.0.26",
        (false, 0) => "::6",
        (false, 1) => "::1",
        (false, 2) => "fd00:20::26",
        _ => return None,
    };
    Some(text.parse().expect("an address"))
}

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![6 => Just(Transport::Tcp), 1 => Just(Transport::Udp), 1 => Just(Transport::UdpConnected)]
}

fn port(set: &RuleSet) -> impl Strategy<Value = u16> + use<> {
    let listed = if set.ports.is_empty() { vec![80] } else { set.ports.clone() };
    // 7 is where nobody listens.
    prop_oneof![
        3 => select(listed),
        4 => select(&APP_PORTS[..]),
        2 => Just(53),
        1 => select(&[15001, 15006, 7][..]),
    ]
}
