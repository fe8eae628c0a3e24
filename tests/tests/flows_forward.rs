//! What is said of each hop through a real Envoy: how it forwards, by which rule, for which processes.

use std::net::SocketAddr;

use rstest::rstest;
use serde_json::{Value, json};
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::flows::{total, wait_closed};
use tests::network::Network;
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::serve::{self, Serve};
use tests::server::Server;
use tests::sidecar::{Kind, Sidecar};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

fn of_hop<'a>(flows: &'a [Value], hop: &str) -> &'a Value {
    let mut found = flows.iter().filter(|flow| flow["hop"] == hop);
    match (found.next(), found.next()) {
        (Some(flow), None) => flow,
        _ => panic!("not one {hop} in {flows:#?}"),
    }
}

fn expect(flow: &Value, expected: &[(&str, Value)]) {
    for (place, value) in expected {
        assert_eq!(flow.pointer(place), Some(value), "{place} in {flow:#}");
    }
}

fn assert_timed(flow: &Value) {
    let at = |name: &str| {
        flow["times"][name].as_u64().unwrap_or_else(|| panic!("times.{name} is missing in {flow:#}"))
    };
    assert!(at("syn") <= at("established") && at("established") <= at("close"), "{flow:#}");
    assert!(at("established") <= at("accepted") && at("syn") <= at("first_byte"), "{flow:#}");
    assert!(at("first_byte") <= at("close"), "{flow:#}");
}

#[rstest]
#[case::lo("REDIRECT", Forward::Localhost, "127.0.0.1:8080", "lo", "O5")]
#[case::eth0("REDIRECT", Forward::Passthrough, "10.10.0.26:8080", "eth0", "O2")]
#[case::tproxy("TPROXY", Forward::Passthrough, "10.10.0.26:8080", "tproxy", "O2")]
fn inbound(
    #[case] mode: &str,
    #[case] forward: Forward,
    #[case] app: &str,
    #[case] name: &str,
    #[case] inner_rule: &str,
) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Envoy]) {
        return;
    }
    let network = Network::new("flow-in").unwrap();
    let mut flags = DEFAULT_FLAGS;
    flags[9] = mode;
    let _attached = Sidestep::attach(&network.pod, &flags).unwrap();
    let mut config = SidecarConfig::new(forward, &[8080]);
    if mode == "TPROXY" {
        config = config.transparent();
    }
    let _sidecar = Sidecar::start_kind(Kind::Envoy, &network.pod, &config).unwrap();
    let _app = Server::on(&network.pod).listen(app.parse::<SocketAddr>().unwrap()).start().unwrap();
    let seen = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(seen.outcome(), Outcome::Answered, "{seen:?}");
    let (client, answer) = (seen.sockname.unwrap().to_string(), seen.received.len() as u64);

    let flows = wait_closed(&network.pod, &["--direction", "inbound", "--port", "8080"], 2).unwrap();
    assert_eq!(flows.len(), 2, "{flows:#?}");
    let taken = of_hop(&flows, "inbound");
    let rule = if mode == "TPROXY" { "T6" } else { "I6" };
    let to = network.pod4(8080).to_string();
    expect(
        taken,
        &[
            ("/rule", json!(rule)),
            ("/verdict", json!("inbound")),
            ("/forward", Value::Null),
            ("/client", json!(client)),
            ("/original_client", json!(client)),
            ("/original_destination", json!(to)),
            ("/listener", json!(15006)),
            ("/client_process", Value::Null),
            ("/server_process/comm", json!("envoy")),
            ("/server_process/uid", json!(if mode == "TPROXY" { 0 } else { 1337 })),
        ],
    );
    assert_eq!(total(taken, "/download/written"), answer, "{taken:#}");
    assert_eq!(total(taken, "/upload/read"), 0, "{taken:#}");
    assert_timed(taken);

    let inner = of_hop(&flows, "inner");
    expect(
        inner,
        &[
            ("/forward", json!(name)),
            ("/verdict", json!("bypass")),
            ("/server", json!(app)),
            ("/original_destination", json!(app)),
            ("/client_process/comm", json!("envoy")),
            ("/server_process/comm", json!("lab-agent")),
            ("/server_process/uid", json!(1000)),
        ],
    );
    if mode == "TPROXY" {
        let shown = inner["original_client"].as_str().unwrap().parse::<SocketAddr>().unwrap();
        assert_eq!(shown.ip(), seen.sockname.unwrap().ip(), "{inner:#}");
    } else {
        expect(inner, &[("/rule", json!(inner_rule)), ("/original_client", Value::Null)]);
    }
    for what in ["written", "read"] {
        assert_eq!(total(inner, &format!("/download/{what}")), answer, "{inner:#}");
    }
    assert_timed(inner);
    let only = wait_closed(&network.pod, &["--forward", name], 1).unwrap();
    let ids: Vec<&Value> = only.iter().map(|flow| &flow["id"]).collect();
    assert_eq!(ids, [&inner["id"]], "the filter");

    if !met(&[Requirement::Program("curl", "curl")]) {
        return;
    }
    let metrics = Serve::start(&[]).unwrap().metrics().unwrap();
    let pod = &network.pod;
    let workload = serve::label(pod).unwrap();
    let labels = [&*workload, "hop=\"inner\"", &*format!("forward=\"{name}\"")];
    // Both ends are of one class, though only the client's says how the sidecar forwards.
    for name in ["sidestep_connect_duration_seconds_count", "sidestep_hand_off_duration_seconds_count"] {
        assert_eq!(metrics.of(name, &labels), 1.0, "{metrics:?}");
    }
    let received = [labels[0], labels[1], labels[2], "way=\"received\""];
    assert_eq!(metrics.of("sidestep_flow_bytes_total", &received), answer as f64, "{metrics:?}");
}

#[test]
fn outbound() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Envoy]) {
        return;
    }
    let network = Network::new("flow-out").unwrap();
    let _attached = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let config = SidecarConfig::new(Forward::Passthrough, &[]);
    let _sidecar = Sidecar::start_kind(Kind::Envoy, &network.pod, &config).unwrap();
    let _service =
        Server::on(&network.outside).listen("0.0.0.0:80".parse::<SocketAddr>().unwrap()).start().unwrap();
    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let seen = Connect::to(service).from(&network.pod).unwrap();
    assert_eq!(seen.outcome(), Outcome::Answered, "{seen:?}");
    let answer = seen.received.len() as u64;
    let flows = wait_closed(&network.pod, &["--direction", "outbound"], 2).unwrap();
    assert_eq!(flows.len(), 2, "{flows:#?}");
    let taken = of_hop(&flows, "outbound");
    expect(
        taken,
        &[
            ("/rule", json!("O15")),
            ("/verdict", json!("outbound")),
            ("/original_destination", json!(service.to_string())),
            ("/original_client", json!(seen.sockname.unwrap().to_string())),
            ("/listener", json!(15001)),
            ("/client_process/comm", json!("lab-agent")),
            ("/client_process/uid", json!(1000)),
            ("/server_process/comm", json!("envoy")),
            ("/server_process/uid", json!(1337)),
        ],
    );
    for what in ["written", "read"] {
        assert_eq!(total(taken, &format!("/download/{what}")), answer, "{taken:#}");
    }
    assert_timed(taken);
    let upstream = of_hop(&flows, "upstream");
    expect(
        upstream,
        &[
            ("/rule", json!("O5")),
            ("/verdict", json!("bypass")),
            ("/server", json!(service.to_string())),
            ("/client_process/comm", json!("envoy")),
            ("/server_process", Value::Null),
        ],
    );
    assert_eq!(total(upstream, "/download/read"), answer, "{upstream:#}");
}

/// Nobody listens on 15001.
#[test]
fn refused() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("flow-refused").unwrap();
    let attached = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let seen = Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap();
    assert_eq!(seen.outcome(), Outcome::Refused, "{seen:?}");
    assert_eq!(attached.event("outbound_refused").unwrap(), 1);
    let flows = wait_closed(&network.pod, &["--verdict", "refused"], 1).unwrap();
    let [flow] = flows.as_slice() else { panic!("{flows:#?}") };
    expect(
        flow,
        &[
            ("/hop", json!("outbound")),
            ("/rule", json!("O15")),
            ("/close", json!("refused")),
            ("/original_destination", json!("10.96.7.7:80")),
            ("/times/established", Value::Null),
        ],
    );
}
