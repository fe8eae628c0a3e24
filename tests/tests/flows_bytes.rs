//! The byte count of each flow is what its applications wrote and read, whatever carried it and however it ended.

use std::net::SocketAddr;

use rstest::rstest;
use serde_json::Value;
use tests::accelerated::{Accelerated, attach_both, streams};
use tests::any_reader::ANY_READER;
use tests::data_plane::DataPlane;
use tests::flows::{split, total, wait_closed};
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::Requirement;

/// So low that messages are stacked and redirected in turn.
const TINY: u32 = 20_000;

/// Random chunks in both directions; every stream carries as much as the others.
#[rstest]
#[case::stacked("off", 4 << 20)]
#[case::redirected("safe-readers", 4 << 20)]
#[case::switching("safe-readers", TINY)]
fn streams_sum_up(#[case] mode: &str, #[case] limit: u32) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("flow-bytes").unwrap();
    let _attached = Accelerated::new(mode).limit(limit).attach(&network.pod).unwrap();
    let at: SocketAddr = "127.0.0.1:7000".parse().unwrap();
    let _server = streams::serve(&network.pod, at, &[]).unwrap();
    let (streams, bytes) = (12, 300_007);
    let seen = streams::Client::to(at, streams, bytes).burst(100_000).run(&network.pod).unwrap();
    assert_eq!((seen.completed, seen.corrupted), (streams, 0), "{seen:?}");
    // By themselves: a server that is killed before it has closed its end is another end.
    let flows = wait_closed(&network.pod, &["--port", "7000"], streams as usize).unwrap();
    assert_eq!(flows.len(), streams as usize, "one flow for both ends");
    let (mut redirected, mut stacked, mut switches) = (0, 0, 0);
    for flow in &flows {
        for direction in ["upload", "download"] {
            // The tool's own header comes on top, the same for each stream of the same direction.
            let written = total(flow, &format!("/{direction}/written"));
            assert_eq!(written, total(&flows[0], &format!("/{direction}/written")), "{flow:#}");
            assert!((bytes..bytes + 100).contains(&written), "{written}: {flow:#}");
            assert_eq!(written, total(flow, &format!("/{direction}/read")), "{flow:#}");
            redirected += split(flow, &format!("/{direction}/written")).0;
            stacked += split(flow, &format!("/{direction}/written")).1;
            switches += flow[direction]["switches"].as_u64().unwrap();
        }
        assert_eq!(flow["close"], "fin", "{flow:#}");
    }
    assert_eq!(redirected > 0, mode != "off");
    // Also what was sent before the other end was seen to be non-blocking.
    assert!(stacked > 0 || (mode, limit) == ("safe-readers", 4 << 20), "{redirected} {stacked}");
    assert!(switches > 10 || limit > TINY, "{switches}");
}

/// One connection of `lab-agent ledger`: what it wrote and read itself.
fn ledger(pod: &Pod, at: SocketAddr, story: &str) -> Value {
    let command = pod.lab_agent("ledger").unwrap().args(["--listen", &at.to_string(), "--story", story]);
    command.run_json().unwrap()
}

#[rstest]
fn every_ending_sums_up(
    #[values("off", ANY_READER)] mode: &str,
    #[values(
        ("plain", "fin"),
        ("half-close", "fin"),
        ("reads-after-the-end", "fin"),
        ("leaves-bytes-unread", "rst"),
        ("reset", "rst"),
        ("never-reads-the-end", "fin")
    )]
    (story, close): (&str, &str),
) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("flow-endings").unwrap();
    let _attached = Accelerated::new(mode).attach(&network.pod).unwrap();
    let at: SocketAddr = "127.0.0.1:7001".parse().unwrap();
    let told = ledger(&network.pod, at, story);
    let flows = wait_closed(&network.pod, &["--port", "7001"], 1).unwrap();
    let [flow] = flows.as_slice() else { panic!("{flows:#?}") };
    for direction in ["upload", "download"] {
        for what in ["written", "read"] {
            let place = format!("/{direction}/{what}");
            assert_eq!(
                Some(total(flow, &place)),
                told.pointer(&place).and_then(Value::as_u64),
                "{story}: {place}: {told} against {flow:#}"
            );
        }
    }
    let redirected = split(flow, "/upload/written").0 + split(flow, "/download/written").0;
    assert_eq!(redirected > 0, mode == ANY_READER, "{flow:#}");
    // A redirected reader that leaves bytes unread does not reset: the stack knows of none.
    let expected = if mode == ANY_READER && story == "leaves-bytes-unread" { "fin" } else { close };
    assert_eq!(flow["close"], expected, "{story}: {flow:#}");
    assert_eq!(flow["client_process"]["comm"], "lab-agent", "{flow:#}");
    assert_eq!(flow["server_process"]["comm"], "lab-agent", "{flow:#}");
}

/// Each pod has a flow of its own, with the other's process.
#[rstest]
fn between_pods_each_has_its_flow(#[values("off", "safe-readers")] mode: &str) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::with_own_addresses("flow-pods").unwrap();
    let _attached = attach_both(&network, &Accelerated::new(mode)).unwrap();
    let at = network.pod4(7000);
    let server = streams::serve(&network.pod, at, &[]).unwrap();
    let seen = streams::Client::to(at, 4, 100_001).run(&network.outside).unwrap();
    assert_eq!(seen.completed, 4, "{seen:?}");
    drop(server);
    for (pod, direction) in [(&network.pod, "inbound"), (&network.outside, "outbound")] {
        let flows = wait_closed(pod, &["--port", "7000"], 4).unwrap();
        assert_eq!(flows.len(), 4, "{flows:#?}");
        let redirected: u64 = flows.iter().map(|flow| split(flow, "/download/written").0).sum();
        assert_eq!(redirected > 0, mode == "safe-readers", "{flows:#?}");
        for flow in &flows {
            assert_eq!((&flow["direction"], &flow["hop"]), (&direction.into(), &"direct".into()), "{flow:#}");
            assert_eq!(total(flow, "/upload/written"), total(flow, "/upload/read"), "{flow:#}");
            assert_eq!(total(flow, "/download/written"), total(flow, "/download/read"), "{flow:#}");
            assert_eq!(flow["client_process"]["comm"], "lab-agent", "{flow:#}");
            assert_eq!(flow["server_process"]["comm"], "lab-agent", "{flow:#}");
        }
    }
}
