//! Combinations the oracle does not show, and the rows rules are filed under.

use std::collections::BTreeSet;

use proxy_common::verdict::{Row, Rule};
use rstest::rstest;

use crate::{
    config::{CidrSet, Config, DnsCapture, DnsServers, Mode, OwnerGroup, OwnerGroups, PortSet},
    rules::{
        Chain, ConnectionFacts, Family, Position, Protocol, Table, Target, for_row, program, render,
        render_family,
    },
};

fn nets(text: &str) -> Vec<ipnet::IpNet> {
    text.split(',').map(|net| net.parse().unwrap()).collect()
}

fn dns(servers: &[&str]) -> Option<DnsCapture> {
    let servers = servers.iter().map(|server| server.parse().unwrap()).collect();
    Some(DnsCapture { servers: DnsServers::List(servers) })
}

/// Every feature at once.
fn full() -> Config {
    Config {
        proxy_uids: vec![3, 4],
        proxy_gids: vec![1],
        mode: Mode::Tproxy,
        inbound_include: PortSet::All,
        inbound_exclude: vec![22],
        outbound_ports_include: vec![8080],
        outbound_ports_exclude: vec![9],
        outbound_include: CidrSet::List(nets("10.0.0.0/8,2001:db8::/32")),
        outbound_exclude: nets("10.1.0.0/16,2001:db8:1::/48"),
        exclude_interfaces: vec!["eth7".into()],
        kube_virt_interfaces: vec!["eth1".into(), "eth2".into()],
        owner_groups: OwnerGroups::Except(vec![OwnerGroup { gid: 203, name: Some("java".into()) }]),
        dns: dns(&["10.96.0.10", "::127.0.0.53"]),
        drop_invalid: true,
        dual_stack: true,
        ..Config::default()
    }
}

/// The lines of one chain of one table, without `-A CHAIN `.
fn chain(config: &Config, family: Family, table: Table, chain: Chain) -> Vec<String> {
    let rules = program(config, family);
    let rules = rules.iter().filter(|rule| rule.table == table && rule.chain == chain);
    rules.map(|rule| rule.to_string().replacen(&format!("-A {} ", chain.name()), "", 1)).collect()
}

#[test]
fn everything_at_once_output() {
    let expected = [
        "-p tcp --dport 9 -j RETURN",
        "-p udp --dport 9 -j RETURN",
        "-o lo -s ::6/128 -j RETURN",
        "-o lo ! -d ::1/128 -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 3 -j ISTIO_IN_REDIRECT",
        "-o lo -p tcp ! --dport 53 -m owner ! --uid-owner 3 -j RETURN",
        "-m owner --uid-owner 3 -j RETURN",
        "-o lo ! -d ::1/128 -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 4 -j ISTIO_IN_REDIRECT",
        "-o lo -p tcp ! --dport 53 -m owner ! --uid-owner 4 -j RETURN",
        "-m owner --uid-owner 4 -j RETURN",
        "-o lo ! -d ::1/128 -p tcp ! --dport 15008 -m owner --gid-owner 1 -j ISTIO_IN_REDIRECT",
        "-o lo -p tcp ! --dport 53 -m owner ! --gid-owner 1 -j RETURN",
        "-m owner --gid-owner 1 -j RETURN",
        "-m owner --gid-owner java -j RETURN",
        "-j ISTIO_OUTPUT_DNS",
        "-d ::1/128 -j RETURN",
        "-d 2001:db8:1::/48 -j RETURN",
        "-p tcp --dport 8080 -j ISTIO_REDIRECT",
        "-d 2001:db8::/32 -j ISTIO_REDIRECT",
    ];
    assert_eq!(chain(&full(), Family::V6, Table::Nat, Chain::IstioOutput), expected);
}

#[test]
fn everything_at_once_prerouting() {
    let nat = [
        "-i eth7 -j RETURN",
        "-I PREROUTING 1 -i eth1 -j RETURN",
        "-I PREROUTING 1 -i eth2 -j RETURN",
        "-I PREROUTING 1 -i eth1 -d 10.0.0.0/8 -j ISTIO_REDIRECT",
        "-I PREROUTING 1 -i eth2 -d 10.0.0.0/8 -j ISTIO_REDIRECT",
    ];
    assert_eq!(chain(&full(), Family::V4, Table::Nat, Chain::Prerouting), nat);
    let mangle = [
        "-i eth7 -j RETURN",
        "-m conntrack --ctstate INVALID -j ISTIO_DROP",
        "-p tcp -j ISTIO_INBOUND",
        "-p tcp -m mark --mark 1337 -j CONNMARK --save-mark",
    ];
    assert_eq!(chain(&full(), Family::V4, Table::Mangle, Chain::Prerouting), mangle);
}

#[test]
fn chains_are_made_in_the_order_of_use() {
    let text = render_family(&full(), Family::V4);
    let made: Vec<&str> =
        text.lines().filter(|line| line.starts_with(['*', '-']) && !line.contains(" -j ")).collect();
    let expected = [
        "*mangle",
        "-N ISTIO_DROP",
        "-N ISTIO_DIVERT",
        "-N ISTIO_TPROXY",
        "-N ISTIO_INBOUND",
        "*nat",
        "-N ISTIO_INBOUND",
        "-N ISTIO_REDIRECT",
        "-N ISTIO_IN_REDIRECT",
        "-N ISTIO_OUTPUT",
        "-N ISTIO_OUTPUT_DNS",
        "*raw",
        "-N ISTIO_OUTPUT_DNS",
        "-N ISTIO_INBOUND",
    ];
    assert_eq!(made, expected);
}

#[test]
fn tproxy_without_inbound_ports_still_marks() {
    let config = Config { mode: Mode::Tproxy, ..Config::default() };
    let inserts = [
        "-I ISTIO_INBOUND 1 -p tcp -m mark --mark 1337 -j RETURN",
        "-I ISTIO_INBOUND 2 -p tcp -s 127.0.0.6/32 -i lo -j RETURN",
        "-I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark 1338 -j RETURN",
    ];
    assert_eq!(chain(&config, Family::V4, Table::Mangle, Chain::IstioInbound), inserts);
    let prerouting = ["-p tcp -m mark --mark 1337 -j CONNMARK --save-mark"];
    assert_eq!(chain(&config, Family::V4, Table::Mangle, Chain::Prerouting), prerouting);
    assert!(render(&config).starts_with("*mangle\n-N ISTIO_INBOUND\n-A PREROUTING "));
}

#[test]
fn one_loopback_range_opens_both_families() {
    let config = Config {
        outbound_include: CidrSet::List(nets("127.0.0.0/8,fd00::/8")),
        dual_stack: true,
        ..Config::default()
    };
    for family in [Family::V4, Family::V6] {
        assert!(for_row(&config, family, Rule::O4, None).is_empty());
        assert_eq!(for_row(&config, family, Rule::O15Range, None).len(), 1);
    }
}

#[test]
fn dns_without_servers_is_off() {
    let off = Config { dual_stack: true, ..Config::default() };
    assert_eq!(render(&Config { dns: dns(&[]), ..off.clone() }), render(&off));
}

#[test]
fn dns_servers_of_the_other_family_only() {
    let config = Config { dns: dns(&["2001:db8::53"]), dual_stack: true, ..Config::default() };
    assert!(for_row(&config, Family::V4, Rule::O10, None).is_empty());
    assert_eq!(chain(&config, Family::V4, Table::Raw, Chain::Prerouting), Vec::<String>::new());
    assert_eq!(chain(&config, Family::V4, Table::Raw, Chain::Output), ["-j ISTIO_OUTPUT_DNS"]);
    let v6 = for_row(&config, Family::V6, Rule::O11, None);
    assert_eq!(
        v6[0].to_string(),
        "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -d 2001:db8::53/128 -j REDIRECT --to-port 15053"
    );
}

#[rstest]
#[case::nobody(vec![], "-A ISTIO_OUTPUT -j RETURN")]
#[case::two(vec![1, 2], "-A ISTIO_OUTPUT -m owner ! --gid-owner 1 -m owner ! --gid-owner 2 -j RETURN")]
fn owner_groups_are_one_rule(#[case] gids: Vec<u32>, #[case] expected: &str) {
    let groups = gids.into_iter().map(|gid| OwnerGroup { gid, name: None }).collect();
    let config = Config { owner_groups: OwnerGroups::Only(groups), ..Config::default() };
    let rules = for_row(&config, Family::V4, Rule::O9Include, None);
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].to_string(), expected);
}

#[test]
fn settings_reach_their_rules() {
    let config = Config {
        ports: crate::config::Ports { outbound: 1, inbound: 2, tunnel: 3, dns: 15053 },
        loopback_cidr: "127.0.0.0/8".parse().unwrap(),
        tproxy_mark: 7,
        mode: Mode::Tproxy,
        inbound_include: PortSet::List(vec![80]),
        inbound_exclude: vec![22],
        ..Config::default()
    };
    let text = render(&config);
    for line in [
        "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 1",
        "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 2",
        "-A ISTIO_INBOUND -p tcp --dport 3 -j RETURN",
        "-A ISTIO_TPROXY ! -d 127.0.0.0/8 -p tcp -j TPROXY --tproxy-mark 7/0xffffffff --on-port 2",
        "-A ISTIO_OUTPUT -d 127.0.0.0/8 -j RETURN",
        "-A OUTPUT ! -d 127.0.0.0/8 -p tcp -o lo -m owner --uid-owner 1337 -j MARK --set-mark 1338",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    assert!(!text.contains("--dport 22"), "excludes count only with \"*\"");
}

#[test]
fn single_stack_has_no_ipv6() {
    let config = Config { dual_stack: false, ..full() };
    assert_eq!(render(&config), render_family(&config, Family::V4));
    assert!(!render(&config).contains("::"));
}

/// Each row that a rule can implement has one, and no rule claims a row that does not exist.
#[test]
fn rows_are_those_of_the_decision() {
    let redirect = Config { mode: Mode::Redirect, ..full() };
    let open = Config {
        outbound_include: CidrSet::All,
        inbound_include: PortSet::List(vec![80]),
        ..redirect.clone()
    };
    let only = Config { owner_groups: OwnerGroups::Only(Vec::new()), ..full() };
    let configs = [full(), redirect, open, only];
    let rules: Vec<_> = configs.iter().flat_map(|config| program(config, Family::V4)).collect();
    let found: BTreeSet<&str> = rules.iter().filter_map(|rule| rule.row).map(Row::name).collect();
    // Rows for what no rule matches.
    let without_rule = [Rule::NoRules, Rule::O16, Rule::I7].map(Row::Decides);
    let expected: BTreeSet<&str> =
        Row::all().filter(|row| !without_rule.contains(row)).map(Row::name).collect();
    assert_eq!(found, expected);
    let jumps = rules.iter().filter(|rule| rule.row.is_none());
    for rule in jumps {
        let leads_on = matches!(rule.target, Target::Jump(_) | Target::Redirect { .. } | Target::Drop);
        assert!(leads_on && rule.position == Position::Append, "{rule}");
    }
}

#[test]
fn a_flow_picks_its_rule() {
    let config = Config { outbound_include: CidrSet::List(nets("10.0.0.0/8,11.0.0.0/8")), ..full() };
    let flow = ConnectionFacts { dst: Some("11.1.1.1".parse().unwrap()), ..ConnectionFacts::default() };
    let rules = for_row(&config, Family::V4, Rule::O15Range, Some(&flow));
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].to_string(), "-A ISTIO_OUTPUT -d 11.0.0.0/8 -j ISTIO_REDIRECT");
    let udp = ConnectionFacts { protocol: Some(Protocol::Udp), dport: Some(9), ..ConnectionFacts::default() };
    let rules = for_row(&config, Family::V4, Rule::O1, Some(&udp));
    assert_eq!(rules[0].to_string(), "-A ISTIO_OUTPUT -p udp --dport 9 -j RETURN");
    let uid = ConnectionFacts { uid: Some(4), ..ConnectionFacts::default() };
    assert_eq!(for_row(&config, Family::V4, Rule::O5, Some(&uid)).len(), 1);
}
