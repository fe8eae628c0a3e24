//! A program is trusted for the bytes its file had: others in the same file are another program.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use tests::accelerated::{Accelerated, streams};
use tests::agent;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::server::APP_USER;
use tests::sidestep::Sidestep;

const BYTES: u64 = 1 << 20;

/// Messages that went directly, and sockets that stayed out because their reader was not trusted, when `program` serves a stream.
fn served_by(program: &Path, pod: &Pod, port: u16) -> (u64, u64) {
    let count = || {
        let seen = Acceleration::of_pod(pod).unwrap();
        (seen.of("redirected").messages, seen.of("untrusted_reader").sockets)
    };
    let before = count();
    let at: SocketAddr = ([127, 0, 0, 1], port).into();
    let server = pod.command(program).args(["stream", "serve", "--listen", &at.to_string()]);
    let server = server.user(APP_USER.0, APP_USER.1).spawn().unwrap();
    server.wait_for("ready").unwrap();
    let seen = streams::Client::to(at, 1, BYTES).run(pod).unwrap();
    assert!(seen.completed == 1 && seen.corrupted == 0, "{seen:?}");
    let after = count();
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn a_program_that_is_overwritten_is_not_trusted_any_more() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::new("content").unwrap();
    let pod = &network.pod;
    let program = pod.scratch().join("server");
    std::fs::copy(agent::path().unwrap(), &program).unwrap();
    let path = program.display().to_string();
    let mut flags = Accelerated::new("safe-readers").attach_flags();
    flags.extend(["--trust-program".to_owned(), path]);
    let _attached = Sidestep::attach(pod, &flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();

    let (redirected, untrusted) = served_by(&program, pod, 7000);
    assert!(redirected > 0 && untrusted == 0, "{redirected} directly, {untrusted} not");

    // The same file, by its number and its device; what stands behind the program's end is never run.
    std::fs::OpenOptions::new().append(true).open(&program).unwrap().write_all(b"other bytes").unwrap();
    let (redirected, untrusted) = served_by(&program, pod, 7001);
    assert!(redirected == 0 && untrusted > 0, "{redirected} directly, {untrusted} not");
}
