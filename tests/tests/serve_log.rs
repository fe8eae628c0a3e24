//! What the BPF programs say comes out of `sidestep serve`, once for each power of two, and nothing waits for a reader.

use std::time::Duration;

use serde_json::Value;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pin_root::{self, PinRoot};
use tests::report::Outcome;
use tests::serve::Serve;
use tests::sidestep::{DEFAULT_FLAGS, ended_command};

const SAID_WITHIN: Duration = Duration::from_secs(20);

fn refused(network: &Network, times: u32) {
    for _ in 0..times {
        let call = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
        assert_eq!(call.outcome(), Outcome::Refused, "{call:?}");
    }
}

#[test]
fn a_refusal_is_said_with_its_reason() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("log").unwrap();
    // A node of its own: the ring has one reader.
    let root = PinRoot::new().unwrap();
    let attach = root.for_pod(&[&["attach"], &DEFAULT_FLAGS[..]].concat(), &network.pod).unwrap();
    assert_eq!(ended_command(attach).unwrap().code, Some(0));
    let path = root.path().display().to_string();
    // Before anybody reads: it is kept.
    refused(&network, 1);
    let mut serve = Serve::start_with(&["--log-format", "json"], &[(pin_root::VARIABLE, &path)]).unwrap();
    let said = |serve: &mut Serve| {
        let text = serve.process().stderr();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line.to_string().contains("no_listener")).collect::<Vec<_>>()
    };
    serve.process().errors().wait(SAID_WITHIN, |text| text.contains("no_listener").then_some(())).unwrap();
    let first = said(&mut serve).remove(0);
    assert_eq!(first["level"], "WARN", "{first}");

    refused(&network, 40);
    serve.process().terminate(SAID_WITHIN).unwrap();
    // 1, 2, 4, 8, 16 and 32 on each CPU at most.
    let cpus = std::thread::available_parallelism().unwrap().get();
    let lines = said(&mut serve);
    assert!(lines.len() >= 2 && lines.len() <= 6 * cpus, "{lines:#?}");
}

/// The first one reads until it ends; the second one says so, and goes on where the first one stopped.
#[test]
fn of_two_servers_one_reads_and_the_other_says_so() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("log-two").unwrap();
    let root = PinRoot::new().unwrap();
    let attach = root.for_pod(&[&["attach"], &DEFAULT_FLAGS[..]].concat(), &network.pod).unwrap();
    assert_eq!(ended_command(attach).unwrap().code, Some(0));
    let path = root.path().display().to_string();
    let start = || Serve::start_with(&["--log-format", "json"], &[(pin_root::VARIABLE, &path)]).unwrap();
    let said = |serve: &mut Serve, what: &str| {
        serve.process().errors().wait(SAID_WITHIN, |text| text.contains(what).then_some(())).unwrap();
    };
    let mut first = start();
    refused(&network, 1);
    said(&mut first, "no_listener");
    let mut second = start();
    said(&mut second, "another process passes on what the BPF programs say");
    first.process().terminate(SAID_WITHIN).unwrap();
    said(&mut second, "comes here from now on");
    // The next power of two, on whichever CPU.
    refused(&network, 40);
    said(&mut second, "no_listener");

    // Who reads the log keeps nothing of the node.
    let detach = root.for_pod(&["detach"], &network.pod).unwrap();
    assert_eq!(ended_command(detach).unwrap().code, Some(0));
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
}
