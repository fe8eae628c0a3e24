//! What `sidestep audit` says of a pod's servers is what clients outside find: exposed ones answer, unreachable ones do
//! not, each by the way it names.

use std::net::SocketAddr;

use rstest::rstest;
use serde_json::Value;
use tests::answerer::Answerer;
use tests::client::Connect;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::pod::Pod;
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::server::{APP_USER, PROXY_USER, Server};
use tests::sidecar::Sidecar;
use tests::sidestep::{self, DEFAULT_FLAGS, Ended, Sidestep, ended_command, workload};

const PORTS: [u16; 5] = [8080, 8081, 8082, 8083, 8084];

/// Exit code and report.
fn audit(pod: &Pod, more: &[&str]) -> (i32, Value) {
    let place = workload(pod);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let ended = run(&[&["audit", "--output", "json"], &place[..], more].concat());
    let report =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    (ended.code.unwrap(), report)
}

fn run(args: &[&str]) -> Ended {
    sidestep::ended(args).unwrap()
}

fn server<'a>(report: &'a Value, at: &str) -> &'a Value {
    let (protocol, at) = at.split_once(' ').unwrap_or(("tcp", at));
    let at: SocketAddr = at.parse().unwrap();
    let servers = report["servers"].as_array().unwrap();
    let found = servers.iter().find(|server| {
        server["protocol"] == protocol
            && server["port"] == at.port()
            && server["address"] == at.ip().to_string().as_str()
    });
    found.unwrap_or_else(|| panic!("no {at}: {report:#}"))
}

/// `kind/mode` of each finding about `subject`.
fn findings(report: &Value, subject: &str) -> Vec<String> {
    let all = report["findings"].as_array().unwrap().iter().filter(|finding| finding["subject"] == subject);
    all.map(|finding| {
        let forward = finding["forward"].as_str().unwrap_or("any");
        format!("{}/{forward}", finding["kind"].as_str().unwrap())
    })
    .collect()
}

fn is_ready(network: &str) -> Option<Network> {
    met(&[Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep])
        .then(|| Network::new(network).unwrap())
}

#[rstest]
#[case::lo(Forward::Localhost, "lo")]
#[case::eth0(Forward::Passthrough, "eth0")]
fn what_a_mode_reaches_is_what_answers(#[case] forward: Forward, #[case] mode: &str) {
    let Some(network) = is_ready("audit-mode") else { return };
    let flags: Vec<&str> = DEFAULT_FLAGS.iter().copied().chain(["--dual-stack"]).collect();
    let _sidestep = Sidestep::attach(&network.pod, &flags).unwrap();
    // The relay, whose mode lo goes to the loopback of the client's family.
    let config = SidecarConfig::new(forward, &PORTS);
    let _sidecar = Sidecar::start_kind(tests::sidecar::Kind::Relay, &network.pod, &config).unwrap();
    let bound: [SocketAddr; 5] = [
        "127.0.0.1:8080".parse().unwrap(),
        network.pod4(8081),
        "0.0.0.0:8082".parse().unwrap(),
        "[::1]:8083".parse().unwrap(),
        network.pod6(8084),
    ];
    let servers: Vec<_> =
        bound.iter().map(|at| Server::on(&network.pod).listen(*at).banner("app").start().unwrap()).collect();
    let (code, report) = audit(&network.pod, &["--forward", mode]);
    let mut answered = 0;
    for (at, server_process) in bound.iter().zip(&servers) {
        let listed = server(&report, &at.to_string());
        assert_eq!(listed["processes"][0]["pid"], server_process.processes()[0].pid(), "{listed:#}");
        assert_eq!((&listed["uid"], &listed["sidecar"]), (&APP_USER.0.into(), &false.into()), "{listed:#}");
        let to = if at.is_ipv4() { network.pod4(at.port()) } else { network.pod6(at.port()) };
        let said = listed["reach"][mode].as_bool().unwrap();
        let outcome = Connect::to(to).from(&network.outside).unwrap().outcome();
        assert_eq!(outcome == Outcome::Answered, said, "{at} in mode {mode}: {outcome:?}, {listed:#}");
        answered += u32::from(said);
    }
    assert_eq!((answered, code), (3, 1), "{report:#}");
    let lo = ["tcp 127.0.0.1:8080", "tcp [::1]:8083"];
    let pod = [format!("tcp {}", bound[1]), format!("tcp {}", bound[4])];
    for subject in lo {
        let want = if mode == "lo" { "loopback-exposed/lo" } else { "loopback-unreachable/eth0" };
        assert_eq!(findings(&report, subject), [want], "{report:#}");
    }
    for subject in &pod {
        let want: &[&str] = if mode == "lo" { &["pod-address-unreachable/lo"] } else { &[] };
        assert_eq!(findings(&report, subject), want, "{report:#}");
    }
    assert!(findings(&report, "tcp 0.0.0.0:8082").is_empty(), "{report:#}");
}

#[test]
fn envoy_exposes_what_audit_says_it_does() {
    let Some(network) = is_ready("audit-envoy") else { return };
    if !met(&[Requirement::Envoy]) {
        return;
    }
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let local: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let _app = Server::on(&network.pod).listen(local).banner("private").start().unwrap();
    let before = audit(&network.pod, &["--forward", "lo", "--declared-port", "8080"]);
    let config = SidecarConfig::new(Forward::Localhost, &[8080]);
    let _sidecar = Sidecar::start_kind(tests::sidecar::Kind::Envoy, &network.pod, &config).unwrap();
    let seen = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(seen.received.trim(), "private", "{seen:?}");
    let (code, after) = audit(&network.pod, &["--forward", "lo", "--declared-port", "8080"]);
    assert_eq!(code, 1);
    // Without a sidecar its absence is the second finding.
    assert_eq!(findings(&before.1, "port 15006"), ["no-sidecar/any"], "{:#}", before.1);
    assert_eq!(findings(&after, "port 15006"), [""; 0], "{after:#}");
    assert_eq!(findings(&after, "tcp 127.0.0.1:8080"), ["loopback-exposed/lo"], "{after:#}");
    let finding = &after["findings"][0];
    assert_eq!((&finding["seen"]["I6"], &finding["class"]), (&1.into(), &"exposed".into()), "{after:#}");
    // The one connection, in both its hops.
    assert_eq!(finding["flows"], serde_json::json!({ "inbound": 1, "lo": 1 }), "{after:#}");
    // Envoy's workers: one server, two sockets, the sidecar's.
    let inbound = server(&after, "0.0.0.0:15006");
    assert_eq!((&inbound["sockets"], &inbound["sidecar"]), (&2.into(), &true.into()), "{inbound:#}");
    let admin = server(&after, "127.0.0.1:15000");
    assert_eq!(admin["sidecar"], true, "{admin:#}");
}

#[test]
fn what_is_around_the_sidecar_answers_without_one() {
    let Some(network) = is_ready("audit-around") else { return };
    let flags = ["-u", "1337", "-b", "*", "-i", "*", "-d", "9090"];
    let sidestep = Sidestep::attach(&network.pod, &flags).unwrap();
    let any = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
    let excluded = Server::on(&network.pod).listen(any(9090)).workers(3).start().unwrap();
    let both: SocketAddr = "[::]:7070".parse().unwrap();
    let _both = Server::on(&network.pod).listen(both).dual().start().unwrap();
    let six: SocketAddr = "[::]:7071".parse().unwrap();
    let _six = Server::on(&network.pod).listen(six).start().unwrap();
    let _private =
        Server::on(&network.pod).listen("127.0.0.1:6060".parse::<SocketAddr>().unwrap()).start().unwrap();

    let direct = Connect::to(network.pod4(9090)).from(&network.outside).unwrap();
    assert_eq!(direct.report().unwrap().listener, any(9090), "{direct:?}");
    let refused = Connect::to(network.pod4(7070)).from(&network.outside).unwrap();
    assert_eq!(refused.outcome(), Outcome::Refused, "captured, and there is no sidecar: {refused:?}");
    for port in [7070, 7071] {
        let seen = Connect::to(network.pod6(port)).from(&network.outside).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "IPv6 has no rules here: {seen:?}");
    }

    let (code, report) = audit(&network.pod, &["--forward", "eth0", "--declared-port", "9090"]);
    assert_eq!(code, 1);
    let subject = "tcp 0.0.0.0:9090";
    assert_eq!(findings(&report, subject), ["around-sidecar/any"], "{report:#}");
    let listed = server(&report, "0.0.0.0:9090");
    assert_eq!((&listed["sockets"], listed["processes"].as_array().unwrap().len()), (&3.into(), 1));
    assert_eq!(listed["processes"][0]["pid"], excluded.processes()[0].pid());
    let finding = report["findings"].as_array().unwrap().iter().find(|finding| finding["subject"] == subject);
    assert_eq!(finding.unwrap()["seen"]["I5"], sidestep.rule("I5").unwrap(), "{report:#}");
    let direct = Requirement::Observation.missing().is_none().then_some(1);
    assert_eq!(finding.unwrap()["flows"]["direct"].as_u64(), direct, "{report:#}");
    let both = server(&report, "[::]:7070");
    assert_eq!((&both["dual_stack"], &both["reach"]["eth0"]), (&true.into(), &true.into()), "{both:#}");
    assert_eq!(findings(&report, "tcp [::]:7070"), ["around-sidecar/any"], "{report:#}");
    let six = server(&report, "[::]:7071");
    assert_eq!((&six["dual_stack"], &six["reach"]["captured"]), (&false.into(), &true.into()), "{six:#}");
    assert_eq!(findings(&report, "tcp 127.0.0.1:6060"), [""; 0], "not declared: {report:#}");
}

#[test]
fn who_runs_as_the_sidecar_leaves_the_pod_uncaptured() {
    let Some(network) = is_ready("audit-identity") else { return };
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = Sidecar::start(&network.pod, &SidecarConfig::new(Forward::Passthrough, &[])).unwrap();
    let impostor = Server::on(&network.pod).listen(network.pod4(8080)).user((1000, PROXY_USER.1));
    let impostor = impostor.start().unwrap();
    let outside: SocketAddr = "0.0.0.0:80".parse().unwrap();
    let service = Server::on(&network.outside).listen(outside).start().unwrap();
    let call = Connect::to("10.96.7.7:80".parse().unwrap()).user((1000, PROXY_USER.1));
    let before = sidestep.rule("O8").unwrap();
    call.from(&network.pod).unwrap();
    assert_eq!(sidestep.rule("O8").unwrap(), before + 1);
    let seen = service.wait_accepted_count(1).unwrap();
    assert_eq!(seen[0].peer.ip(), network.pod4(0).ip(), "{seen:?}");

    let (code, report) = audit(&network.pod, &["--forward", "eth0"]);
    let subject = format!("pid {} (lab-agent)", impostor.processes()[0].pid());
    assert_eq!((code, findings(&report, &subject)), (1, vec!["proxy-identity/any".to_owned()]), "{report:#}");
    assert_eq!(report["findings"].as_array().unwrap().len(), 1, "the sidecar is none: {report:#}");
}

#[test]
fn a_reserved_port_is_the_sidecars() {
    let Some(network) = is_ready("audit-reserved") else { return };
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _app = Server::on(&network.pod)
        .listen("0.0.0.0:15006".parse::<SocketAddr>().unwrap())
        .listen("0.0.0.0:15021".parse::<SocketAddr>().unwrap())
        .start()
        .unwrap();
    // All that comes to the pod comes to it.
    let seen = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(seen.report().unwrap().listener.port(), 15006, "{seen:?}");
    let (code, report) = audit(&network.pod, &["--forward", "eth0"]);
    assert_eq!((code, findings(&report, "tcp 0.0.0.0:15006")), (1, vec!["reserved-port/any".to_owned()]));
    let both = ["around-sidecar/any", "reserved-port/any"];
    assert_eq!(findings(&report, "tcp 0.0.0.0:15021"), both, "{report:#}");
}

#[test]
fn a_clean_pod_is_clean_and_udp_is_only_listed() {
    let Some(network) = is_ready("audit-clean") else { return };
    let flags: Vec<&str> = DEFAULT_FLAGS.iter().copied().chain(["--dual-stack"]).collect();
    let _sidestep = Sidestep::attach(&network.pod, &flags).unwrap();
    let _sidecar = Sidecar::start(&network.pod, &SidecarConfig::new(Forward::Passthrough, &[])).unwrap();
    let any: SocketAddr = "[::]:8080".parse().unwrap();
    let _app = Server::on(&network.pod).listen(any).dual().banner("app").start().unwrap();
    let answerer = Answerer {
        pod: &network.pod,
        name: "dns",
        ports: &[5353],
        user: APP_USER,
        transparent: false,
        loopback: false,
    };
    let _answerer = answerer.start().unwrap();
    let place = workload(&network.pod);
    let table = run(&[&["audit"], &place.each_ref().map(String::as_str)[..]].concat());
    assert_eq!(table.code, Some(0), "{}{}", table.stdout, table.stderr);
    assert!(table.stdout.contains("clean: nothing exposed"), "{}", table.stdout);
    assert!(table.stdout.contains("udp 0.0.0.0:5353") && table.stdout.contains("direct"), "{}", table.stdout);
    let (code, report) = audit(&network.pod, &[]);
    assert_eq!((code, &report["clean"], &report["schema"]), (0, &true.into(), &1.into()), "{report:#}");
    let addresses = [network.pod4(0).ip().to_string(), network.pod6(0).ip().to_string()];
    assert_eq!(report["addresses"], serde_json::json!(addresses), "{report:#}");
}

#[test]
fn flags_stand_in_for_a_workload() {
    let Some(network) = is_ready("audit-flags") else { return };
    let local: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let _app = Server::on(&network.pod).listen(local).start().unwrap();
    let unattached = audit(&network.pod, &DEFAULT_FLAGS);
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let attached = audit(&network.pod, &[]);
    assert_eq!((unattached.0, attached.0), (1, 1));
    assert!(unattached.1["workload"].is_null() && attached.1["workload"].is_string());
    assert_eq!(unattached.1["servers"], attached.1["servers"]);
    let subject = "tcp 127.0.0.1:8080";
    assert_eq!(findings(&unattached.1, subject), findings(&attached.1, subject));
    drop(sidestep);

    let place = workload(&network.pod);
    let place = place.each_ref().map(String::as_str);
    let cases: [(&[&str], i32, &str); 5] = [
        (&[], 64, "is not attached: name the rules"),
        (&["--forward", "both", "--declared-port", "0"], 64, "--declared-port"),
        (&["--forward", "eth1"], 64, "eth1"),
        (&["-b", "http"], 64, "-b"),
        (&["--workload", "1-2"], 64, "--workload"),
    ];
    for (more, code, says) in cases {
        let ended = run(&[&["audit"], &place[..], more].concat());
        assert_eq!(ended.code, Some(code), "{more:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(says) && ended.stdout.is_empty(), "{more:?}: {}", ended.stderr);
    }
    let named = run(&["audit", "--workload", "1-2"]);
    assert!(
        named.code == Some(64) && named.stderr.contains("no workload '1-2' is attached"),
        "{}",
        named.stderr
    );
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let ended = run(&[&["audit"], &place[..], &["-b", "*"]].concat());
    assert!(ended.code == Some(64) && ended.stderr.contains("leave the istio options"), "{}", ended.stderr);
}

/// Each workload by its own rules; those without findings are only counted.
#[test]
fn a_node_is_audited_workload_by_workload() {
    if !met(&[Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep]) {
        return;
    }
    let network = Network::with_own_addresses("audit-all").unwrap();
    // Other tests attach on the node's own.
    let root = PinRoot::new().unwrap();
    let all =
        |more: &[&str]| ended_command(root.command(&[&["audit", "--all"], more].concat()).unwrap()).unwrap();
    let on = |pod: &Pod, verb: &[&str]| {
        let ended = ended_command(root.for_pod(verb, pod).unwrap()).unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    };
    let nothing = all(&[]);
    assert_eq!(nothing.code, Some(0), "{nothing:?}");
    assert!(nothing.stdout.contains("0 workloads, all clean"), "{nothing:?}");
    let named: Vec<&str> =
        ["attach", "-u", "1337", "-b", "*", "-i", "*", "-d", "9090", "--pod", "shop/web-0"].into();
    on(&network.pod, &named);
    on(&network.outside, &["attach", "-u", "1337", "-b", "*", "-i", "*"]);
    let any = SocketAddr::from(([0, 0, 0, 0], 9090));
    let _around = Server::on(&network.pod).listen(any).start().unwrap();
    let found = all(&["--output", "json"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    let report: Value = serde_json::from_str(&found.stdout).unwrap();
    let workloads = report["workloads"].as_array().unwrap();
    assert_eq!((workloads.len(), &report["clean"]), (2, &false.into()), "{report:#}");
    let web = workloads.iter().find(|report| report["pod"] == "web-0").unwrap();
    assert_eq!(findings(web, "tcp 0.0.0.0:9090"), ["around-sidecar/any"], "{web:#}");
    let other = workloads.iter().find(|report| report["pod"].is_null()).unwrap();
    assert_eq!(other["findings"], serde_json::json!([]), "{other:#}");
    let text = all(&[]).stdout;
    let name = web["workload"].as_str().unwrap();
    assert!(text.contains(&format!("workload {name} (shop/web-0): 1 finding: 1 exposed")), "{text}");
    assert!(text.contains("2 workloads, 1 with 1 finding: 1 exposed"), "{text}");
    assert!(!text.contains(other["workload"].as_str().unwrap()), "{text}");
    let wrong = all(&["-b", "*"]);
    assert_eq!(wrong.code, Some(64), "{wrong:?}");
    assert!(wrong.stderr.contains("leave the istio options"), "{wrong:?}");
    for pod in [&network.pod, &network.outside] {
        on(pod, &["detach"]);
    }
}
