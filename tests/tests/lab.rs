//! The lab itself: what a pod is, and that the lab sees the kernel as it is.

use std::net::SocketAddr;

use tests::client::Connect;
use tests::crowd::{Crowd, Expect};
use tests::network::Network;
use tests::pod::Pod;
use tests::report::Outcome;
use tests::server::{APP_USER, Server};

#[test]
fn a_pod_leaves_nothing_behind() {
    let pod = Pod::new("gone").unwrap();
    let (cgroup, netns, scratch) = (pod.cgroup().to_owned(), pod.netns(), pod.scratch().to_owned());
    let sleeper = pod.command("sleep").arg("1000").spawn().unwrap();
    assert!(cgroup.exists() && netns.exists() && scratch.exists());
    drop(pod);
    assert!(cgroup.exists(), "a process holds its pod");
    drop(sleeper);
    assert!(!cgroup.exists() && !netns.exists() && !scratch.exists());
}

#[test]
fn a_process_is_in_its_pod_as_its_user() {
    let pod = Pod::new("inside").unwrap();
    let script = "id -u; id -g; cat /proc/self/cgroup; stat -Lc %i /proc/self/ns/net";
    let text = pod.command("sh").args(["-c", script]).user(1234, 5678).run().unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["1234", "5678"]);
    let name = pod.cgroup().file_name().unwrap().to_str().unwrap();
    assert!(text.contains(&format!("0::/{name}")), "{text}");
    assert_eq!(lines.last().unwrap().parse::<u64>().unwrap(), pod.netns_inode().unwrap());
}

#[test]
fn two_networks_with_the_same_addresses_are_apart() {
    let networks = [Network::new("twin-a").unwrap(), Network::new("twin-b").unwrap()];
    let servers: Vec<_> = networks
        .iter()
        .map(|network| {
            Server::on(&network.pod).listen(network.pod4(8080)).banner(network.pod.name()).start().unwrap()
        })
        .collect();
    for network in &networks {
        let answer = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
        assert_eq!(answer.received.trim(), network.pod.name());
    }
    assert!(servers.iter().all(|server| server.wait_accepted_count(1).unwrap().len() == 1));
}

#[test]
fn a_connection_is_reported_by_both_ends() {
    let network = Network::new("ends").unwrap();
    let service4: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let service6: SocketAddr = "[fd00:96::7]:80".parse().unwrap();
    let server = Server::on(&network.outside)
        .listen("0.0.0.0:80".parse::<SocketAddr>().unwrap())
        .listen("[::]:80".parse::<SocketAddr>().unwrap())
        .start()
        .unwrap();
    let cases = [
        ("v4", Connect::to(service4), service4),
        ("non-blocking", Connect::to(service4).nonblocking(), service4),
        ("v6", Connect::to(service6), service6),
        ("v4-mapped", Connect::to(service4).v4_mapped(), "[::ffff:10.96.7.7]:80".parse().unwrap()),
        ("user after socket", Connect::to(service4).user((0, 0)).then_user(APP_USER), service4),
    ];
    for (name, connect, peername) in cases {
        let seen = connect.from(&network.pod).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "{name}: {seen:?}");
        assert_eq!(seen.peername, Some(peername), "{name}");
        let sockname = tests::report::canonical(seen.sockname.unwrap());
        assert_eq!(seen.report().unwrap().peer, sockname, "{name}");
    }
    assert_eq!(server.wait_accepted_count(5).unwrap().len(), 5);
}

#[test]
fn endings_are_told_apart() {
    let network = Network::new("endings").unwrap();
    let refused = Connect::to(network.pod4(1)).from(&network.outside).unwrap();
    assert_eq!(refused.outcome(), Outcome::Refused, "{refused:?}");
    let silent = Server::on(&network.pod).listen(network.pod4(8080)).silent().start().unwrap();
    let within = std::time::Duration::from_millis(200);
    let timeout = Connect::to(network.pod4(8080)).within(within).from(&network.outside).unwrap();
    assert_eq!(timeout.outcome(), Outcome::Timeout, "{timeout:?}");
    drop(silent);
}

#[test]
fn a_crowd_reaches_a_thousand_services() {
    let network = Network::new("crowd").unwrap();
    let _server = Server::on(&network.outside)
        .listen("0.0.0.0:80".parse::<SocketAddr>().unwrap())
        .hold()
        .start()
        .unwrap();
    let crowd = Crowd::to("10.96.0.0/16", 80, 1000).expect(Expect::Local).open(&network.pod).unwrap();
    assert_eq!((crowd.counts.connected, crowd.counts.mismatches), (1000, 0), "{:?}", crowd.counts);
}
