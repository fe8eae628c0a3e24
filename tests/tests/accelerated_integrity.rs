//! Accelerated streams, compared byte for byte: random chunks and pauses, slow and bursty readers, both directions at
//! once, with a limit so low that the paths switch all the time. `SIDESTEP_LONG=1` moves ten times as much,
//! `SIDESTEP_SHORT=1` (emulated machines) a fortieth.

use std::net::SocketAddr;

use rstest::rstest;
use tests::accelerated::{Accelerated, attach_both, streams};
use tests::any_reader::ANY_READER;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::network::Network;
use tests::pod::Pod;
use tests::report::Streams;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::server::PROXY_USER;
use tests::sidecar::{Kind, Sidecar};

/// So low that larger chunks, and many small ones, do not fit.
const TINY: u32 = 20_000;
/// Percent of the bytes that are redirected, unless a test says otherwise.
const LEAST: u64 = 2;
/// With it, what a flow sends between two pauses: often more than fits, and then time to drain.
const BURST: usize = 100_000;
const MEGABYTE: u64 = 1 << 20;

/// The cases together move 20 GB.
const TIMES: u64 = 7;

/// How much of it is moved: a part of so many.
fn part() -> u64 {
    full_or(40, 1)
}

/// Bytes each way of one of `flows` flows, so that all of them move `megabytes`, seven times.
fn share(megabytes: u64, flows: u64) -> u64 {
    let times = if std::env::var_os("SIDESTEP_LONG").is_some() { TIMES * 10 } else { TIMES };
    // An odd number, so that the last chunk is not a round one.
    megabytes * MEGABYTE * times / part() / flows / 2 + 7
}

/// `least`: so many percent were redirected.
fn assert_intact(name: &str, streams: &Streams, flows: u64, pods: &[&Pod], least: u64, switched: bool) {
    assert_eq!((streams.corrupted, streams.broken.len()), (0, 0), "{name}: {streams:?}");
    assert_eq!(streams.completed, flows, "{name}: {streams:?}");
    let (mut redirected, mut switches) = (0, 0);
    for pod in pods {
        let status = Acceleration::of_pod(pod).unwrap();
        assert_eq!(status.reason_if_not, None);
        redirected += status.of("redirected").bytes;
        switches += status.of("limit").messages.min(status.of("redirected").messages);
        println!("{name}: {}: {:?}", pod.name(), status.counters);
    }
    println!(
        "{name}: {} MB in {} ms, {} % redirected, up to {switches} times from redirect to stack",
        streams.bytes / MEGABYTE,
        streams.milliseconds,
        redirected * 100 / streams.bytes.max(1),
    );
    assert!(redirected > streams.bytes * least / 100, "{name}: hardly anything was accelerated");
    assert!(!switched || switches > 1000 / part(), "{name}: {switches} switches");
}

#[rstest]
#[case::tiny_limit("safe-readers", TINY, 32_768, BURST, 500)]
#[case::tiny_limit_any_reader(ANY_READER, TINY, 32_768, BURST, 400)]
#[case::default_limit("safe-readers", 4 << 20, 262_144, 0, 900)]
#[case::small_messages("safe-readers", 2_000, 1_500, 10_000, 40)]
fn over_loopback(
    #[case] mode: &str,
    #[case] limit: u32,
    #[case] chunk: usize,
    #[case] burst: usize,
    #[case] megabytes: u64,
) {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::new("integrity-lo").unwrap();
    let _attached = Accelerated::new(mode).limit(limit).attach(&network.pod).unwrap();
    let flows = 48;
    let at: SocketAddr = "127.0.0.1:7000".parse().unwrap();
    let _server = streams::serve(&network.pod, at, &[]).unwrap();
    let bytes = share(megabytes, flows);
    let seen = streams::Client::to(at, flows, bytes).chunk(chunk).burst(burst).run(&network.pod).unwrap();
    assert_intact(mode, &seen, flows, &[&network.pod], LEAST, limit <= TINY);
}

#[rstest]
#[case::v4_tiny_limit(4, TINY, BURST, 300)]
#[case::v6_tiny_limit(6, TINY, BURST, 200)]
#[case::v4_default_limit(4, 4 << 20, 0, 400)]
fn between_two_pods(#[case] family: u8, #[case] limit: u32, #[case] burst: usize, #[case] megabytes: u64) {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::with_own_addresses("integrity-pods").unwrap();
    let _attached = attach_both(&network, &Accelerated::new("safe-readers").limit(limit)).unwrap();
    let flows = 48;
    let at = if family == 4 { network.pod4(7000) } else { network.pod6(7000) };
    let _server = streams::serve(&network.pod, at, &[]).unwrap();
    let seen =
        streams::Client::to(at, flows, share(megabytes, flows)).burst(burst).run(&network.outside).unwrap();
    assert_intact("pods", &seen, flows, &[&network.pod, &network.outside], LEAST, limit == TINY);
}

/// App to Envoy to another pod: both legs.
#[rstest]
#[case::tiny_limit(TINY, BURST)]
#[case::default_limit(4 << 20, 0)]
fn through_envoy(#[case] limit: u32, #[case] burst: usize) {
    if !DataPlane::Sidestep.met(&[Requirement::Envoy, Requirement::Acceleration]) {
        return;
    }
    let network = Network::with_own_addresses("integrity-envoy").unwrap();
    let accelerated = Accelerated::new("safe-readers").limit(limit);
    let _outside = accelerated.attach(&network.outside).unwrap();
    let _pod = accelerated.capture(&network.pod).unwrap();
    let config = SidecarConfig::new(Forward::Passthrough, &[]);
    let _sidecar = Sidecar::start_kind(Kind::Envoy, &network.pod, &config).unwrap();
    let flows = 32;
    let _server = streams::serve(&network.outside, network.outside4(7000), &[]).unwrap();
    let bytes = share(120, flows);
    let seen =
        streams::Client::to(network.outside4(7000), flows, bytes).burst(burst).run(&network.pod).unwrap();
    // Behind a tiny limit what Envoy still has to read keeps most on the stack: how much is a matter of who runs when.
    let least = if limit == TINY { 0 } else { LEAST };
    assert_intact("envoy", &seen, flows, &[&network.pod, &network.outside], least, false);
}

/// The sidecar's own uid is trusted without being told.
#[test]
fn as_the_sidecar() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::new("integrity-proxy").unwrap();
    let _attached =
        Accelerated::new("safe-readers").trusting_nobody().limit(TINY).attach(&network.pod).unwrap();
    let at: SocketAddr = "127.0.0.1:7000".parse().unwrap();
    let _server = streams::serve_as(PROXY_USER, &network.pod, at, &[]).unwrap();
    let client = streams::Client::to(at, 8, share(40, 8)).user(PROXY_USER).burst(BURST);
    let seen = client.run(&network.pod).unwrap();
    assert_intact("sidecar", &seen, 8, &[&network.pod], LEAST, false);
}
