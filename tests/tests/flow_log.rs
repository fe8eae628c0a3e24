//! The flow log of `sidestep serve`: a record of each connection, as its schema says, that the sidecar's access log can be
//! joined with; and a file that cannot be written, or never takes anything, changes nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tests::agent;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::flows::wait_closed;
use tests::load::Load;
use tests::network::Network;
use tests::report::Outcome;
use tests::requirement::Requirement;
use tests::schema::faults;
use tests::serve::{self, Serve};
use tests::server::{Server, stand_in};
use tests::sidecar::{Logged, Sidecar};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};
use tests::wait::until;

const SEEN_WITHIN: Duration = Duration::from_secs(30);
const POD: [&str; 2] = ["--pod", "shop/web-0"];

fn can() -> bool {
    DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Program("curl", "curl")])
}

fn attach(network: &Network) -> Sidestep {
    Sidestep::attach(&network.pod, &[&DEFAULT_FLAGS[..], &POD].concat()).unwrap()
}

/// Records of this network's pod, each held against the schema.
fn records(path: &Path, network: &Network) -> Vec<Value> {
    let schema = agent::repository().join("docs/schema/flow_log.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let workload = network.pod.workload().unwrap();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last one may be written just now.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let all = whole.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = all.filter(|record| record["workload"] == workload.as_str()).inspect(|record| {
        let found = faults(&schema, record);
        assert!(found.is_empty(), "{found:#?}\n{record:#}");
    });
    ours.collect()
}

fn wait_records(path: &Path, network: &Network, wanted: impl Fn(&Value) -> bool, count: usize) -> Vec<Value> {
    let found = || records(path, network).into_iter().filter(|record| wanted(record)).collect::<Vec<_>>();
    until("the records are written", SEEN_WITHIN, || found().len() >= count);
    found()
}

fn log_to(path: &Path, more: &[&str]) -> Serve {
    Serve::start(&[&["--flow-log", path.to_str().unwrap()], more].concat()).unwrap()
}

fn scratch(network: &Network) -> PathBuf {
    network.pod.scratch().join("flows.json")
}

#[test]
fn each_connection_is_a_record_once_it_has_ended() {
    if !can() {
        return;
    }
    let network = Network::new("flow-log").unwrap();
    let _attached = attach(&network);
    let _sidecar = stand_in(&network.pod).start().unwrap();
    let path = scratch(&network);
    let mut serve = log_to(&path, &[]);
    for _ in 0..3 {
        let seen = Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "{seen:?}");
    }
    let outside = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(outside.outcome(), Outcome::Answered, "{outside:?}");
    let mut logged = wait_records(&path, &network, |record| record["record"] == "end", 4);
    let mut listed = wait_closed(&network.pod, &[], 4).unwrap();
    let by_id = |flow: &Value| flow["id"].as_u64();
    logged.sort_by_key(by_id);
    listed.sort_by_key(by_id);
    assert_eq!(logged.len(), 4, "each once: {logged:#?}");
    for (record, flow) in logged.iter().zip(&listed) {
        assert_eq!((&record["sample"], &record["pod"]), (&json!(1), &json!("web-0")), "{record:#}");
        for field in ["id", "client", "original_destination", "close", "upload", "download", "namespace"] {
            assert_eq!(record[field], flow[field], "{field} of {record:#}");
        }
        let apart =
            |at: &str| record["times"][at].as_u64().unwrap().abs_diff(flow["times"][at].as_u64().unwrap());
        // The clocks were compared at another moment.
        assert!(apart("syn") < 1_000_000 && apart("close") < 1_000_000, "{record:#}\n{flow:#}");
    }
    let metrics = serve.metrics().unwrap();
    assert!(metrics.of("sidestep_flow_log_records_total", &[]) >= 4.0, "{metrics:?}");
    assert_eq!(metrics.of("sidestep_flow_log_lost_total", &[]), 0.0, "{metrics:?}");
    // What closes just before its end is written, too.
    Connect::to("10.96.7.7:81".parse().unwrap()).from(&network.pod).unwrap();
    wait_closed(&network.pod, &["--port", "81"], 1).unwrap();
    assert_eq!(serve.process().terminate(SEEN_WITHIN).unwrap().code(), Some(0));
    let last = records(&path, &network);
    assert_eq!(
        last.iter().filter(|record| record["original_destination"] == "10.96.7.7:81").count(),
        1,
        "{last:#?}"
    );
}

#[test]
fn one_that_lasts_is_a_record_now_and_then() {
    if !can() {
        return;
    }
    let network = Network::new("flow-log-lasts").unwrap();
    let _attached = attach(&network);
    let at: SocketAddr = "127.0.0.1:7000".parse().unwrap();
    let _app = Server::on(&network.pod).listen(at).echo().start().unwrap();
    let path = scratch(&network);
    let _serve = log_to(&path, &["--flow-log-every", "1"]);
    let load = Load::lasting(at, 1).start(&network.pod).unwrap();
    let lasting = wait_records(&path, &network, |record| record["record"] == "interval", 3);
    let figure = |place: &str| {
        lasting.iter().map(|of| of.pointer(place).unwrap().as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert!(figure("/id").windows(2).all(|pair| pair[0] == pair[1]), "{lasting:#?}");
    for rising in ["/duration_us", "/upload/written/stacked"] {
        assert!(figure(rising).windows(2).all(|pair| pair[0] < pair[1]), "{rising} in {lasting:#?}");
    }
    assert!(lasting.iter().all(|record| record["state"] == "live"), "{lasting:#?}");
    load.finish().unwrap();
    let end = wait_records(&path, &network, |record| record["record"] == "end", 1);
    assert_eq!(end[0]["id"], lasting[0]["id"]);
}

/// As docs/flows.md says: by the addresses that Envoy logs.
#[test]
fn the_sidecars_access_log_can_be_joined() {
    if !can() {
        return;
    }
    let network = Network::new("flow-log-join").unwrap();
    let _attached = attach(&network);
    let config = SidecarConfig::new(Forward::Passthrough, &[8080]);
    let sidecar = Sidecar::start(&network.pod, &config).unwrap();
    let _app = Server::on(&network.pod).listen(network.pod4(8080)).start().unwrap();
    let _service = Server::on(&network.outside).listen(network.outside4(80)).start().unwrap();
    let path = scratch(&network);
    let _serve = log_to(&path, &[]);
    for (to, from) in [(network.pod4(8080), &network.outside), (network.outside4(80), &network.pod)] {
        let seen = Connect::to(to).from(from).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "{seen:?}");
    }
    for (direction, outer, inner) in [("inbound", "inbound", "inner"), ("outbound", "outbound", "upstream")] {
        let line: Logged = sidecar.wait_logged(|line| line.direction == direction).unwrap();
        let text = |address: Option<SocketAddr>| address.map(|address| json!(address.to_string())).unwrap();
        let is_outer = |record: &Value| {
            record["hop"] == outer
                && record["client"] == text(line.downstream_remote)
                && record["original_destination"] == text(line.downstream_local)
        };
        let is_inner = |record: &Value| {
            record["hop"] == inner
                && record["client"] == text(line.upstream_local)
                && record["server"] == text(line.upstream_host)
        };
        assert_eq!(wait_records(&path, &network, is_outer, 1).len(), 1, "{line:?}");
        assert_eq!(wait_records(&path, &network, is_inner, 1).len(), 1, "{line:?}");
    }
}

#[test]
fn a_full_disk_is_told_and_changes_nothing_else() {
    if !can() {
        return;
    }
    let network = Network::new("flow-log-full").unwrap();
    let _attached = attach(&network);
    let _sidecar = stand_in(&network.pod).start().unwrap();
    let mut serve = log_to(Path::new("/dev/full"), &[]);
    Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap();
    let lost = || serve.metrics().unwrap().of("sidestep_flow_log_lost_total", &["reason=\"write_failed\""]);
    until("the loss is counted", SEEN_WITHIN, || lost() >= 1.0);
    assert_eq!(serve.metrics().unwrap().of("sidestep_flow_log_records_total", &[]), 0.0);
    let said = serve.process().stderr();
    assert!(said.contains("flow log: /dev/full: No space left on device"), "{said}");
    assert_eq!(serve.process().terminate(SEEN_WITHIN).unwrap().code(), Some(0));
}

/// A pipe that nobody reads: to open it waits for ever.
#[test]
fn a_disk_that_hangs_holds_up_nobody() {
    if !can() {
        return;
    }
    let network = Network::new("flow-log-hangs").unwrap();
    let _attached = attach(&network);
    let _sidecar = stand_in(&network.pod).start().unwrap();
    let pipe = network.pod.scratch().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut serve = log_to(&pipe, &["--drain", "1"]);
    Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap();
    wait_closed(&network.pod, &[], 1).unwrap();
    for path in ["/readyz", "/metrics", "/api/v1/node"] {
        assert_eq!(serve.get(path, &[]).unwrap().status, 200, "{path}");
    }
    assert_eq!(serve.process().terminate(SEEN_WITHIN).unwrap().code(), Some(0));
    let said = serve.process().stderr();
    assert!(said.contains("flow log: not all records were written within 1 s"), "{said}");
}

/// By the port: a bounded number of series, none for what goes through the sidecar.
#[test]
fn connections_around_the_sidecar_are_counted_by_port() {
    if !can() {
        return;
    }
    let network = Network::new("around").unwrap();
    let flags = ["-u", "1337", "-i", "*", "-b", "*", "-d", "9000,15021"];
    let _attached = Sidestep::attach(&network.pod, &flags).unwrap();
    let _sidecar = stand_in(&network.pod).start().unwrap();
    let _servers =
        [9000, 15021].map(|port| Server::on(&network.pod).listen(network.pod4(port)).start().unwrap());
    let serve = Serve::start(&[]).unwrap();
    for port in [9000, 9000, 15021, 8080] {
        let seen = Connect::to(network.pod4(port)).from(&network.outside).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "{seen:?}");
    }
    wait_closed(&network.pod, &[], 4).unwrap();
    let workload = serve::label(&network.pod).unwrap();
    let name = "sidestep_around_sidecar_connections_total";
    until("both are counted", SEEN_WITHIN, || {
        serve.metrics().unwrap().of(name, &[&workload, "port=\"9000\""]) == 2.0
    });
    assert_eq!(serve.metrics().unwrap().of(name, &[&workload]), 2.0, "probes go to the sidecar's own port");
}
