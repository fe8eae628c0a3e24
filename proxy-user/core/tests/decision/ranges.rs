//! One longest-prefix match against a look at every range of the lists.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::{collection::vec, prelude::*, sample::select};
use proxy_common::policy::{Table as _, range_flag};
use proxy_core::compile::compile;
use proxy_core::config::{CidrSet, Config, DnsCapture, DnsServers};

use crate::topology;

/// Addresses of few different bits, so that ranges nest and meet.
fn ip() -> impl Strategy<Value = IpAddr> {
    let octet = || select(&[0u8, 1, 2, 127, 128, 255][..]);
    prop_oneof![
        [octet(), octet(), octet(), octet()].prop_map(IpAddr::from),
        [octet(), octet(), octet(), octet()]
            .prop_map(|[a, b, c, d]| { IpAddr::from([a, b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, c, d]) }),
    ]
}

fn net() -> impl Strategy<Value = IpNet> {
    (ip(), 0..=128u8).prop_map(|(ip, length)| {
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        IpNet::new(ip, length.min(longest)).expect("a length")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_match_finds_what_every_range_says(
        include in vec(net(), 0..30),
        exclude in vec(net(), 0..30),
        servers in vec(ip(), 0..5),
        asked in vec(ip(), 100),
    ) {
        let config = Config {
            outbound_include: CidrSet::List(include.clone()),
            outbound_exclude: exclude.clone(),
            dns: Some(DnsCapture { servers: DnsServers::List(servers.clone()) }),
            ..Config::default()
        };
        let (interfaces, routes) = topology::as_read();
        let compiled = compile(&config, true, &interfaces, &routes);
        // Addresses at the ranges' own edges are asked too.
        let edges = include.iter().chain(&exclude).flat_map(|net| [net.network(), net.broadcast()]);
        for ip in asked.into_iter().chain(edges).chain(servers.clone()) {
            if ip.to_canonical() != ip {
                continue;
            }
            let covered = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&ip));
            let mut bits = 0;
            for (bit, on) in [
                (range_flag::OUTBOUND_INCLUDE, covered(&include)),
                (range_flag::OUTBOUND_EXCLUDE, covered(&exclude)),
                (range_flag::DNS_SERVER, servers.contains(&ip)),
            ] {
                bits |= if on { bit } else { 0 };
            }
            prop_assert_eq!(compiled.range(&ip.into()), bits, "{}", ip);
        }
    }
}
