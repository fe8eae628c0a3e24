//! Servers that nobody knows: what their sockets send is redirected, what they are sent stays on the stack, and those that
//! block stay out. How a socket will turn out is known from the ones before it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::accelerated::{Accelerated, streams};
use tests::any_reader::{UNKNOWN_SENDS, UNKNOWN_SENDS_AT_ONCE, UNKNOWN_SENDS_WHILE_LARGE};
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::flows::{split, wait_closed};
use tests::load::{Load, RunningLoad};
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::server::{APP_USER, PROXY_USER, Server};
use tests::sidestep::Sidestep;
use tests::wait::{until, until_some};

const AT: ([u8; 4], u16) = ([127, 0, 0, 1], 7000);
/// `proxy_common::accel::SEEN`: so many sockets tell how the next ones turn out.
const SEEN: u64 = 3;
const BYTES: u64 = 1 << 20;
const WITHIN: Duration = Duration::from_secs(60);

fn pod(name: &str, mode: &str) -> (Network, Sidestep) {
    let network = Network::new(name).unwrap();
    let attached = Accelerated::new(mode).trusting_nobody().attach(&network.pod).unwrap();
    (network, attached)
}

fn at() -> SocketAddr {
    AT.into()
}

/// One stream after the other, each with `BYTES` each way.
fn streams(pod: &Pod, user: (u32, u32), count: u64) {
    // With pauses: a server that has not accepted yet is redirected nothing.
    let client = streams::Client::to(at(), 1, BYTES).streams(count).burst(50_000).user(user);
    let seen = client.run(pod).unwrap();
    assert_eq!((seen.completed, seen.corrupted), (count, 0), "{seen:?}");
}

fn sockets(pod: &Pod, reason: &str) -> u64 {
    Acceleration::of_pod(pod).unwrap().of(reason).sockets
}

/// Redirected and stacked bytes of each flow, one way.
fn carried(pod: &Pod, flows: u64, at: &str) -> Vec<(u64, u64)> {
    let flows = wait_closed(pod, &[], usize::try_from(flows).unwrap()).unwrap();
    flows.iter().map(|flow| split(flow, at)).collect()
}

/// The application behind its sidecar: the sidecar is trusted, the application unknown.
#[test]
fn a_server_sends_once_some_of_its_sockets_were_seen() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration, Requirement::Observation]) {
        return;
    }
    let (network, _attached) = pod("send-server", UNKNOWN_SENDS);
    let _server = streams::serve(&network.pod, at(), &[]).unwrap();
    streams(&network.pod, PROXY_USER, SEEN);
    assert_eq!(sockets(&network.pod, "enrolled_to_send"), 0);
    // Each shows it when what it has sent is acknowledged, which may be after its end.
    let mut count = SEEN;
    until("one is let in to send", WITHIN, || {
        count += 1;
        streams(&network.pod, PROXY_USER, 1);
        sockets(&network.pod, "enrolled_to_send") >= 1
    });

    let uploads = carried(&network.pod, count, "/upload/written");
    assert!(uploads.iter().all(|(redirected, stacked)| *redirected == 0 && *stacked >= BYTES), "{uploads:?}");
    let downloads = carried(&network.pod, count, "/download/written");
    let direct = downloads.iter().filter(|(redirected, _)| *redirected > BYTES / 2).count();
    let stacked = downloads.iter().filter(|(redirected, _)| *redirected == 0).count();
    assert_eq!((stacked as u64, direct), (count - 1, 1), "{downloads:?}");
    let seen = Acceleration::of_pod(&network.pod).unwrap();
    assert_eq!(seen.of("enrolled_to_send").sockets, 1, "{seen:?}");
    assert!(seen.of("untrusted_reader").bytes >= BYTES, "what it is sent: {seen:?}");
}

/// What a client is sent is more than what it sends, and in the map that costs.
#[test]
fn a_client_stays_out() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let (network, _attached) = pod("send-client", UNKNOWN_SENDS);
    let _server = streams::serve_as(PROXY_USER, &network.pod, at(), &[]).unwrap();
    streams(&network.pod, APP_USER, SEEN + 1);
    let seen = Acceleration::of_pod(&network.pod).unwrap();
    assert_eq!((seen.of("enrolled_to_send").sockets, seen.of("enrolled").sockets), (0, 0), "{seen:?}");
}

/// gunicorn's workers and others: the listener does not block, what it accepts does.
#[test]
fn what_blocks_behind_a_listener_that_does_not_stays_out() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let (network, _attached) = pod("send-blocking", UNKNOWN_SENDS);
    let _server = Server::on(&network.pod).listen(at()).nonblocking_listener().echo().start().unwrap();
    let load = Load::churning(at(), 2).user(PROXY_USER).start(&network.pod).unwrap();
    until("clients that stay out", WITHIN, || exchanged(&network.pod) >= 100);
    let exchanges = load.finish().unwrap();
    assert!(exchanges.failed.is_empty() && exchanges.completed >= 100, "{exchanges:?}");
    assert_eq!(sockets(&network.pod, "enrolled_to_send"), 0);
    assert!(sockets(&network.pod, "blocking_socket") <= 1, "asked once a minute");
}

/// Connections the pod has made, by the rules that decided.
fn exchanged(pod: &Pod) -> u64 {
    tests::counters::Counters::of_pod(pod).unwrap().rules.values().sum()
}

/// One that looked as if it never blocked: it leaves with its next message, and the ones after it stay out.
#[test]
fn a_socket_that_blocks_later_leaves() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    const AFTER: u32 = 20;
    // Long enough that those before it end sooner.
    const PAUSE_MS: u64 = 50;
    let (network, _attached) = pod("send-turning", UNKNOWN_SENDS);
    let _server = Server::on(&network.pod).listen(at()).echo_then_block(AFTER).start().unwrap();
    // Each shows it when what it has sent is acknowledged, which may be after its end.
    let look = || -> Result<Option<RunningLoad>> {
        let load = Load::lasting(at(), 1).user(PROXY_USER).pause_ms(PAUSE_MS).start(&network.pod)?;
        if sockets(&network.pod, "enrolled_to_send") == 1 {
            return Ok(Some(load));
        }
        let exchanges = load.finish()?;
        ensure!(exchanges.failed.is_empty(), "{exchanges:?}");
        Ok(None)
    };
    let lasting = until_some(Duration::ZERO, "one is let in to send", WITHIN, look).unwrap();
    until("it has left", WITHIN, || sockets(&network.pod, "blocking_socket") >= 1);
    let next = Load::lasting(at(), 1).user(PROXY_USER).pause_ms(2).start(&network.pod).unwrap();
    for load in [lasting, next] {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty(), "{exchanges:?}");
    }
    assert_eq!((sockets(&network.pod, "enrolled_to_send"), sockets(&network.pod, "blocking_socket")), (1, 1));
}

/// What is sent back over the stack has to be acknowledged by itself: small answers gain nothing. Both ends leave, the connection
/// lasts, and whose answers are large stays.
#[test]
fn who_sends_little_leaves() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let (network, _attached) = pod("send-little", UNKNOWN_SENDS_WHILE_LARGE);
    let _server = streams::serve(&network.pod, at(), &[]).unwrap();
    // With pauses, so that neither end has sent all before the other has read some.
    let client = streams::Client::to(at(), 1, 200_000).chunk(200).burst(2000).user(PROXY_USER);
    let seen = client.run(&network.pod).unwrap();
    assert_eq!((seen.completed, seen.corrupted), (1, 0), "{seen:?}");
    let seen = Acceleration::of_pod(&network.pod).unwrap();
    assert_eq!(seen.of("untrusted_reader").sockets, 1, "it has left: {seen:?}");
    // Thousands were sent: neither end's messages pass the map from then on.
    let passed = |reason| seen.of(reason).messages;
    assert!((1..200).contains(&passed("redirected")), "{seen:?}");
    assert!(passed("untrusted_reader") < 500, "{seen:?}");

    let (network, _attached) = pod("send-much", UNKNOWN_SENDS_WHILE_LARGE);
    let _server = streams::serve(&network.pod, at(), &[]).unwrap();
    let client = streams::Client::to(at(), 4, 8 * BYTES).chunk(1 << 20).user(PROXY_USER);
    let seen = client.run(&network.pod).unwrap();
    assert_eq!((seen.completed, seen.corrupted), (4, 0), "{seen:?}");
    let redirected = Acceleration::of_pod(&network.pod).unwrap().of("redirected").bytes;
    assert!(redirected > 4 * BYTES, "{redirected} of {seen:?}");
}

#[test]
fn what_one_pod_has_shown_says_nothing_of_another() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let pods = ["send-one", "send-other"].map(|name| pod(name, UNKNOWN_SENDS));
    let _servers = [&pods[0], &pods[1]].map(|(network, _)| streams::serve(&network.pod, at(), &[]).unwrap());
    until("one has shown enough", WITHIN, || {
        streams(&pods[0].0.pod, PROXY_USER, 1);
        sockets(&pods[0].0.pod, "enrolled_to_send") >= 1
    });
    streams(&pods[1].0.pod, PROXY_USER, SEEN);
    assert_eq!(sockets(&pods[1].0.pod, "enrolled_to_send"), 0);
}

/// Where the kernel's FIONREAD counts wrongly what came over the stack, nobody is let in who might ask it.
#[test]
fn they_stay_out_where_the_map_changes_what_they_read() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let (network, _attached) = pod("send-not", "safe-readers");
    let _server = streams::serve(&network.pod, at(), &[]).unwrap();
    streams(&network.pod, PROXY_USER, 4 * SEEN);
    let seen = Acceleration::of_pod(&network.pod).unwrap();
    let over_the_stack = |what: &String| what.contains("of what came over the stack");
    let is_wrong = seen.kernel_differs.iter().any(over_the_stack);
    assert_eq!(seen.of("enrolled_to_send").sockets == 0, is_wrong, "{seen:?}");
}

/// Streams both ways under a limit so low that the paths switch all the time, from the first socket on.
#[test]
fn streams_are_intact() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    // To an unknown server nothing is redirected, and an unknown client stays out.
    for (server, client, least) in
        [(APP_USER, PROXY_USER, 1), (PROXY_USER, APP_USER, 0), (APP_USER, APP_USER, 0)]
    {
        let network = Network::new("send-intact").unwrap();
        let accelerated = Accelerated::new(UNKNOWN_SENDS_AT_ONCE).limit(20_000).trusting_nobody();
        let _attached = accelerated.attach(&network.pod).unwrap();
        let _server = streams::serve_as(server, &network.pod, at(), &[]).unwrap();
        let client = streams::Client::to(at(), 24, full_or(BYTES / 8, 8 * BYTES)).burst(100_000).user(client);
        let seen = client.run(&network.pod).unwrap();
        assert_eq!((seen.completed, seen.corrupted), (24, 0), "{seen:?}");
        let redirected = Acceleration::of_pod(&network.pod).unwrap().of("redirected").bytes;
        println!("{redirected} of {} bytes redirected", seen.bytes);
        assert!(
            redirected >= least * seen.bytes / 100 && (least > 0 || redirected == 0),
            "{redirected} of {seen:?}"
        );
    }
}
