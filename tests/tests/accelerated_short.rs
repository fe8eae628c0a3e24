//! Connections too short to gain stay out of the map, and come back in when they grow longer.

use std::time::{Duration, Instant};

use proxy_common::accel;
use tests::accelerated::{Accelerated, attach_both};
use tests::any_reader::ANY_READER;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::load::Load;
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::server::Server;
use tests::sidestep::status_of;
use tests::wait::{until, until_looking};

/// Connections that enter before it shows that they are short, and one of so many afterwards.
const FIRST: u64 = accel::SHORT_RUN as u64;
const SAMPLE: u64 = accel::SAMPLE as u64;
/// What is under way at the same time may enter before the run is noticed.
const WORKERS: u32 = 4;
/// Between two exchanges, wherever it runs: a server counts as one of short connections by how many there are a second.
const PAUSE_MS: u64 = 2;
/// An emulated machine takes a minute for what this one does in a second.
const SEEN_WITHIN: Duration = Duration::from_secs(300);

#[test]
fn short_ones_stay_out_until_they_are_long() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::with_own_addresses("short").unwrap();
    let _attached = attach_both(&network, &Accelerated::new(ANY_READER)).unwrap();
    let at = network.pod4(7000);
    let _server = Server::on(&network.pod).listen(at).echo().start().unwrap();
    let of = |reason| Acceleration::of_pod(&network.outside).unwrap().of(reason);
    let seen = |reason| of(reason).sockets;

    let began = Instant::now();
    let short = Load::churning(at, WORKERS).pause_ms(PAUSE_MS).start(&network.outside).unwrap();
    // Asking takes as much of an emulated machine as the connections do.
    let every = Duration::from_millis(full_or(1000, 20));
    until_looking(every, "200 stay out", SEEN_WITHIN, || seen("short_lived") >= 200);
    let exchanges = short.finish().unwrap();
    // Each second begins anew (`proxy_common::accel::Server`).
    let seconds = began.elapsed().as_secs() + 2;
    assert!(exchanges.failed.is_empty(), "{exchanges:?}");
    let (entered, stayed_out) = (seen("enrolled"), seen("short_lived"));
    println!("{exchanges:?}: {entered} entered, {stayed_out} stayed out");
    assert_eq!(entered + stayed_out, exchanges.completed, "each is one or the other");
    assert!(
        entered <= seconds * (FIRST + u64::from(WORKERS) + 1) + stayed_out / (SAMPLE - 1),
        "{entered} of {exchanges:?} in {seconds} s"
    );
    the_server_knows_why(&network.pod);

    // Among so many one is a sample, and shows that it lasts.
    let sampled = Load::lasting(at, SAMPLE as u32).pause_ms(PAUSE_MS).start(&network.outside).unwrap();
    let redirected = || of("redirected").messages;
    let before = redirected();
    until("50 messages of the one that was let in", SEEN_WITHIN, || redirected() >= before + 50);
    let stayed_out = seen("short_lived");
    let lasting = Load::lasting(at, 8).start(&network.outside).unwrap();
    assert_eq!(seen("short_lived"), stayed_out, "they enter again");
    for load in [sampled, lasting] {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty(), "{exchanges:?}");
    }
}

/// What it has sent to those that stayed out has their reason: nobody has told it, it looks.
fn the_server_knows_why(pod: &Pod) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let status = status_of(pod).unwrap();
    let share = &status["share"];
    let (stacked, short) = (share["stacked"].as_u64().unwrap(), share["reasons"]["short_lived"].as_u64());
    assert!(short.is_some_and(|short| short > 0 && short >= stacked / 2), "{share:#}");
}
