//! `sidestep serve`: what /metrics says is what the kernel counted, and how it starts and stops.

use std::time::Duration;

use rstest::rstest;
use tests::accelerated::{Accelerated, NO_CAPTURE, attach_both, streams};
use tests::any_reader::ANY_READER;
use tests::client::Connect;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::load::Load;
use tests::network::Network;
use tests::pin_root::{self, PinRoot};
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::serve::{self, Serve, label};
use tests::server;
use tests::sidestep::{DEFAULT_FLAGS, Sidestep, ended};

const ENDS_WITHIN: Duration = Duration::from_secs(20);

fn can() -> bool {
    DataPlane::Sidestep.met(&[Requirement::Program("curl", "curl")])
}

#[test]
fn decisions_and_refusals_are_counted_by_workload() {
    if !can() {
        return;
    }
    let network = Network::new("serve").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let serve = Serve::start(&[]).unwrap();
    let ours = label(&network.pod).unwrap();
    let before = serve.metrics().unwrap();
    assert_eq!(before.of("sidestep_refused_captures_total", &[&ours, "no_listener"]), 0.0, "{before:?}");
    assert!(
        before.series("sidestep_refused_captures_total").any(|(set, _)| set.contains(&ours)),
        "{before:?}"
    );

    let refused = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(refused.outcome(), Outcome::Refused);
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    for _ in 0..3 {
        Connect::to(network.outside4(80)).from(&network.pod).unwrap();
    }
    let after = serve.metrics().unwrap();
    assert_eq!(after.of("sidestep_refused_captures_total", &[&ours, "no_listener"]), 1.0, "{after:?}");
    assert_eq!(after.of("sidestep_decisions_total", &[&ours, "rule=\"I6\""]), 1.0, "{after:?}");
    assert_eq!(after.of("sidestep_decisions_total", &[&ours, "rule=\"O15\""]), 3.0, "{after:?}");
    assert_eq!(after.of("sidestep_workload_complete", &[&ours]), 1.0, "{after:?}");
    // Its share: all there are, divided by the workloads of this node.
    let may = after.of("sidestep_map_capacity_entries", &[&ours, "PENDING"]);
    assert!((512.0..=65536.0).contains(&may), "{after:?}");
}

#[test]
fn a_pod_is_called_by_its_name() {
    if !can() {
        return;
    }
    let network = Network::new("serve-pod").unwrap();
    let flags: Vec<&str> = DEFAULT_FLAGS.into_iter().chain(["--pod", "shop/web-0"]).collect();
    let _sidestep = Sidestep::attach(&network.pod, &flags).unwrap();
    let serve = Serve::start(&[]).unwrap();
    let metrics = serve.metrics().unwrap();
    let ours = label(&network.pod).unwrap();
    let named = [&*ours, "namespace=\"shop\"", "pod=\"web-0\""];
    assert_eq!(metrics.of("sidestep_workload_info", &named), 1.0, "{metrics:?}");
    assert_eq!(metrics.of("sidestep_workload_complete", &named[..2]), 1.0, "{metrics:?}");
    let bad = ended(["attach", "--pod", "web-0"]).unwrap();
    assert_eq!(bad.code, Some(64), "{bad:?}");
    assert!(bad.stderr.contains("web-0") && bad.stderr.contains("NAMESPACE/NAME"), "{bad:?}");
}

#[test]
fn bytes_by_path_are_those_of_the_acceleration() {
    if !can() || !met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::with_own_addresses("serve-bytes").unwrap();
    let _attached = attach_both(&network, &Accelerated::new(ANY_READER)).unwrap();
    let serve = Serve::start(&[]).unwrap();
    let at = network.pod4(7000);
    let _server = streams::serve(&network.pod, at, &[]).unwrap();
    streams::Client::to(at, 4, 1 << 20).run(&network.outside).unwrap();
    let counted = Acceleration::of_pod(&network.outside).unwrap();
    let metrics = serve.metrics().unwrap();
    let redirected = metrics
        .of("sidestep_acceleration_bytes_total", &[&label(&network.outside).unwrap(), "path=\"redirected\""]);
    assert!(redirected > 0.0, "{metrics:?}");
    assert_eq!(redirected, counted.of("redirected").bytes as f64, "{metrics:?}");
    assert!(metrics.of("sidestep_acceleration_sockets_total", &["enrolled"]) >= 8.0, "{metrics:?}");
}

#[test]
fn entries_of_maps_are_counted() {
    const CONNECTIONS: u32 = 50;
    if !can() || !met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::new("serve-fill").unwrap();
    // A node of its own: other tests' sockets are in other maps.
    let root = PinRoot::new().unwrap();
    let accelerated = Accelerated::new(ANY_READER).flags();
    for pod in [&network.pod, &network.outside] {
        let flags = accelerated.iter().map(String::as_str);
        root.attach(pod, &NO_CAPTURE.into_iter().chain(flags).collect::<Vec<_>>()).unwrap();
    }
    let at = network.pod4(7000);
    let _server = server::Server::on(&network.pod).listen(at).echo().start().unwrap();
    let load = Load::lasting(at, CONNECTIONS).start(&network.outside).unwrap();
    // Its first look counts what it otherwise does once a minute.
    let serve = Serve::start_with(&[], &[(pin_root::VARIABLE, &root.path().display().to_string())]).unwrap();
    let metrics = serve.metrics().unwrap();
    let entries = |map: &str| metrics.of("sidestep_map_entries", &[&format!("{{map=\"{map}\"}}")]);
    assert_eq!(entries("LOCAL_ADDRS"), 4.0, "IPv4 and IPv6 of two pods: {metrics:?}");
    assert_eq!(metrics.of("sidestep_workloads", &["state=\"readable\""]), 2.0, "{metrics:?}");
    assert_eq!(metrics.of("sidestep_workload_accelerated", &[]), 2.0, "{metrics:?}");
    let ends = f64::from(2 * CONNECTIONS);
    assert_eq!((entries("SOCKS"), entries("ENDS")), (ends, ends), "{metrics:?}");
    assert!(load.finish().unwrap().failed.is_empty());
}

#[test]
fn program_time_is_counted_on_demand() {
    if !can() {
        return;
    }
    let network = Network::new("serve-stats").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let serve = Serve::start(&["--program-stats"]).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    Connect::to(network.outside4(80)).from(&network.pod).unwrap();
    let metrics = serve.metrics().unwrap();
    // Of all workloads of the node.
    let labels = ["program=\"connect4\""];
    assert!(metrics.of("sidestep_program_runs_total", &labels) >= 1.0, "{metrics:?}");
    assert!(metrics.of("sidestep_program_run_seconds_total", &labels) > 0.0, "{metrics:?}");
}

#[rstest]
#[case::nothing_said(&[], "text/plain; version=0.0.4; charset=utf-8", false)]
#[case::prometheus(
    &["Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
    true
)]
fn the_client_chooses_the_format(#[case] headers: &[&str], #[case] kind: &str, #[case] open: bool) {
    if !can() {
        return;
    }
    let serve = Serve::start(&[]).unwrap();
    let answer = serve.get("/metrics", headers).unwrap();
    assert_eq!((answer.status, answer.content_type.as_str()), (200, kind));
    assert_eq!(answer.body.trim_end().ends_with("# EOF"), open, "{}", answer.body);
}

#[test]
fn it_is_alive_and_ready_and_has_no_other_pages() {
    if !can() {
        return;
    }
    let serve = Serve::start(&[]).unwrap();
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/nothing", 404)] {
        assert_eq!(serve.get(path, &[]).unwrap().status, status, "{path}");
    }
}

#[test]
fn sigterm_ends_it_without_an_error() {
    if !can() {
        return;
    }
    let mut serve = Serve::start(&[]).unwrap();
    let status = serve.process().terminate(ENDS_WITHIN).unwrap();
    assert_eq!(status.code(), Some(0), "{}", serve.process().stderr());
}

#[test]
fn a_taken_port_is_named_and_nothing_starts() {
    if !can() {
        return;
    }
    let serve = Serve::start(&[]).unwrap();
    let address = serve.address().to_string();
    let mut second = serve::command(serve.pod(), &["--listen", &address]).unwrap().spawn().unwrap();
    let status = second.wait(ENDS_WITHIN).unwrap();
    assert_eq!(status.code(), Some(69), "{}", second.stderr());
    let said = second.stderr();
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    assert!(!second.stdout().contains("ready"), "{}", second.stdout());
    assert_eq!(serve.get("/healthz", &[]).unwrap().status, 200, "the first one stays");
}

#[test]
fn without_privilege_it_says_so() {
    if !met(&[Requirement::Root, Requirement::Cgroup2, Requirement::Sidestep]) {
        return;
    }
    let network = Network::new("serve-user").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let mut serve = serve::command(&network.outside, &[]).unwrap().user(1000, 1000).spawn().unwrap();
    let status = serve.wait(ENDS_WITHIN).unwrap();
    assert_eq!(status.code(), Some(77), "{}", serve.stderr());
}
