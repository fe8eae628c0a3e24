//! Lists of the size nobody capped: 10,000 ranges, every port.

use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use proxy_common::{
    addr::Addr,
    policy::{Table as _, flag, port_flag, range_flag},
};
use proxy_core::compile::compile;
use proxy_core::config::{CidrSet, Config, PortSet};

use crate::topology;

const RANGES: u32 = 10_000;

#[test]
fn ten_thousand_ranges_and_every_port() {
    let net = |n: u32| IpNet::V4(Ipv4Net::new((0x0a00_0000 + (n << 8)).into(), 24).expect("a length"));
    let config = Config {
        outbound_include: CidrSet::List(vec!["10.0.0.0/8".parse().expect("a range")]),
        outbound_exclude: (0..RANGES).map(net).collect(),
        inbound_include: PortSet::List((1..=u16::MAX).collect()),
        outbound_ports_exclude: (1..=u16::MAX).filter(|port| port % 2 == 0).collect(),
        ..Config::default()
    };
    let (interfaces, routes) = topology::as_read();
    let started = Instant::now();
    let compiled = compile(&config, true, &interfaces, &routes);
    let took = started.elapsed();

    assert_eq!(compiled.ranges.len(), RANGES as usize + 1);
    let both = range_flag::OUTBOUND_INCLUDE | range_flag::OUTBOUND_EXCLUDE;
    assert_eq!(compiled.range(&Addr::v4([10, 39, 15, 1])), both, "the last of them");
    assert_eq!(compiled.range(&Addr::v4([10, 39, 16, 1])), range_flag::OUTBOUND_INCLUDE, "one further");
    assert_eq!(compiled.port(0), 0);
    assert_eq!(compiled.port(65534), port_flag::INBOUND_INCLUDE | port_flag::OUTBOUND_EXCLUDE);
    assert_eq!(compiled.port(65535), port_flag::INBOUND_INCLUDE);
    assert!(compiled.policy.has(flag::INBOUND_PORTS) && compiled.policy.has(flag::OUTBOUND_PORTS));
    // A debug build on a busy machine needs some 50 ms.
    assert!(took < Duration::from_secs(2), "{took:?}");
    eprintln!("compiled in {took:?}");
}
