//! Segments that are sent again are counted with their connection: as many as the namespace has counted.

use std::net::SocketAddr;

use serde_json::Value;
use tests::accelerated::{Accelerated, streams};
use tests::data_plane::DataPlane;
use tests::flows::wait_closed;
use tests::iptables::{self, Backend};
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::Requirement;

const PORT: u16 = 7002;

/// `net/ipv4/proc.c: snmp_seq_show`: a line of names, and one of numbers.
fn sent_again(pod: &Pod) -> u64 {
    let text = pod.command("cat").args(["/proc/net/snmp"]).run().unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let mut found = names.split(' ').zip(numbers.split(' '));
    found.find(|(name, _)| *name == "RetransSegs").unwrap().1.parse().unwrap()
}

#[test]
fn what_is_lost_and_sent_again_is_counted_with_its_connection() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Iptables(Backend::Nft)]) {
        return;
    }
    let network = Network::new("retransmits").unwrap();
    let _attached = Accelerated::new("off").attach(&network.pod).unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], PORT));
    let _server = streams::serve(&network.pod, at, &[]).unwrap();
    let run = || {
        let seen = streams::Client::to(at, 4, 500_000).burst(50_000).run(&network.pod).unwrap();
        assert_eq!((seen.completed, seen.corrupted), (4, 0), "{seen:?}");
    };
    let retransmits = |flows: &[Value]| -> Vec<u64> {
        flows.iter().map(|flow| flow["retransmits"].as_u64().unwrap_or_else(|| panic!("{flow:#}"))).collect()
    };
    let port = PORT.to_string();
    run();
    let before = sent_again(&network.pod);
    let whole = retransmits(&wait_closed(&network.pod, &["--port", &port], 4).unwrap());
    assert_eq!(whole.iter().sum::<u64>(), before, "{whole:?}");

    // Every seventh segment with bytes, either way.
    let lossy = ["--dport", "--sport"].map(|port| {
        format!(
            "-A INPUT -p tcp {port} {PORT} -m length --length 200: \
             -m statistic --mode nth --every 7 --packet 3 -j DROP\n"
        )
    });
    iptables::apply(&network.pod, &format!("*filter\n{}COMMIT\n", lossy.concat()), Backend::Nft).unwrap();
    run();
    let flows = wait_closed(&network.pod, &["--port", &port], 8).unwrap();
    let (all, lost) = (retransmits(&flows), sent_again(&network.pod) - before);
    assert_eq!((flows.len(), all.iter().sum::<u64>()), (8, before + lost), "{all:?}");
    // More than what a busy machine sends again by itself.
    assert!(lost >= 8, "{lost} segments in all");
    println!("{lost} segments sent again, {before} before: {all:?}");
}
