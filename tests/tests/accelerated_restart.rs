//! Under load, whatever happens to our own processes: no connection breaks and no byte is lost.

use std::process::Stdio;
use std::time::Duration;

use rstest::rstest;
use tests::accelerated::{Accelerated, attach_both, streams};
use tests::any_reader::ANY_READER;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::load::Load;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::server::Server;
use tests::sidestep::{self, Sidestep, ended_command};
use tests::wait::until;

/// An attach takes seconds on an emulated machine.
fn rounds() -> u32 {
    full_or(4, 12)
}

/// Bytes each way of a flow: more than is moved before the last round.
fn bytes() -> u64 {
    full_or(10 << 20, 40 << 20)
}

const GOES_ON_WITHIN: Duration = Duration::from_secs(10);
const BEGINS_WITHIN: Duration = Duration::from_secs(60);

/// What is done to an attached pod while its connections are busy.
type Disturbance = fn(&Sidestep, &[&str], u32);

/// The programs are loaded anew and take the place of those in use, as with another build of the object.
fn upgrade(pod: &Sidestep, flags: &[&str], _: u32) {
    let said = pod.attach_again(flags).unwrap();
    assert!(said.starts_with("updated"), "{said}");
}

/// The same, killed at another moment each time.
fn killed(pod: &Sidestep, flags: &[&str], round: u32) {
    let mut command = std::process::Command::new(sidestep::binary().unwrap());
    command.arg("attach").args(sidestep::workload(pod.pod())).args(flags);
    let mut attaching = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(u64::from(round) * full_or(900, 10)));
    attaching.kill().unwrap();
    attaching.wait().unwrap();
}

/// Off and on again: what is on its way has to arrive first, in either direction.
fn switched(pod: &Sidestep, flags: &[&str], round: u32) {
    let off: Vec<&str> = flags.iter().map(|word| if *word == ANY_READER { "off" } else { *word }).collect();
    pod.attach_again(if round.is_multiple_of(2) { &off } else { flags }).unwrap();
}

#[rstest]
#[case::upgrade(upgrade)]
#[case::killed(killed)]
#[case::switched(switched)]
fn nothing_breaks(#[case] disturb: Disturbance) {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::with_own_addresses("restart").unwrap();
    let accelerated = Accelerated::new(ANY_READER).limit(100_000);
    let [pod, outside] = attach_both(&network, &accelerated).unwrap();
    let (echo, stream) = (network.pod4(7000), network.pod4(7001));
    let _echo = Server::on(&network.pod).listen(echo).echo().start().unwrap();
    let _streams = streams::serve(&network.pod, stream, &[]).unwrap();
    let loads = [
        Load::lasting(echo, 8).start(&network.outside).unwrap(),
        Load::churning(echo, 2).start(&network.outside).unwrap(),
    ];
    let flows = 16;
    let moving = streams::Client::to(stream, flows, bytes()).start(&network.outside).unwrap();
    let flags = accelerated.attach_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    for round in 0..rounds() {
        for attached in [&pod, &outside] {
            disturb(attached, &flags, round);
        }
    }
    for attached in [&pod, &outside] {
        upgrade(attached, &flags, rounds());
    }
    let before = redirected(&network);
    let what = format!("{before} messages were redirected, and more are since");
    until(&what, GOES_ON_WITHIN, || redirected(&network) > before);
    let seen = streams::finish(moving).unwrap();
    assert_eq!((seen.corrupted, seen.broken.len(), seen.completed), (0, 0, flows), "{seen:?}");
    for load in loads {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty() && exchanges.completed > 8, "{exchanges:?}");
    }
    println!(
        "{} MB, redirected {before} messages under it, {} in all",
        seen.bytes >> 20,
        redirected(&network)
    );
    assert!(before > 0);
}

/// Off is for open connections as well.
#[test]
fn switched_off_nothing_is_redirected_any_more() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::with_own_addresses("off").unwrap();
    let attached = attach_both(&network, &Accelerated::new(ANY_READER)).unwrap();
    let at = network.pod4(7000);
    let _echo = Server::on(&network.pod).listen(at).echo().start().unwrap();
    let load = Load::lasting(at, 4).start(&network.outside).unwrap();
    until("messages are redirected", BEGINS_WITHIN, || redirected(&network) > 0);
    let flags = Accelerated::new("off").attach_flags();
    for sidestep in &attached {
        sidestep.attach_again(&flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }
    // A message that was on its way is through by then.
    std::thread::sleep(Duration::from_millis(100));
    let before = redirected(&network);
    std::thread::sleep(Duration::from_millis(300));
    let exchanges = load.finish().unwrap();
    assert!(exchanges.failed.is_empty() && exchanges.completed > 8, "{exchanges:?}");
    assert_eq!(redirected(&network), before);
}

/// The last detach on a node: what waits at receivers is not lost with the map, and the map goes with its sockets.
#[rstest]
fn detach_under_load_leaves_the_stack_in_charge(#[values("safe-readers", ANY_READER)] mode: &str) {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration, Requirement::Program("bpftool", "bpftool")]) {
        return;
    }
    let network = Network::new("restart-detach").unwrap();
    let root = PinRoot::new().unwrap();
    let flags = Accelerated::new(mode).limit(100_000).attach_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let both = [&network.pod, &network.outside];
    both.iter().for_each(|pod| root.attach(pod, &flags).unwrap());
    let sockets = root.node_map("SOCKS").unwrap();
    let sockets: u64 = bpftool(&["map", "show", "pinned", &sockets.display().to_string()]).unwrap();
    let at = network.pod4(7001);
    let _streams = streams::serve(&network.pod, at, &[]).unwrap();
    let flows = 16;
    let moving = streams::Client::to(at, flows, bytes()).start(&network.outside).unwrap();
    let redirected = || {
        let of = |pod: &&Pod| {
            let status = root.status_of(pod).unwrap();
            status["acceleration"]["redirected"]["messages"].as_u64().unwrap_or(0)
        };
        both.iter().map(of).sum::<u64>()
    };
    until("100 messages are redirected", BEGINS_WITHIN, || redirected() >= 100);
    for pod in both {
        let ended = ended_command(root.for_pod(&["detach"], pod).unwrap()).unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let seen = streams::finish(moving).unwrap();
    assert_eq!((seen.corrupted, seen.broken.len(), seen.completed), (0, 0, flows), "{seen:?}");
    until("the map is gone with its sockets", GOES_ON_WITHIN, || {
        bpftool(&["map", "show", "id", &sockets.to_string()]).is_none()
    });
}

/// The id of what bpftool shows; none: there is no such thing.
fn bpftool(args: &[&str]) -> Option<u64> {
    let output = std::process::Command::new("bpftool").arg("--json").args(args).output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    shown["id"].as_u64()
}

fn redirected(network: &Network) -> u64 {
    [&network.pod, &network.outside]
        .map(|pod| Acceleration::of_pod(pod).unwrap().of("redirected").messages)
        .iter()
        .sum()
}
