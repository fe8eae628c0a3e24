//! From the last byte of a request to the first of its answer, on each hop through a real Envoy: how many are measured,
//! that no hop is faster than the one behind it, and that none is faster than an application that is known to wait. How long
//! the sidecar takes by itself is a matter of the machine's load, and only printed.

use std::net::SocketAddr;
use std::time::Duration;

use proxy_common::flow::FIRST;
use rstest::rstest;
use tests::accelerated::{Accelerated, attach_both};
use tests::any_reader::ANY_READER;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::{Requirement, met};
use tests::serve::label;
use tests::sidecar::{Kind, Logged, Sidecar};
use tests::sidestep::Sidestep;
use tests::turnarounds::{End, Seen, answerer, ask};
use tests::wait::until;

const WITHIN: Duration = Duration::from_secs(60);
const CURL: Requirement = Requirement::Program("curl", "curl");
/// How long the application waits before it answers: of each so many requests, so few that all are measured.
const WAITS_MS: [u64; 2] = [5, 50];
const EACH: u32 = FIRST / 2;
const ALL: u64 = FIRST as u64;

fn ask_slow_ones(pod: &Pod, to: SocketAddr) -> Vec<u64> {
    ask(pod, to, &["--wait-ms", "5,50", "--requests", &EACH.to_string()]).unwrap()
}

/// At one end of a hop, where the metrics say the same of the end that is a sidecar's.
fn end_of(seen: &Seen, pod: &Pod, hop: &str, end: &str) -> End {
    let found = seen.of(pod, hop, end).unwrap();
    let workload = pod.workload().unwrap();
    let labels = [("workload", &*workload), ("hop", hop), ("end", end)];
    let labels = labels.map(|(name, value)| format!("{name}=\"{value}\""));
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let of = |part: &str| seen.metrics.of(&format!("sidestep_turnaround_duration_seconds_{part}"), &labels);
    let shown = (of("count") as u64, (of("sum") * 1e6).round() as u64);
    let sidecars =
        [("inbound", "server"), ("inner", "client"), ("outbound", "server"), ("upstream", "client")];
    let wanted = if sidecars.contains(&(hop, end)) { (found.count, found.sum) } else { (0, 0) };
    assert_eq!(shown, wanted, "{hop}, {end}");
    found
}

fn can(mode: &str, needs: &[Requirement]) -> bool {
    DataPlane::Sidestep.met(needs) && (mode != ANY_READER || met(&[Requirement::Acceleration]))
}

/// What the application alone takes.
fn waited() -> u64 {
    WAITS_MS.iter().map(|ms| ms * 1000 * u64::from(EACH)).sum()
}

/// From the outermost end to the innermost: each saw as many requests, and none was faster than the one behind it.
fn assert_ordered(ends: &[(&str, End)]) {
    let each = |sum: u64| sum as f64 / ALL as f64;
    println!("{:>14} {:>9.1} us on average", "waited", each(waited()));
    for (name, end) in ends {
        let End { count, measured, sum, p50, p99 } = *end;
        println!("{name:>14} {:>9.1} us on average, p50 {p50} us, p99 {p99} us", each(sum));
        assert_eq!((count, measured), (ALL, ALL), "{name}: {ends:#?}");
    }
    for ends in ends.windows(2) {
        assert!(ends[0].1.sum >= ends[1].1.sum, "{ends:#?}");
    }
    assert!(ends.last().unwrap().1.sum >= waited(), "{ends:#?}");
}

/// Envoy's own durations lie within the outer ones and around the inner ones.
fn assert_agrees_with_envoy(sidecar: &Sidecar, outer: End, inner: End) {
    until("all requests are logged", WITHIN, || sidecar.logged().len() >= ALL as usize);
    let lines = sidecar.logged();
    let of = |field: fn(&Logged) -> Option<u64>| {
        lines.iter().map(|line| field(line).unwrap_or_else(|| panic!("{line:?}"))).sum::<u64>()
    };
    let (downstream, upstream) = (of(|line| line.downstream_us), of(|line| line.upstream_us));
    let each = |sum: u64| sum as f64 / ALL as f64;
    println!("{:>14} {:>9.1} and {:.1} us on average", "Envoy says", each(downstream), each(upstream));
    let added = (outer.sum - inner.sum, downstream.saturating_sub(upstream));
    println!("{:>14} {:>9.1} us, by Envoy's times {:.1}", "sidecar added", each(added.0), each(added.1));
    assert!(downstream <= outer.sum, "{downstream} of Envoy's, {outer:?}");
    assert!(upstream >= inner.sum, "{upstream} of Envoy's, {inner:?}");
}

#[rstest]
fn inbound(
    #[values((Forward::Localhost, "lo"), (Forward::Passthrough, "eth0"))] (forward, name): (Forward, &str),
    #[values(ANY_READER, "off")] mode: &str,
) {
    if !can(mode, &[Requirement::Observation, Requirement::Envoy, CURL]) {
        return;
    }
    let network = Network::with_own_addresses("turn-in").unwrap();
    let _attached = attached(&network, mode);
    let sidecar =
        Sidecar::start_kind(Kind::Envoy, &network.pod, &SidecarConfig::new(forward, &[8080]).http()).unwrap();
    let at = if name == "lo" { "127.0.0.1:8080".parse().unwrap() } else { network.pod4(8080) };
    let _app = answerer(&network.pod, at).unwrap();
    ask_slow_ones(&network.outside, network.pod4(8080));

    let seen = Seen::now().unwrap();
    let (client, outer) = (
        end_of(&seen, &network.outside, "direct", "client"),
        end_of(&seen, &network.pod, "inbound", "server"),
    );
    let (inner, app) =
        (end_of(&seen, &network.pod, "inner", "client"), end_of(&seen, &network.pod, "inner", "server"));
    assert_ordered(&[
        ("client", client),
        ("sidecar in", outer),
        ("sidecar out", inner),
        ("application", app),
    ]);
    assert_agrees_with_envoy(&sidecar, outer, inner);
    // Others are attached to this node as well.
    let workload = label(&network.pod).unwrap();
    let forward = format!("forward=\"{name}\"");
    let of = |name: &str, label: &str| seen.metrics.of(name, &[&workload, "hop=\"inner\"", &forward, label]);
    let redirected = of("sidestep_flow_messages_total", "path=\"redirected\"");
    assert_eq!(redirected > 0.0, mode == ANY_READER, "{redirected} messages");
    // None is as fast as a millisecond.
    assert_eq!(of("sidestep_turnaround_duration_seconds_bucket", "le=\"0.001024\""), 0.0);
}

/// The pod with a sidecar, the other one with nothing captured.
fn attached(network: &Network, mode: &str) -> [Sidestep; 2] {
    let mode = Accelerated::new(mode);
    [mode.capture(&network.pod).unwrap(), mode.attach(&network.outside).unwrap()]
}

#[rstest]
fn outbound(#[values(ANY_READER, "off")] mode: &str) {
    if !can(mode, &[Requirement::Observation, Requirement::Envoy, CURL]) {
        return;
    }
    let network = Network::with_own_addresses("turn-out").unwrap();
    let _attached = attached(&network, mode);
    let config = SidecarConfig::new(Forward::Passthrough, &[]).http();
    let sidecar = Sidecar::start_kind(Kind::Envoy, &network.pod, &config).unwrap();
    let _service = answerer(&network.outside, network.outside4(80)).unwrap();
    ask_slow_ones(&network.pod, network.outside4(80));

    let seen = Seen::now().unwrap();
    let app = end_of(&seen, &network.pod, "outbound", "client");
    let outer = end_of(&seen, &network.pod, "outbound", "server");
    let inner = end_of(&seen, &network.pod, "upstream", "client");
    let service = end_of(&seen, &network.outside, "direct", "server");
    assert_ordered(&[
        ("application", app),
        ("sidecar in", outer),
        ("sidecar out", inner),
        ("service", service),
    ]);
    assert_agrees_with_envoy(&sidecar, outer, inner);
}

/// Of a short connection all are measured, of a long one about one in 16, which stands for 16; one in pieces is one.
#[rstest]
fn requests_are_sampled_and_counted(#[values(ANY_READER, "off")] mode: &str, #[values(1, 3)] pieces: u32) {
    const SHORT: u64 = 20;
    const LONG: u64 = 2000;
    if !can(mode, &[Requirement::Observation, CURL]) {
        return;
    }
    let network = Network::with_own_addresses("turn-many").unwrap();
    let _attached = attach_both(&network, &Accelerated::new(mode)).unwrap();
    let at = network.pod4(8080);
    let _app = answerer(&network.pod, at).unwrap();
    let pieces = pieces.to_string();
    let of_connection = |requests: u64| {
        let requests = requests.to_string();
        ask(&network.outside, at, &["--wait-ms", "0", "--pieces", &pieces, "--requests", &requests]).unwrap();
    };
    let ends = || {
        let seen = Seen::now().unwrap();
        [(&network.outside, "client"), (&network.pod, "server")]
            .map(|(pod, end)| end_of(&seen, pod, "direct", end))
    };
    (0..SHORT).for_each(|_| of_connection(1));
    let short = ends();
    assert!(short.iter().all(|end| (end.count, end.measured) == (SHORT, SHORT)), "{short:#?}");
    of_connection(LONG);
    let [client, server] = ends().map(|end| {
        println!("{mode}, {pieces} pieces: {end:?}");
        assert!(end.p50 <= end.p99 && end.sum > 0, "{end:?}");
        let (count, measured) = (end.count - SHORT, end.measured - SHORT);
        // A standard deviation is less than a tenth.
        assert!(count * 10 > LONG * 6 && count * 10 < LONG * 14, "{count} of {LONG}");
        assert!(measured < LONG / 8, "{measured} of {LONG}");
        count
    });
    // Both measure the same ones, but for what comes between the first ones and the others.
    assert!(client.abs_diff(server) <= 4, "{client} {server}");
}

/// A workload that has the slot next begins with none.
#[test]
fn what_was_measured_goes_with_the_workload() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, CURL]) {
        return;
    }
    let network = Network::with_own_addresses("turn-gone").unwrap();
    let at = network.pod4(8080);
    let _app = answerer(&network.pod, at).unwrap();
    for _ in 0..2 {
        let attached = attach_both(&network, &Accelerated::new("off")).unwrap();
        ask(&network.outside, at, &["--wait-ms", "0", "--requests", "3"]).unwrap();
        assert_eq!(end_of(&Seen::now().unwrap(), &network.pod, "direct", "server").count, 3);
        drop(attached);
    }
}
