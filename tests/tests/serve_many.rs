//! Many open connections: each is on the page, and `serve` stays small. `SIDESTEP_MANY=50000` makes the figures of
//! docs/metrics.md.

use std::time::Instant;

use tests::crowd::{Crowd, Expect};
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::serve::Serve;
use tests::server;
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

const USUAL: u32 = 5000;
const MOST_KIB: u64 = 100_000;

/// The largest resident size the process ever had, in KiB.
fn peak_rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn many_open_connections() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Program("curl", "curl")]) {
        return;
    }
    let count = std::env::var("SIDESTEP_MANY").map_or(USUAL, |text| text.parse().unwrap());
    let network = Network::new("serve-many").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = server::stand_in(&network.pod).hold().processes(4).start().unwrap();
    let open = Crowd::to("10.96.0.0/16", 80, count).expect(Expect::OriginalDst).open(&network.pod).unwrap();
    assert_eq!(open.counts.connected, count, "{:?}", open.counts);
    let mut serve = Serve::start(&[]).unwrap();
    let workload = network.pod.workload().unwrap();
    let labels = [format!("workload=\"{workload}\""), "hop=\"outbound\"".to_owned()];
    let labels = labels.each_ref().map(String::as_str);
    for _ in 0..5 {
        let began = Instant::now();
        let metrics = serve.metrics().unwrap();
        let took = began.elapsed();
        assert_eq!(metrics.of("sidestep_active_flows", &labels), f64::from(count));
        assert_eq!(metrics.of("sidestep_connections_total", &labels), f64::from(count));
        let reading = metrics.of("sidestep_scrape_duration_seconds", &[]);
        println!("{count} connections: /metrics {took:?} with curl, of which reading {reading:.3} s");
    }
    let began = Instant::now();
    let node = serve.get("/api/v1/node", &[]).unwrap();
    println!("{count} connections: /api/v1/node {:?} with curl, {} bytes", began.elapsed(), node.body.len());
    let rss = peak_rss(serve.process().pid());
    println!("{count} connections: serve had {rss} KiB resident at most");
    assert!(rss < MOST_KIB, "{rss} KiB");
}
