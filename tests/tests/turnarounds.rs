//! From the last byte of a request to the first of its answer, on each hop through a real Envoy: which requests are measured,
//! that no hop is faster than the one behind it, and that none is faster than an application that is known to wait. How long
//! the sidecar takes by itself is a matter of the machine's load, and only printed.

use std::net::SocketAddr;
use std::time::Duration;

use proxy_common::flow::weight;
use rstest::rstest;
use serde_json::Value;
use tests::accelerated::{Accelerated, attach_both};
use tests::any_reader::ANY_READER;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::network::Network;
use tests::pod::Pod;
use tests::process::Process;
use tests::report::Turns;
use tests::requirement::Requirement;
use tests::serve::{Metrics, Serve};
use tests::sidecar::{Kind, Logged, Sidecar};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

const WITHIN: Duration = Duration::from_secs(60);
const CURL: Requirement = Requirement::Program("curl", "curl");
/// How long the application waits before it answers: of each so many requests.
const WAITS_MS: [u64; 2] = [5, 50];
const EACH: u32 = 20;
const ALL: u32 = EACH * WAITS_MS.len() as u32;

/// An application that waits as it is asked to.
fn answerer(pod: &Pod, listen: SocketAddr) -> Process {
    let command = pod.agent_as_app("turns").unwrap().args(["answer", "--listen", &listen.to_string()]);
    let process = command.spawn().unwrap();
    process.wait_for("ready").unwrap();
    process
}

fn ask(pod: &Pod, to: SocketAddr, flags: &[&str]) -> Vec<u64> {
    let command = pod.agent_as_app("turns").unwrap().args(["ask", "--to", &to.to_string()]).args(flags);
    let mut process = command.spawn().unwrap();
    let status = process.wait(WITHIN).unwrap();
    assert!(status.success(), "{}", process.stderr());
    process.records::<Turns>().pop().unwrap().us
}

fn ask_slow_ones(pod: &Pod, to: SocketAddr) -> Vec<u64> {
    ask(pod, to, &["--wait-ms", "5,50", "--requests", &EACH.to_string()])
}

/// The turnarounds at one end of a pod's hop.
#[derive(Clone, Copy, PartialEq, Debug)]
struct End {
    count: f64,
    /// Microseconds.
    sum: f64,
}

impl End {
    fn of(metrics: &Metrics, pod: &Pod, hop: &str, end: &str) -> Self {
        let workload = format!("workload=\"{}-{}\"", pod.netns_inode().unwrap(), pod.cgroup_id().unwrap());
        let labels = [&*workload, &*format!("hop=\"{hop}\""), &*format!("end=\"{end}\"")];
        let of = |part: &str| metrics.of(&format!("sidestep_turnaround_duration_seconds_{part}"), &labels);
        Self { count: of("count"), sum: of("sum") * 1e6 }
    }
}

/// What is measured of these durations of a connection's requests adds up to this, in microseconds.
fn sampled(us: impl IntoIterator<Item = u64>) -> f64 {
    (1..).zip(us).map(|(number, us)| weight(number) * us).sum::<u64>() as f64
}

/// For how many requests those that are measured of a connection stand.
fn stand_for(requests: u32) -> f64 {
    (1..=requests).map(weight).sum::<u64>() as f64
}

/// What the application alone takes.
fn waited() -> f64 {
    sampled(WAITS_MS.iter().flat_map(|ms| vec![ms * 1000; EACH as usize]))
}

/// From the outermost end to the innermost: each saw as many requests, and none was faster than the one behind it.
fn assert_ordered(ends: &[(&str, End)]) {
    println!("{:>24} {:>9.1} us of the application's", "waited", waited() / stand_for(ALL));
    for (name, end) in ends {
        println!("{name:>24} {:>9.1} us on average", end.sum / end.count);
        assert_eq!(end.count, stand_for(ALL), "{name}: {ends:#?}");
    }
    for ends in ends.windows(2) {
        // A sum is written in seconds.
        assert!(ends[0].1.sum >= ends[1].1.sum - 0.5, "{ends:#?}");
    }
    assert!(ends.last().unwrap().1.sum >= waited() - 0.5, "{ends:#?}");
}

/// Envoy's own durations lie within the outer ones and around the inner ones.
fn assert_agrees_with_envoy(sidecar: &Sidecar, outer: End, inner: End) {
    tests::wait::until("all requests are logged", WITHIN, || sidecar.logged().len() >= ALL as usize);
    let lines = sidecar.logged();
    let of = |field: fn(&Logged) -> Option<u64>| {
        let all = lines.iter().map(|line| field(line).unwrap_or_else(|| panic!("{line:?}")));
        sampled(all)
    };
    let (downstream, upstream) = (of(|line| line.downstream_us), of(|line| line.upstream_us));
    let count = stand_for(ALL);
    println!("{:>24} {:>9.1} and {:.1} us", "Envoy's", downstream / count, upstream / count);
    println!("{:>24} {:>9.1} us of ours", "sidecar added", (outer.sum - inner.sum) / count);
    assert!(downstream <= outer.sum + 0.5, "{downstream} of Envoy's, {outer:?}");
    assert!(upstream >= inner.sum - 0.5, "{upstream} of Envoy's, {inner:?}");
}

#[rstest]
fn inbound(
    #[values((Forward::Localhost, "lo"), (Forward::Passthrough, "eth0"))] (forward, name): (Forward, &str),
    #[values(ANY_READER, "off")] mode: &str,
) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Envoy, CURL])
        || mode == ANY_READER && !tests::requirement::met(&[Requirement::Acceleration])
    {
        return;
    }
    let network = Network::with_own_addresses("turn-in").unwrap();
    let _attached = attached(&network, mode);
    let sidecar =
        Sidecar::start_kind(Kind::Envoy, &network.pod, &SidecarConfig::new(forward, &[8080]).http()).unwrap();
    let at = if name == "lo" { "127.0.0.1:8080".parse().unwrap() } else { network.pod4(8080) };
    let _app = answerer(&network.pod, at);
    ask_slow_ones(&network.outside, network.pod4(8080));

    let metrics = Serve::start(&[]).unwrap().metrics().unwrap();
    let of = |pod: &Pod, hop: &str, end: &str| End::of(&metrics, pod, hop, end);
    let (client, outer) = (of(&network.outside, "direct", "client"), of(&network.pod, "inbound", "server"));
    let (inner, app) = (of(&network.pod, "inner", "client"), of(&network.pod, "inner", "server"));
    assert_ordered(&[
        ("client", client),
        ("sidecar in", outer),
        ("sidecar out", inner),
        ("application", app),
    ]);
    assert_agrees_with_envoy(&sidecar, outer, inner);
    let forward = format!("forward=\"{name}\"");
    let known = ["hop=\"inner\"", &*forward];
    assert_eq!(metrics.of("sidestep_turnaround_duration_seconds_count", &known), 2.0 * inner.count);
    let redirected = metrics.of("sidestep_flow_messages_total", &[known[0], known[1], "path=\"redirected\""]);
    assert_eq!(redirected > 0.0, mode == ANY_READER, "{redirected} messages");
    // None is as fast as a millisecond.
    let fast = [known[0], known[1], "le=\"0.001024\""];
    assert_eq!(metrics.of("sidestep_turnaround_duration_seconds_bucket", &fast), 0.0);
}

/// The pod with a sidecar, the other one with nothing captured.
fn attached(network: &Network, mode: &str) -> [Sidestep; 2] {
    let flags = Accelerated::new(mode).flags();
    let flags: Vec<&str> = DEFAULT_FLAGS.into_iter().chain(flags.iter().map(String::as_str)).collect();
    let other = Accelerated::new(mode).attach(&network.outside).unwrap();
    [Sidestep::attach(&network.pod, &flags).unwrap(), other]
}

#[rstest]
fn outbound(#[values(ANY_READER, "off")] mode: &str) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Envoy, CURL])
        || mode == ANY_READER && !tests::requirement::met(&[Requirement::Acceleration])
    {
        return;
    }
    let network = Network::with_own_addresses("turn-out").unwrap();
    let _attached = attached(&network, mode);
    let config = SidecarConfig::new(Forward::Passthrough, &[]).http();
    let sidecar = Sidecar::start_kind(Kind::Envoy, &network.pod, &config).unwrap();
    let _service = answerer(&network.outside, network.outside4(80));
    ask_slow_ones(&network.pod, network.outside4(80));

    let metrics = Serve::start(&[]).unwrap().metrics().unwrap();
    let of = |pod: &Pod, hop: &str, end: &str| End::of(&metrics, pod, hop, end);
    let app = of(&network.pod, "outbound", "client");
    let outer = of(&network.pod, "outbound", "server");
    let inner = of(&network.pod, "upstream", "client");
    let service = of(&network.outside, "direct", "server");
    assert_ordered(&[
        ("application", app),
        ("sidecar in", outer),
        ("sidecar out", inner),
        ("service", service),
    ]);
    assert_agrees_with_envoy(&sidecar, outer, inner);
}

/// Of a long connection one request in 16 is measured, and stands for 16; a request in pieces is one.
#[rstest]
fn requests_are_sampled_and_counted(#[values(ANY_READER, "off")] mode: &str, #[values(1, 3)] pieces: u32) {
    const REQUESTS: u32 = 300;
    const SHORT: u32 = 20;
    if !DataPlane::Sidestep.met(&[Requirement::Observation, CURL])
        || mode == ANY_READER && !tests::requirement::met(&[Requirement::Acceleration])
    {
        return;
    }
    let network = Network::with_own_addresses("turn-many").unwrap();
    let _attached = attach_both(&network, &Accelerated::new(mode)).unwrap();
    let at = network.pod4(8080);
    let _app = answerer(&network.pod, at);
    let pieces = pieces.to_string();
    let flags = ["--wait-ms", "0", "--pieces", &pieces, "--requests"];
    ask(&network.outside, at, &[&flags[..], &[&REQUESTS.to_string()]].concat());
    for _ in 0..SHORT {
        ask(&network.outside, at, &[&flags[..], &["1"]].concat());
    }
    let expected = stand_for(REQUESTS) + f64::from(SHORT);
    let serve = Serve::start(&[]).unwrap();
    let metrics = serve.metrics().unwrap();
    for (pod, end) in [(&network.outside, "client"), (&network.pod, "server")] {
        assert_eq!(End::of(&metrics, pod, "direct", end).count, expected, "{end}");
    }
    let page: Value = serde_json::from_str(&serve.get("/api/v1/node", &[]).unwrap().body).unwrap();
    let classes =
        page["workloads"].as_array().unwrap().iter().flat_map(|of| of["classes"].as_array().unwrap());
    let measured: Vec<&Value> =
        classes.map(|class| &class["server_turnaround"]).filter(|it| !it.is_null()).collect();
    let [of] = measured[..] else { panic!("{page:#}") };
    let looks = (1..=REQUESTS).filter(|number| weight(*number) > 0).count() as u64 + u64::from(SHORT);
    assert_eq!(
        (of["requests"].as_u64().unwrap() as f64, of["measured"].as_u64().unwrap()),
        (expected, looks)
    );
    let us = |name: &str| of[name].as_u64().unwrap();
    assert!(us("p50_us") <= us("p99_us") && us("mean_us") > 0, "{of}");
}

/// A workload that has the slot next begins with none.
#[test]
fn what_was_measured_goes_with_the_workload() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, CURL]) {
        return;
    }
    let network = Network::with_own_addresses("turn-gone").unwrap();
    let at = network.pod4(8080);
    let _app = answerer(&network.pod, at);
    for _ in 0..2 {
        let attached = attach_both(&network, &Accelerated::new("off")).unwrap();
        ask(&network.outside, at, &["--wait-ms", "0", "--requests", "3"]);
        let metrics = Serve::start(&[]).unwrap().metrics().unwrap();
        assert_eq!(End::of(&metrics, &network.pod, "direct", "server").count, 3.0);
        drop(attached);
    }
}
