//! `sidestep flows --stuck`: bytes that wait at a reader that never reads, over the stack and past it; and nothing where all
//! is read.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use tests::accelerated::{Accelerated, attach_both};
use tests::any_reader::ANY_READER;
use tests::data_plane::DataPlane;
use tests::flows::of_pod;
use tests::load::Load;
use tests::network::Network;
use tests::pod::Pod;
use tests::process::Process;
use tests::requirement::Requirement;
use tests::serve::{self, Serve};
use tests::server::Server;
use tests::wait::until;

const PORT: u16 = 7000;
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// A client that has written until nothing more goes, and holds its connection.
fn full(pod: &Pod, network: &Network) -> Process {
    let command = pod.agent_as_app("fill").unwrap();
    let flags = ["--to", &network.pod4(PORT).to_string(), "--hold"];
    let client = command.args(flags).hold_input().spawn().unwrap();
    until("nothing more goes", SEEN_WITHIN, || client.stdout().contains("EAGAIN"));
    client
}

/// Those of the pod that are stuck for a second.
fn stuck(pod: &Pod) -> Vec<Value> {
    of_pod(pod, &["--stuck", "1s", "--port", &PORT.to_string()]).unwrap()
}

fn bytes(flow: &Value, queue: &str) -> u64 {
    flow["stuck"]["waiting"][queue].as_u64().unwrap_or_else(|| panic!("no {queue} in {flow:#}"))
}

#[rstest]
#[case::over_the_stack("off", false)]
#[case::redirected(ANY_READER, true)]
fn who_does_not_read_is_named(#[case] mode: &str, #[case] redirects: bool) {
    let acceleration = if redirects { vec![Requirement::Acceleration] } else { Vec::new() };
    if !DataPlane::Sidestep.met(&[vec![Requirement::Observation], acceleration].concat()) {
        return;
    }
    let network = Network::with_own_addresses("stuck").unwrap();
    let _attached = attach_both(&network, &Accelerated::new(mode)).unwrap();
    let server = Server::on(&network.pod).listen(network.pod4(PORT)).silent().hold().start().unwrap();
    let _client = full(&network.pod, &network);
    let found = stuck(&network.pod);
    let [flow] = found.as_slice() else { panic!("{found:#?}") };
    let said = &flow["stuck"];
    assert_eq!((&said["sender"], &said["reader"]), (&json!("client"), &json!("server")), "{flow:#}");
    assert_eq!(said["reader_is"], "application", "{flow:#}");
    assert_eq!(flow["server_process"]["pid"], server.processes()[0].pid(), "{flow:#}");
    assert!(said["for_us"].as_u64() >= Some(1_000_000), "{flow:#}");
    // What was written and not read is in one of the queues.
    let written: u64 =
        ["redirected", "stacked"].map(|path| flow["upload"]["written"][path].as_u64().unwrap()).iter().sum();
    let waiting = ["send", "receive", "redirected"].map(|queue| bytes(flow, queue));
    assert_eq!(waiting.iter().sum::<u64>(), written, "{flow:#}");
    assert!(bytes(flow, "receive") > 0 && bytes(flow, "send") > 0, "{flow:#}");
    assert_eq!(bytes(flow, "redirected") > 0, redirects, "{flow:#}");
    // TCP has no time of what is redirected.
    assert_eq!(flow["idle_us"].is_null(), redirects, "{flow:#}");
    let text = tests::sidestep::ended(["flows", "--stuck", "--port", &PORT.to_string()]).unwrap().stdout;
    let reader = format!("server lab-agent {} (application) takes nothing for ", server.processes()[0].pid());
    assert!(text.contains(&reader) && text.contains(" received and not read"), "{text}");
}

/// A reader in no workload: what is known is that the other side takes nothing.
#[test]
fn a_reader_elsewhere_is_named_by_its_address() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::with_own_addresses("stuck-far").unwrap();
    let _attached = Accelerated::new("off").attach(&network.outside).unwrap();
    let _server = Server::on(&network.pod).listen(network.pod4(PORT)).silent().hold().start().unwrap();
    let _client = full(&network.outside, &network);
    let found = stuck(&network.outside);
    let [flow] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!(flow["stuck"]["reader_is"], "elsewhere", "{flow:#}");
    assert!(bytes(flow, "send") > 0 && flow["stuck"]["waiting"]["receive"].is_null(), "{flow:#}");
}

#[test]
fn where_all_is_read_nothing_is_stuck() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::with_own_addresses("not-stuck").unwrap();
    let _attached = attach_both(&network, &Accelerated::new("off")).unwrap();
    let _server = Server::on(&network.pod).listen(network.pod4(PORT)).echo().start().unwrap();
    let load = Load::lasting(network.pod4(PORT), 5).start(&network.outside).unwrap();
    assert_eq!(stuck(&network.pod), Vec::<Value>::new());
    let live = of_pod(&network.pod, &["--port", &PORT.to_string()]).unwrap();
    assert_eq!(live.len(), 5, "{live:#?}");
    assert!(live.iter().all(|flow| flow["idle_us"].is_u64()), "{live:#?}");
    assert!(load.finish().unwrap().failed.is_empty());
}

#[test]
fn serve_counts_what_is_stuck_by_who_should_read() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Program("curl", "curl")]) {
        return;
    }
    let network = Network::with_own_addresses("stuck-count").unwrap();
    let _attached = attach_both(&network, &Accelerated::new("off")).unwrap();
    let server = Server::on(&network.pod).listen(network.pod4(PORT)).silent().hold().start().unwrap();
    let serve = Serve::start(&["--stuck-after", "1"]).unwrap();
    let count = |pod: &Pod| {
        let workload = serve::label(pod).unwrap();
        let metrics = serve.metrics().unwrap();
        ["application", "sidecar", "elsewhere"].map(|reader| {
            metrics.of("sidestep_stuck_connections", &[&workload, &format!("reader=\"{reader}\"")])
        })
    };
    assert_eq!(count(&network.pod), [0.0; 3]);
    let _client = full(&network.outside, &network);
    // The server's own process does not read; to the client's workload that is somebody else's.
    until("the server's connection is stuck", SEEN_WITHIN, || count(&network.pod) == [1.0, 0.0, 0.0]);
    until("and so is the client's", SEEN_WITHIN, || count(&network.outside) == [0.0, 0.0, 1.0]);
    drop(server);
    until("nothing is stuck any more", SEEN_WITHIN, || count(&network.pod) == [0.0; 3]);
}
