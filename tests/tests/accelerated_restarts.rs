//! Attach and detach under accelerated connections: none breaks, no byte is lost, and what is closed leaves nothing.

use std::net::SocketAddr;
use std::path::Path;

use rstest::rstest;
use tests::accelerated::{Accelerated, streams};
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::load::Load;
use tests::network::Network;
use tests::pin_root::VARIABLE;
use tests::requirement::Requirement;
use tests::server::Server;
use tests::sidestep;

const AT: &str = "127.0.0.1:7000";

fn flags<'a>(own: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    tests::accelerated::NO_CAPTURE
        .into_iter()
        .chain(own.iter().map(String::as_str))
        .chain(more.iter().copied())
        .collect()
}

#[rstest]
#[case::event_loops("strict")]
#[case::any_reader("auto")]
fn attached_again_under_load(#[case] mode: &str) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("reattach").unwrap();
    let accelerated = Accelerated::new(mode).limit(100_000);
    let attached = accelerated.attach(&network.pod).unwrap();
    let at: SocketAddr = AT.parse().unwrap();
    let _server = streams::serve(&network.pod, at, &[]).unwrap();
    let echo_at: SocketAddr = "127.0.0.1:7001".parse().unwrap();
    let _echo = Server::on(&network.pod).listen(echo_at).echo().start().unwrap();
    let lasting = Load::lasting(echo_at, 8).start(&network.pod).unwrap();
    let churning = Load::churning(echo_at, 4).start(&network.pod).unwrap();
    let client = streams::Client::to(at, 8, 100 << 20).burst(100_000).start(&network.pod).unwrap();
    let started = std::time::Instant::now();
    let (off, on) = (Accelerated::new("off").flags(), accelerated.flags());
    for own in [&on, &off, &on, &off, &on].into_iter().cycle() {
        if !client.is_running() {
            break;
        }
        let said = attached.attach_again(&flags(own, &[])).unwrap();
        assert!(said.starts_with("updated"), "{said}");
        println!("{:?} {:?}", started.elapsed(), Acceleration::of_pod(&network.pod).unwrap().counters);
    }
    let seen = streams::finish(client).unwrap();
    assert_eq!((seen.corrupted, seen.broken.len(), seen.completed), (0, 0, 8), "{seen:?}");
    for load in [lasting, churning] {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty() && exchanges.completed > 8, "{exchanges:?}");
    }
    let status = Acceleration::of_pod(&network.pod).unwrap();
    println!("{mode}: {:?}", status.counters);
    assert!(status.of("redirected").messages > 0 && status.of("off").messages > 0, "{status:?}");
}

#[rstest]
#[case::event_loops("strict")]
#[case::any_reader("auto")]
fn detached_under_load(#[case] mode: &str) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("undo").unwrap();
    let attached = Accelerated::new(mode).limit(100_000).attach(&network.pod).unwrap();
    let at: SocketAddr = AT.parse().unwrap();
    let _server = streams::serve(&network.pod, at, &[]).unwrap();
    let echo_at: SocketAddr = "127.0.0.1:7001".parse().unwrap();
    let _echo = Server::on(&network.pod).listen(echo_at).echo().start().unwrap();
    let lasting = Load::lasting(echo_at, 8).start(&network.pod).unwrap();
    let client = streams::Client::to(at, 8, 100 << 20).burst(100_000).start(&network.pod).unwrap();
    // Under way: something was redirected.
    let redirected = || Acceleration::of_pod(&network.pod).unwrap().of("redirected").messages;
    while redirected() < 1000 {
        assert!(client.is_running(), "{}", client.stderr());
    }
    attached.detach().unwrap();
    let seen = streams::finish(client).unwrap();
    assert_eq!((seen.corrupted, seen.broken.len(), seen.completed), (0, 0, 8), "{seen:?}");
    let exchanges = lasting.finish().unwrap();
    assert!(exchanges.failed.is_empty() && exchanges.completed > 8, "{exchanges:?}");
}

fn entries(path: &Path) -> usize {
    let output = std::process::Command::new("bpftool")
        .args(["--json", "map", "dump", "pinned"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let value: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    value.as_array().map_or(0, Vec::len)
}

/// Other tests of this file may have entries of their own at the same time: the numbers are compared with what is open.
#[test]
fn ten_thousand_flows_leave_nothing() {
    if !DataPlane::Sidestep.met(&[Requirement::Program("bpftool", "bpftool")]) {
        return;
    }
    let root = tests::pin_root::PinRoot::new().unwrap();
    let network = Network::new("flows").unwrap();
    let attach = |mode: &str| {
        let own = Accelerated::new(mode).flags();
        let mut command = root.for_pod(&["attach"], &network.pod).unwrap();
        let all = ["-u", "1337", "-i", "*", "-b", "*", "-o", "7000", "--dual-stack"];
        command.args(all).args(&own);
        let ended = sidestep::ended_command(command).unwrap();
        assert_eq!(ended.code, Some(0), "{VARIABLE}: {ended:?}");
    };
    attach("auto");
    let at: SocketAddr = AT.parse().unwrap();
    let _server = streams::serve(&network.pod, at, &[]).unwrap();
    let _sidecar = tests::server::stand_in(&network.pod).start().unwrap();
    let client = streams::Client::to(at, 32, 2000).streams(10_000).chunk(1000);
    let seen = client.run(&network.pod).unwrap();
    assert_eq!((seen.corrupted, seen.broken.len(), seen.completed), (0, 0, 10_000), "{seen:?}");
    let crowd = tests::crowd::Crowd::to("10.96.0.0/16", 80, 2000).open(&network.pod).unwrap();
    assert_eq!(crowd.counts.connected, 2000);
    drop(crowd);
    let node = root.path().join("sidestep/node");
    let workload = std::fs::read_dir(root.path().join("sidestep"))
        .unwrap()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| *path != node)
        .unwrap();
    let maps = [node.join("map_SOCKS"), node.join("map_ENDS"), workload.join("map_PENDING")];
    // The last ones close asynchronously.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let left = maps.each_ref().map(|map| entries(map));
        if left == [0, 0, 0] {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "left in {maps:?}: {left:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let ended = sidestep::ended_command(root.command(&["detach", "--all"]).unwrap()).unwrap();
    assert_eq!((ended.code, root.pins().len()), (Some(0), 0), "{ended:?}");
}
