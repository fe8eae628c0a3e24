//! DNS capture: every reply comes from the server that was asked, whatever kind of resolver asks. The cases also run
//! under real iptables.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rstest::rstest;
use tests::dns::{self, ADDRESS4, ADDRESS6, Agent, Ask, NAME};
use tests::plane::{Plane, Planed};
use tests::process::Process;
use tests::requirement::{Requirement, met};
use tests::server::PROXY_USER;
use tests::wait::until;

const SEEN_WITHIN: Duration = Duration::from_secs(20);

#[rustfmt::skip]
const FLAGS: [&str; 20] = [
    "-p", "15001", "-z", "15006", "-u", "1337", "-g", "1337", "-m", "REDIRECT",
    "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020", "--redirect-dns", "--capture-all-dns",
];

struct Lab {
    planed: Planed,
    agent: Agent,
    _server: Process,
}

fn lab(name: &str, plane: Plane) -> Option<Lab> {
    if !met(&[dns::SERVER]) {
        return None;
    }
    let planed = plane.network(name, &FLAGS)?;
    let server = dns::server(&planed.network).unwrap();
    let agent = Agent::start(&planed.network).unwrap();
    Some(Lab { planed, agent, _server: server })
}

fn servers(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 53)).collect()
}

#[rstest]
fn one_socket_asks_several_servers(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let Some(lab) = lab("dns-many", plane) else { return };
    let network = &lab.planed.network;
    let many: Vec<String> = (1..=16).map(|i| format!("10.96.0.{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let cases: &[(&str, &[&str])] = &[
        ("one", &["10.96.0.10"]),
        ("three", &["10.96.0.10", "10.10.0.9", "10.96.0.11"]),
        ("three, IPv6", &["fd00:96::10", "fd00:10::9", "fd00:96::11"]),
        ("musl, both families", &["10.96.0.10", "fd00:96::10", "fd00:96::11", "10.96.0.11"]),
        ("stub, and another", &["127.0.0.53", "10.96.0.10"]),
        ("another, and the stub", &["10.96.0.10", "127.0.0.53", "::1"]),
        ("the pod's own", &["10.96.0.10", "10.10.0.26", "fd00:96::10", "fd00:10::26"]),
        ("as many as there are slots, and the first", &many),
    ];
    for (name, list) in cases {
        for answer in Ask::new(servers(list)).rounds(3).from(&network.pod).unwrap() {
            assert_eq!(answer.from, Some(answer.server), "{name}: {answer:?}");
            assert_eq!(answer.addresses, [ADDRESS4.parse::<IpAddr>().unwrap()], "{name}: {answer:?}");
        }
    }
    assert_eq!(lab.planed.event("dns_many_servers"), 0);
}

#[rstest]
fn one_connected_socket_for_each_server(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let Some(lab) = lab("dns-connected", plane) else { return };
    let list = servers(&["10.96.0.10", "10.96.0.11", "fd00:96::10", "127.0.0.53", "::1"]);
    for ask in [Ask::new(list.clone()).connected(), Ask::new(list).connected().bound()] {
        for answer in ask.from(&lab.planed.network.pod).unwrap() {
            let server = Some(answer.server);
            assert_eq!((answer.from, answer.peername), (server, server), "{answer:?}");
            assert!(!answer.addresses.is_empty(), "{answer:?}");
        }
    }
    // A socket with a port cannot be bound to the pod's address once more.
    assert_eq!(lab.planed.event("source_not_kept"), if plane == Plane::Sidestep { 3 } else { 0 });
}

/// The agent sees the pod, as it does under iptables; only a socket's second server cannot be had that way.
#[rstest]
fn the_agent_sees_the_pod(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let Some(lab) = lab("dns-source", plane) else { return };
    let network = &lab.planed.network;
    let cases = [
        ("v4", Ask::new(servers(&["10.96.0.10"])), IpAddr::V4(network.addresses.pod4)),
        ("v6", Ask::new(servers(&["fd00:96::10"])), IpAddr::V6(network.addresses.pod6)),
        ("v4 connected", Ask::new(servers(&["10.96.0.10"])).connected(), IpAddr::V4(network.addresses.pod4)),
        ("v6 connected", Ask::new(servers(&["fd00:96::10"])).connected(), IpAddr::V6(network.addresses.pod6)),
        ("v4 loopback", Ask::new(servers(&["127.0.0.53"])), "127.0.0.1".parse().unwrap()),
    ];
    for (name, ask, source) in cases {
        let before = lab.agent.queries().len();
        ask.from(&network.pod).unwrap();
        // The answer may be there before the agent's record of the question.
        until("the agent records it", SEEN_WITHIN, || lab.agent.queries().len() > before);
        assert_eq!(lab.agent.queries().last().unwrap().client.ip(), source, "{name}");
    }
}

/// A socket bound to one address cannot be answered at an alias: the last server asked is shown, and that is counted.
#[test]
fn a_bound_socket_is_counted() {
    let Some(lab) = lab("dns-bound", Plane::Sidestep) else { return };
    let network = &lab.planed.network;
    let pod = IpAddr::V4(network.addresses.pod4);
    let list = servers(&["10.96.0.10", "10.96.0.11"]);
    let answers = Ask::new(list.clone()).bind(pod).from(&network.pod).unwrap();
    assert!(
        answers.iter().all(|answer| !answer.addresses.is_empty() && answer.from == Some(list[1])),
        "{answers:?}"
    );
    assert_eq!(lab.planed.event("dns_many_servers"), 1);
    let one = Ask::new([list[0]]).bind(pod).rounds(3).from(&network.pod).unwrap();
    assert!(one.iter().all(|answer| answer.from == Some(list[0])), "{one:?}");
    assert_eq!(lab.planed.event("dns_many_servers"), 1);
}

/// More servers than slots: the newest ones are right.
#[test]
fn too_many_servers_are_counted() {
    let Some(lab) = lab("dns-slots", Plane::Sidestep) else { return };
    let list: Vec<String> = (1..=18).map(|i| format!("10.96.0.{i}")).collect();
    let list = servers(&list.iter().map(String::as_str).collect::<Vec<_>>());
    let answers = Ask::new(list).from(&lab.planed.network.pod).unwrap();
    assert!(answers.iter().all(|answer| !answer.addresses.is_empty()), "{answers:?}");
    assert_eq!(lab.planed.event("dns_many_servers"), 1);
    // The second server lost its slot to the last.
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer.from == Some(answer.server), index != 1, "{answer:?}");
    }
}

#[rstest]
fn the_sidecar_asks_directly(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    let Some(lab) = lab("dns-proxy", plane) else { return };
    let list = servers(&["10.96.0.10", "10.96.0.11", "fd00:96::10"]);
    for ask in [Ask::new(list.clone()), Ask::new(list).connected()] {
        for answer in ask.from_user(&lab.planed.network.pod, PROXY_USER).unwrap() {
            assert_eq!(answer.from, Some(answer.server), "{answer:?}");
        }
    }
    assert_eq!(lab.agent.queries(), []);
}

/// Programs people use. dig checks where a reply comes from; getent is glibc's resolver.
#[rstest]
fn dig_and_getent_resolve(#[values(Plane::Iptables, Plane::Sidestep)] plane: Plane) {
    if !met(&[Requirement::Program("dig", "bind9-dnsutils"), Requirement::Program("unshare", "util-linux")]) {
        return;
    }
    let Some(lab) = lab("dns-programs", plane) else { return };
    let pod = &lab.planed.network.pod;
    let cases: &[(&str, &[&str], &str)] = &[
        ("dig", &["@10.96.0.10", NAME, "A", "+short"], ADDRESS4),
        ("dig", &["@fd00:96::10", NAME, "AAAA", "+short"], ADDRESS6),
        ("dig", &["@127.0.0.53", NAME, "A", "+short"], ADDRESS4),
        ("dig", &["+tcp", "@10.96.0.10", NAME, "A", "+short"], ADDRESS4),
        ("dig", &["+tcp", "@fd00:96::10", NAME, "AAAA", "+short"], ADDRESS6),
        ("getent", &["ahostsv4", NAME], ADDRESS4),
        ("getent", &["ahostsv6", NAME], ADDRESS6),
    ];
    let resolv = pod.scratch().join("resolv.conf");
    std::fs::write(&resolv, "nameserver 10.96.0.10\nnameserver fd00:96::10\nnameserver 10.96.0.11\n")
        .unwrap();
    let nsswitch = pod.scratch().join("nsswitch.conf");
    std::fs::write(&nsswitch, "hosts: dns\n").unwrap();
    let mount = format!(
        "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/nsswitch.conf && \
         exec setpriv --reuid 1000 --regid 1000 --clear-groups \"$@\"",
        resolv.display(),
        nsswitch.display()
    );
    for (program, args, expected) in cases {
        let command = pod.command("unshare").args(["-m", "sh", "-c", &mount, "sh", program]).args(*args);
        let text = command.run().unwrap();
        assert!(text.contains(expected), "{program} {args:?}: {text}");
    }
    // The answer may be there before the agent's record of the question.
    let tcp_seen = || lab.agent.queries().iter().filter(|query| query.tcp).count();
    until("the agent records both over TCP", SEEN_WITHIN, || tcp_seen() >= 2);
    let tcp: Vec<_> = lab.agent.queries().into_iter().filter(|query| query.tcp).collect();
    assert_eq!(
        tcp.iter().map(|query| query.original_dst).collect::<Vec<_>>(),
        servers(&["10.96.0.10", "fd00:96::10"]).into_iter().map(Some).collect::<Vec<_>>()
    );
}

/// A query over TCP that nobody takes leaves nothing when it is given up. (What UDP remembers is in the socket's own
/// storage, which the kernel frees with the socket.)
#[test]
fn nothing_is_left_behind() {
    if !met(&[Requirement::Program("dig", "bind9-dnsutils")]) {
        return;
    }
    let Some(planed) = Plane::Sidestep.network("dns-left", &FLAGS) else { return };
    let (pod, sidestep) = (&planed.network.pod, planed.sidestep().unwrap());
    let unanswered = "*filter\n-A INPUT -p tcp --dport 15053 -j DROP\nCOMMIT\n";
    for restore in ["iptables-nft-restore", "ip6tables-nft-restore"] {
        pod.command(restore).input(unanswered).run().unwrap();
    }
    for server in ["@10.96.0.10", "@fd00:96::10"] {
        let ask = pod.command("dig").args(["+tcp", "+tries=1", "+time=60", server, NAME]).user(1000, 1000);
        let asking = ask.spawn().unwrap();
        until("it waits to be accepted", SEEN_WITHIN, || sidestep.pending().unwrap() == 1);
        drop(asking);
        until("it is forgotten", SEEN_WITHIN, || sidestep.pending().unwrap() == 0);
    }
    assert_eq!(sidestep.rule("O10").unwrap(), 2);
}

/// Without an agent nobody answers, and no packet of it leaves the pod, not even as an error.
#[test]
fn without_an_agent_nothing_leaves() {
    let Some(planed) = Plane::Sidestep.network("dns-absent", &FLAGS) else { return };
    let network = &planed.network;
    let aliases = "*filter\n-A OUTPUT -o eth0 -d 100::/64\nCOMMIT\n";
    network.pod.command("ip6tables-nft-restore").input(aliases).run().unwrap();
    let list = servers(&["fd00:96::10", "fd00:96::11", "10.96.0.10", "10.96.0.11"]);
    let answers = Ask::new(list).within(Duration::from_millis(300)).from(&network.pod).unwrap();
    assert!(answers.iter().all(|answer| answer.from.is_none()), "{answers:?}");
    let counted = network.pod.command("ip6tables-nft-save").args(["-c", "-t", "filter"]).run().unwrap();
    assert!(counted.contains("[0:0] -A OUTPUT -d 100::/64"), "{counted}");
}
