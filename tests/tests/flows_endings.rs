//! How connections begin and end, said as it was: when a server took one, who gave up, whose process was killed; and the
//! counters of one connection agree with each other.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::{Value, json};
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::flows::wait_closed;
use tests::load::Load;
use tests::network::Network;
use tests::pin_root::{self, PinRoot};
use tests::pod::Pod;
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::serve::{Serve, label};
use tests::server::{PROXY_USER, Server, stand_in};
use tests::sidecar::{Kind, Sidecar};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep, ended_command};
use tests::wait::until;

const LATER: Duration = Duration::from_millis(400);
const SEEN_WITHIN: Duration = Duration::from_secs(20);

fn one(flows: &[Value]) -> &Value {
    let [flow] = flows else { panic!("{flows:#?}") };
    flow
}

#[rstest]
#[case::asks_in_accept(None)]
#[case::asks_later(Some(LATER))]
fn the_hand_off_is_known_where_accept_asks_for_the_address(#[case] later: Option<Duration>) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Program("curl", "curl")]) {
        return;
    }
    let network = Network::new("hand-off").unwrap();
    let _attached = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let server = stand_in(&network.pod);
    let server = if let Some(later) = later { server.ask_later(later) } else { server };
    let _server = server.start().unwrap();
    let seen = Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap();
    assert_eq!(seen.outcome(), Outcome::Answered, "{seen:?}");
    let flows = wait_closed(&network.pod, &["--direction", "outbound"], 1).unwrap();
    let flow = one(&flows);
    assert_eq!(flow["server_process"]["comm"], "lab-agent", "{flow:#}");
    let metrics = Serve::start(&[]).unwrap().metrics().unwrap();
    let measured = metrics.of("sidestep_hand_off_duration_seconds_count", &[&label(&network.pod).unwrap()]);
    if later.is_some() {
        assert_eq!((&flow["times"]["accepted"], measured), (&Value::Null, 0.0), "{flow:#}");
    } else {
        let at = |name: &str| flow["times"][name].as_u64().unwrap_or_else(|| panic!("{name}: {flow:#}"));
        assert!(at("accepted") - at("established") < LATER.as_micros() as u64, "{flow:#}");
        assert_eq!(measured, 1.0);
    }
}

/// The sidecar calls an address where nobody answers, and gives up by itself.
#[rstest]
#[case::after_its_timeout(600, "timeout")]
#[case::at_once(30, "aborted")]
fn who_gives_up_after_a_while_was_not_answered(#[case] after_ms: u64, #[case] close: &str) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("give-up").unwrap();
    let _attached = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let nobody: SocketAddr = "10.10.0.77:80".parse().unwrap();
    let within = Duration::from_millis(after_ms);
    let connect = Connect::to(nobody).user(PROXY_USER).nonblocking().within(within);
    connect.from(&network.pod).ok();
    let flows = wait_closed(&network.pod, &["--port", "80"], 1).unwrap();
    assert_eq!(one(&flows)["close"], close, "{flows:#?}");
}

#[test]
fn a_killed_sidecar_is_no_orderly_end() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("killed").unwrap();
    let _attached = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let sidecar = stand_in(&network.pod).hold().start().unwrap();
    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let orderly = Connect::to(service).one_line().from(&network.pod).unwrap();
    assert_eq!(orderly.outcome(), Outcome::Answered, "{orderly:?}");
    let held = Connect::to(service).command(&network.pod).unwrap().spawn().unwrap();
    let outside = Connect::to(network.pod4(8080)).command(&network.outside).unwrap().spawn().unwrap();
    sidecar.wait_accepted_count(3).unwrap();
    for process in sidecar.processes() {
        process.signal(Signal::SIGKILL).unwrap();
    }
    for mut client in [held, outside] {
        client.wait(SEEN_WITHIN).unwrap();
    }
    // The first client was done before.
    let endings =
        [("outbound", "fin", 1), ("outbound", "sidecar_killed", 1), ("inbound", "sidecar_killed", 1)];
    assert_endings(&network.pod, &endings);
}

/// Client and server in a workload each, both attached.
#[test]
fn a_server_that_is_killed_is_no_orderly_end_for_another_workload() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::with_own_addresses("killed-peer").unwrap();
    let nothing = ["-u", "1337", "-i", "", "-b", ""];
    let pods = [&network.pod, &network.outside];
    let _attached = pods.map(|pod| Sidestep::attach(pod, &nothing).unwrap());
    let server = Server::on(&network.pod).listen(network.pod4(7000)).hold().start().unwrap();
    let mut held = Connect::to(network.pod4(7000)).command(&network.outside).unwrap().spawn().unwrap();
    server.wait_accepted_count(1).unwrap();
    for process in server.processes() {
        process.signal(Signal::SIGKILL).unwrap();
    }
    held.wait(SEEN_WITHIN).unwrap();
    for pod in pods {
        assert_endings(pod, &[("direct", "killed", 1)]);
    }
}

/// So many connections on a hop ended so, in the flows and in the metrics, and no others.
fn assert_endings(pod: &Pod, endings: &[(&str, &str, usize)]) {
    let all = endings.iter().map(|(.., count)| count).sum();
    let flows = wait_closed(pod, &[], all).unwrap();
    assert_eq!(flows.len(), all, "{flows:#?}");
    let metrics = Serve::start(&[]).unwrap().metrics().unwrap();
    let closed = |also: &[&str]| {
        let labels: Vec<String> =
            [label(pod).unwrap()].into_iter().chain(also.iter().map(|it| it.to_string())).collect();
        metrics
            .of("sidestep_closed_connections_total", &labels.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(closed(&[]), all as f64);
    for (hop, close, count) in endings {
        let listed =
            flows.iter().filter(|flow| (&flow["hop"], &flow["close"]) == (&json!(hop), &json!(close)));
        assert_eq!(listed.count(), *count, "{hop} {close}: {flows:#?}");
        let counted = closed(&[&format!("hop=\"{hop}\""), &format!("reason=\"{close}\"")]);
        assert_eq!(counted, *count as f64, "{hop} {close}");
    }
}

/// Connections of the workload to itself, and of a process that is in its namespace and not in its cgroup.
#[test]
fn the_counters_of_a_direct_connection_agree() {
    const CALLS: u64 = 3;
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Program("curl", "curl")]) {
        return;
    }
    let network = Network::new("agree").unwrap();
    let attached = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let at: SocketAddr = "127.0.0.1:7000".parse().unwrap();
    let _server = Server::on(&network.pod).listen(at).start().unwrap();
    for _ in 0..CALLS {
        let seen = Connect::to(at).from(&network.pod).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "{seen:?}");
    }
    assert_eq!(attached.event("outside_cgroup").unwrap(), 0);
    let stranger = Connect::to(at).command(&network.pod).unwrap().outside_cgroup().unwrap();
    stranger.run().unwrap();
    assert_eq!(attached.event("outside_cgroup").unwrap(), 1);
    let flows = wait_closed(&network.pod, &["--port", "7000"], CALLS as usize + 1).unwrap();
    assert_eq!(flows.len(), CALLS as usize + 1, "{flows:#?}");
    let metrics = Serve::start(&[]).unwrap().metrics().unwrap();
    let pod = label(&network.pod).unwrap();
    for (direction, calls) in [("self", CALLS), ("inbound", 1)] {
        let of = |name: &str| {
            metrics.of(name, &[&pod, &format!("direction=\"{direction}\",hop=\"direct\"")]) as u64
        };
        assert_eq!(of("sidestep_connections_total"), calls, "{direction}: {metrics:?}");
        assert_eq!(of("sidestep_closed_connections_total"), calls, "{direction}: {metrics:?}");
        // Histograms are of hops to and from a sidecar.
        assert_eq!(of("sidestep_connect_duration_seconds_count"), 0, "{direction}: {metrics:?}");
        assert_eq!(of("sidestep_hand_off_duration_seconds_count"), 0, "{direction}: {metrics:?}");
        let listed = flows.iter().filter(|flow| flow["direction"] == direction).count();
        assert_eq!(listed as u64, calls, "{direction}: {flows:#?}");
    }
}

/// A call through the sidecar has two hops here, and is one call.
#[test]
fn the_hops_of_a_call_are_not_added() {
    const CALLS: u32 = 5;
    if !met(&[Requirement::Envoy, Requirement::Program("curl", "curl")])
        || !DataPlane::Sidestep.met(&[Requirement::Observation])
    {
        return;
    }
    // The page counts what is open on the node: that of this test alone.
    let root = PinRoot::new().unwrap();
    let network = Network::new("hops").unwrap();
    root.attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let config = SidecarConfig::new(Forward::Passthrough, &[8080]);
    let _sidecar = Sidecar::start_kind(Kind::Envoy, &network.pod, &config).unwrap();
    let _app = Server::on(&network.pod).listen(network.pod4(8080)).echo().start().unwrap();
    let load = Load::lasting(network.pod4(8080), CALLS).start(&network.outside).unwrap();
    let listed = ["flows", "--output", "json", "--port", "8080"];
    until("every call has both hops", SEEN_WITHIN, || {
        let flows = ended_command(root.command(&listed).unwrap()).unwrap();
        flows.stdout.lines().count() == 2 * CALLS as usize
    });
    let serve = Serve::start_with(&[], &[(pin_root::VARIABLE, &root.path().display().to_string())]).unwrap();
    let page: Value = serde_json::from_str(&serve.get("/api/v1/node", &[]).unwrap().body).unwrap();
    assert_eq!((&page["flows_live"], &page["calls_live"]), (&json!(2 * CALLS), &json!(CALLS)), "{page:#}");
    load.finish().unwrap();
}
