//! What random cases, or thinking of some, has found: each was decided wrongly once.

use proptest::test_runner::TestCaseError;
use proxy_common::verdict::Rule;
use proxy_core::config::{CidrSet, Config, Mode, PortSet};
use tests::interpreter::Protocol;

use crate::{
    comparison::Comparison,
    connection::{Incoming, Outgoing},
    settings::Settings,
};

fn tproxy() -> Config {
    Config {
        mode: Mode::Tproxy,
        inbound_include: PortSet::All,
        outbound_include: CidrSet::All,
        // The sidecar runs as uid 0 in this mode, so that the group is what tells its calls.
        ..Config::default()
    }
}

fn self_call(mark: u32) -> Outgoing {
    let own = "10.244.0.2".parse().unwrap();
    Outgoing { protocol: Protocol::Tcp, src: own, dst: own, dport: 8080, uid: 0, gid: 1337, mark }
}

fn arrival(interface: &'static str) -> Incoming {
    Incoming {
        protocol: Protocol::Tcp,
        src: "10.244.0.1".parse().unwrap(),
        dst: "172.31.0.1".parse().unwrap(),
        dport: 8080,
        interface,
    }
}

fn comparison(config: Config) -> Comparison {
    Comparison::new(&Settings { config, ipv6: false })
}

fn rule(result: Result<Rule, TestCaseError>) -> Rule {
    result.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_self_call_is_captured_in_tproxy_mode() {
    assert_eq!(rule(comparison(tproxy()).outgoing(&self_call(0))), Rule::T6);
}

#[test]
fn an_excluded_lo_is_left_alone_in_tproxy_mode_too() {
    let config = Config { exclude_interfaces: vec!["lo".into()], ..tproxy() };
    assert_eq!(rule(comparison(config).outgoing(&self_call(0))), Rule::O0);
}

#[test]
fn tproxy_leaves_an_excluded_virtual_interface_to_its_nat_rows() {
    let both = vec!["vnet0".to_owned()];
    let config = Config { exclude_interfaces: both.clone(), kube_virt_interfaces: both, ..tproxy() };
    assert_eq!(rule(comparison(config).incoming(&arrival("vnet0"))), Rule::I1);
}

#[test]
fn the_mark_of_packets_without_a_mark_turns_tproxy_off() {
    let comparison = comparison(Config { tproxy_mark: 0, ..tproxy() });
    assert_eq!(rule(comparison.incoming(&arrival("eth0"))), Rule::T4);
    assert_eq!(rule(comparison.outgoing(&self_call(0))), Rule::O4);
}

#[test]
fn the_mark_of_self_calls_turns_their_capture_off() {
    let comparison = comparison(Config { tproxy_mark: 1338, ..tproxy() });
    assert_eq!(rule(comparison.incoming(&arrival("eth0"))), Rule::T6);
    assert_eq!(rule(comparison.outgoing(&self_call(0))), Rule::O4);
}

#[test]
fn an_application_with_the_mark_of_self_calls_is_captured_as_one() {
    let call = Outgoing { uid: 1000, gid: 1000, ..self_call(1338) };
    assert_eq!(rule(comparison(tproxy()).outgoing(&call)), Rule::T6);
}
