//! The race every sockmap acceleration has to win: bytes that went over the stack before both ends were known
//! (TCP_DEFER_ACCEPT, TCP Fast Open) are read before those that are handed over.

use rstest::rstest;
use tests::accelerated::{Accelerated, attach_both, streams};
use tests::any_reader::ANY_READER;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::requirement::Requirement;

const STREAMS: u64 = 200;

#[rstest]
fn nothing_overtakes(
    #[values("safe-readers", ANY_READER)] mode: &str,
    #[values(("plain", &[][..], false), ("defer accept", &["--defer"][..], false), ("fast open", &[][..], true))]
    (name, server, fast_open): (&str, &[&str], bool),
    #[values(false, true)] two_pods: bool,
) {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::with_own_addresses("order").unwrap();
    for pod in [&network.pod, &network.outside] {
        // Client and server, without cookies, on every listener.
        pod.sysctl("net/ipv4/tcp_fastopen", "1543").unwrap();
    }
    let _attached = attach_both(&network, &Accelerated::new(mode)).unwrap();
    let at = network.pod4(7000);
    let _server = streams::serve(&network.pod, at, server).unwrap();
    let from = if two_pods { &network.outside } else { &network.pod };
    let mut client = streams::Client::to(at, 4, 20_000).streams(STREAMS).chunk(400);
    if fast_open {
        client = client.fast_open();
    }
    let seen = client.run(from).unwrap();
    assert_eq!((seen.corrupted, seen.broken.len()), (0, 0), "{name}: {seen:?}");
    assert_eq!(seen.completed, STREAMS, "{name}: {seen:?}");
    let status = Acceleration::of_pod(from).unwrap();
    println!("{mode}, {name}: {:?}", status.counters);
    if !fast_open {
        // Before accept, and while the first bytes drain, the stack carries it.
        assert!(status.of("redirected").messages > STREAMS / 2, "{name}: {status:?}");
    } else {
        // Bytes in the SYN: the ends do not agree on the first sequence number, and stay strangers to each other.
        assert_eq!(status.of("redirected").messages, 0, "{name}: {status:?}");
        assert!(netstat(from, "TCPFastOpenActive") >= STREAMS / 2, "no Fast Open happened");
    }
}

fn netstat(pod: &tests::pod::Pod, name: &str) -> u64 {
    let text = pod.command("cat").arg("/proc/net/netstat").run().unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let found = names.split(' ').zip(values.split(' ')).find(|(column, _)| *column == name);
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}
