//! Servers that are only said to exist, judged by rules that are only compiled.

use std::{collections::BTreeMap, net::IpAddr};

use proxy_core::config::{Environment, Given, NoHost};
use proxy_core::{
    compile::compile,
    network::{Interface, Interfaces, Routes},
};
use rstest::rstest;

use super::{
    AuditedPod, Forward, Kind, Options, Process, Protocol, Report, Server, inspect::judge,
    sidecar::ProxyProcesses,
};

const POD4: &str = "10.10.0.26";
const POD6: &str = "fd00:10::26";
const ISTIO: &[&str] = &["-u", "1337", "-b", "*", "-i", "*", "-d", "15090,15021,15020"];
const BOTH: [Forward; 2] = [Forward::Lo, Forward::Eth0];

/// A pod with two interfaces and an address of each family.
fn pod(flags: &[&str]) -> AuditedPod {
    let given = Given::from_words(flags).expect("flags");
    let config = given.resolve(&Environment::default(), &NoHost).expect("a configuration").config;
    let interface = |name: &str, index| Interface { name: name.into(), index };
    let interfaces = Interfaces {
        interfaces: vec![interface("lo", 1), interface("eth0", 2), interface("eth1", 3)],
        // The kernel lists IPv4 first.
        addresses: ["127.0.0.1", POD4, "::1", "::6", POD6, "fe80::1"].map(|ip| ip.parse().unwrap()).to_vec(),
    };
    let ipv6 = interfaces.enable_ipv6(config.dual_stack).unwrap();
    let tables = compile(&config, ipv6, &interfaces, &Routes::default());
    AuditedPod::not_attached(config, tables, interfaces)
}

fn process(pid: i32, id: u32, parent: i32) -> Process {
    Process { pid, name: format!("p{pid}"), uid: id, gid: id, parent }
}

fn server(at: &str, processes: &[Process]) -> Server {
    let (protocol, at) = match at.strip_prefix("udp ") {
        Some(at) => (Protocol::Udp, at),
        None => (Protocol::Tcp, at),
    };
    let at: std::net::SocketAddr = at.parse().unwrap();
    Server {
        protocol,
        address: at.ip(),
        port: at.port(),
        dual_stack: at.ip().is_unspecified() && at.is_ipv6(),
        sockets: 1,
        uid: processes.first().map_or(1000, |process| process.uid),
        processes: processes.to_vec(),
    }
}

fn app(at: &str) -> Server {
    server(at, &[process(50, 1000, 1)])
}

fn proxies(pod: &AuditedPod, servers: &[Server], more: &[Process]) -> ProxyProcesses {
    let all = servers.iter().flat_map(|server| &server.processes).chain(more);
    let proxies = all.filter(|process| pod.is_proxy(process.uid, process.gid));
    ProxyProcesses::sort(pod, proxies.map(|process| (process.pid, process.clone())).collect(), servers)
}

fn report(flags: &[&str], servers: &[Server], declared: Option<&[u16]>) -> Report {
    let pod = pod(flags);
    let options = Options { forwards: BOTH.to_vec(), declared: declared.map(<[u16]>::to_vec) };
    let proxies = proxies(&pod, servers, &[]);
    judge(&pod, servers.to_vec(), &proxies, &options)
}

fn kinds(report: &Report) -> Vec<(Kind, Option<Forward>)> {
    report.findings.iter().map(|finding| (finding.kind, finding.forward)).collect()
}

#[rstest]
#[case::loopback("127.0.0.1:8080", true, false, &[Kind::LoopbackExposed, Kind::LoopbackUnreachable])]
#[case::pod_address("10.10.0.26:8080", false, true, &[Kind::PodAddressUnreachable])]
#[case::any("0.0.0.0:8080", true, true, &[])]
#[case::loopback6("[::1]:8080", true, false, &[Kind::LoopbackExposed, Kind::LoopbackUnreachable])]
#[case::pod_address6("[fd00:10::26]:8080", false, true, &[Kind::PodAddressUnreachable])]
#[case::any6("[::]:8080", true, true, &[])]
#[case::another_loopback("127.0.0.2:8080", false, false, &[Kind::LoopbackUnreachable, Kind::LoopbackUnreachable])]
#[case::elsewhere("10.9.9.9:8080", false, false, &[Kind::ForeignAddress, Kind::ForeignAddress])]
#[case::link_local("[fe80::1]:8080", false, false, &[])]
fn where_a_server_is_bound_decides_in_each_mode(
    #[case] at: &str,
    #[case] lo: bool,
    #[case] eth0: bool,
    #[case] want: &[Kind],
) {
    let report = report(&[ISTIO, &["--dual-stack"]].concat(), &[app(at)], None);
    let reach = &report.rows[0].reach;
    assert_eq!((reach.lo, reach.eth0, reach.direct.len()), (lo, eth0, 0), "{report}");
    assert_eq!(kinds(&report).iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), want, "{report}");
}

#[test]
fn only_declared_ports_go_to_loopback_and_are_meant_for_clients() {
    let servers = [app("127.0.0.1:8080"), app("127.0.0.1:9090"), app("10.10.0.26:7070")];
    let report = report(ISTIO, &servers, Some(&[8080]));
    let both = [(Kind::LoopbackExposed, Some(Forward::Lo)), (Kind::LoopbackUnreachable, Some(Forward::Eth0))];
    assert_eq!(kinds(&report), both, "9090 is nobody's, 7070 goes by passthrough: {report}");
}

#[rstest]
#[case::excluded(&["-d", "8080"], "0.0.0.0:8080", &["I5"])]
#[case::tunnel_port(&[], "0.0.0.0:15008", &["I4"])]
#[case::not_included(&["-b", "80"], "10.10.0.26:8080", &["I7"])]
#[case::nothing_captured(&["-b", ""], "10.10.0.26:8080", &["I7"])]
#[case::no_rules_for_ipv6(&[], "[::]:8080", &["none"])]
#[case::excluded_interface(&["-c", "eth1"], "0.0.0.0:8080", &["I3"])]
#[case::excluded_but_on_loopback(&["-d", "8080"], "127.0.0.1:8080", &[])]
fn what_is_not_captured_is_around_the_sidecar(
    #[case] more: &[&str],
    #[case] at: &str,
    #[case] rows: &[&str],
) {
    let flags = [&["-u", "1337", "-b", "*", "-i", "*"], more].concat();
    // A flag given twice is an error: the later ones stand alone.
    let flags = if more.contains(&"-b") { [&["-u", "1337", "-i", "*"], more].concat() } else { flags };
    let report = report(&flags, &[app(at)], None);
    let found: std::collections::BTreeSet<&str> =
        report.rows[0].reach.direct.iter().map(|way| way.row).collect();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), rows, "{report}");
    let around = kinds(&report).contains(&(Kind::AroundSidecar, None));
    assert_eq!(around, !rows.is_empty(), "{report}");
}

#[test]
fn an_excluded_loopback_server_is_nobodys_business() {
    assert!(report(&["-b", "*", "-d", "8080"], &[app("127.0.0.1:8080")], None).is_clean());
}

#[test]
fn the_more_specific_server_gets_the_connection() {
    let servers = [app("127.0.0.1:8080"), app("0.0.0.0:8080"), app("[::]:8080")];
    let report = report(&[ISTIO, &["--dual-stack"]].concat(), &servers, None);
    let reach: Vec<(bool, bool)> = report.rows.iter().map(|row| (row.reach.lo, row.reach.eth0)).collect();
    assert_eq!(reach, [(true, false), (false, true), (true, true)], "{report}");
}

#[test]
fn udp_is_listed_and_never_a_finding() {
    let report = report(ISTIO, &[app("udp 0.0.0.0:5353"), app("udp 127.0.0.1:5354")], None);
    assert!(report.is_clean(), "{report}");
    assert_eq!([1, 0], [0, 1].map(|at: usize| report.rows[at].reach.direct.len().min(1)), "{report}");
    assert!(!report.rows[0].reach.captured);
}

#[test]
fn an_application_in_the_sidecars_place() {
    let report = report(ISTIO, &[app("127.0.0.1:15006"), app("udp 127.0.0.1:15053")], Some(&[]));
    let want = [(Kind::ReservedPort, None), (Kind::ReservedPort, None)];
    assert_eq!(kinds(&report), want, "{report}");
}

#[test]
fn the_sidecar_and_its_agent_are_not_applications() {
    let (agent, envoy, script) = (process(10, 1337, 1), process(11, 1337, 10), process(12, 1337, 10));
    let servers = [
        server("0.0.0.0:15006", std::slice::from_ref(&envoy)),
        server("127.0.0.1:15000", std::slice::from_ref(&envoy)),
        server("0.0.0.0:15021", std::slice::from_ref(&envoy)),
        server("[::]:15020", std::slice::from_ref(&agent)),
        server("127.0.0.1:8080", &[process(20, 1337, 1)]),
    ];
    let pod = pod(&[ISTIO, &["--dual-stack"]].concat());
    let proxies = proxies(&pod, &servers, &[script]);
    let options = Options { forwards: vec![Forward::Eth0], declared: None };
    let report = judge(&pod, servers.to_vec(), &proxies, &options);
    let sidecar: Vec<bool> = report.rows.iter().map(|row| row.sidecar).collect();
    assert_eq!(sidecar, [true, true, true, true, false], "{report}");
    let want = [(Kind::LoopbackUnreachable, Some(Forward::Eth0)), (Kind::ProxyIdentity, None)];
    assert_eq!(kinds(&report), want, "{report}");
    assert_eq!(report.findings[1].subject, "pid 20 (p20)");
}

#[test]
fn the_sidecars_administration_is_for_nobody_outside() {
    let envoy = [process(11, 1337, 1)];
    let servers = [server("0.0.0.0:15006", &envoy), server("0.0.0.0:15000", &envoy)];
    assert_eq!(kinds(&report(ISTIO, &servers, None)), [(Kind::AdminExposed, None)]);
}

#[test]
fn capture_without_a_sidecar_is_found_where_it_is_attached() {
    let mut pod = pod(ISTIO);
    let options = Options { forwards: vec![Forward::Eth0], declared: None };
    let servers = vec![app("0.0.0.0:8080")];
    assert!(judge(&pod, servers.clone(), &ProxyProcesses::default(), &options).is_clean());
    pod.workload = Some("1-2".into());
    let report = judge(&pod, servers, &ProxyProcesses::default(), &options);
    assert_eq!(kinds(&report), [(Kind::NoSidecar, None)], "{report}");
}

#[test]
fn the_rows_that_counted_are_the_evidence() {
    let mut pod = pod(&["-b", "*", "-d", "9090"]);
    pod.rules = BTreeMap::from([("I5", 3), ("I6", 4), ("O15", 9)]);
    let options = Options { forwards: vec![Forward::Lo], declared: None };
    let servers = vec![app("0.0.0.0:9090"), app("127.0.0.1:8080")];
    let report = judge(&pod, servers, &ProxyProcesses::default(), &options);
    let seen: BTreeMap<Kind, Vec<(&str, u64)>> = report
        .findings
        .iter()
        .map(|finding| (finding.kind, finding.seen.iter().map(|(row, count)| (*row, *count)).collect()))
        .collect();
    assert_eq!(seen[&Kind::AroundSidecar], [("I5", 3)], "{report}");
    assert_eq!(seen[&Kind::LoopbackExposed], [("I6", 4)], "{report}");
}

#[test]
fn addresses_clients_cannot_call_do_not_count() {
    let want: Vec<IpAddr> = [POD4, POD6].map(|ip| ip.parse().unwrap()).to_vec();
    assert_eq!(pod(ISTIO).addresses(), want);
}
