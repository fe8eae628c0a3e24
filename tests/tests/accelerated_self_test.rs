//! What this kernel does otherwise than stock TCP is found at attach, and said.

use serde_json::Value;
use tests::accelerated::Accelerated;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::sidestep;

#[test]
fn what_differs_shows_in_the_status() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("self-test").unwrap();
    let _attached = Accelerated::new("safe-readers").attach(&network.pod).unwrap();
    let status: Value =
        serde_json::from_str(&sidestep::ended(["status", "--output", "json"]).unwrap().stdout).unwrap();
    let cgroup = network.pod.cgroup().display().to_string();
    let workloads = status["workloads"].as_array().unwrap();
    let meta = &workloads.iter().find(|it| it["meta"]["cgroup_path"] == *cgroup).unwrap()["meta"];
    println!("{:?} {:?}", meta["not_accelerated"], meta["kernel_differs"]);
    if meta["not_accelerated"].is_null() {
        // No kernel there is yet has splice(2) look at what was handed over (net/ipv4/tcp.c: tcp_splice_read).
        let differs = meta["kernel_differs"].as_array().unwrap();
        assert!(differs.iter().any(|it| it.as_str().unwrap().starts_with("splice(2)")), "{differs:?}");
    } else {
        let reason = meta["not_accelerated"].as_str().unwrap();
        assert!(
            !reason.starts_with("self-test"),
            "the self-test fails on a kernel that counts as safe: {reason}"
        );
    }
}
