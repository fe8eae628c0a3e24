//! Lists without a cap: 10,000 ranges and every port, from a file because one argument of a command line ends at 128 KiB.

use std::fmt::Write as _;
use std::time::Instant;

use tests::client::Connect;
use tests::network::Network;
use tests::requirement::{Requirement, met};
use tests::server::{Server, stand_in};
use tests::sidestep::Sidestep;

#[test]
fn ten_thousand_ranges_and_every_port() {
    if !met(&[Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("large").unwrap();
    let _sidecar = stand_in(&network.pod).start().unwrap();
    let any: std::net::SocketAddr = "0.0.0.0:80".parse().unwrap();
    let _service = Server::on(&network.outside).listen(any).start().unwrap();
    // 10.96.0.0/32, 10.96.0.2/32, ...: every other address of 10.96.0.0 to 10.96.78.30.
    let ranges: Vec<String> =
        (0..10_000u32).map(|n| format!("{}/32", std::net::Ipv4Addr::from(0x0a60_0000 + 2 * n))).collect();
    let ports: Vec<String> = (1..=u16::MAX).map(|port| port.to_string()).collect();
    let mut text = String::new();
    for (name, value) in [
        ("ISTIO_SERVICE_CIDR", "*".to_owned()),
        ("ISTIO_SERVICE_EXCLUDE_CIDR", ranges.join(",")),
        ("ISTIO_INBOUND_PORTS", ports.join(",")),
    ] {
        writeln!(text, "{name}='{value}'").unwrap();
    }
    let file = network.pod.scratch().join("large.env");
    std::fs::write(&file, text).unwrap();

    let started = Instant::now();
    let _sidestep = Sidestep::attach(&network.pod, &["--env-file", file.to_str().unwrap()]).unwrap();
    eprintln!("attached in {:?}", started.elapsed());

    let accepted_by = |to: &str| {
        let seen = Connect::to(to.parse().unwrap()).from(&network.pod).unwrap();
        seen.report().unwrap_or_else(|| panic!("{to}: {seen:?}")).listener.port()
    };
    assert_eq!(accepted_by("10.96.0.0:80"), 80, "the first excluded");
    assert_eq!(accepted_by("10.96.78.30:80"), 80, "the last excluded");
    assert_eq!(accepted_by("10.96.78.31:80"), 15001, "next to it");
    assert_eq!(accepted_by("10.96.78.32:80"), 15001, "after the last");
    for port in [1, 80, 65535] {
        let seen = Connect::to(network.pod4(port)).from(&network.outside).unwrap();
        let report = seen.report().unwrap_or_else(|| panic!("{port}: {seen:?}"));
        assert_eq!((report.listener.port(), report.local.port()), (15006, port));
    }
}
