//! Kernel TLS on an accelerated pod, where the kernel has it: refused on sockets that are in the map, whose earlier bytes
//! did not go through TCP; left alone on all others. The program that asked goes on without either way.

use std::collections::BTreeMap;

use rstest::rstest;
use tests::accelerated::Accelerated;
use tests::any_reader::ANY_READER;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::APP_USER;

const IN_THE_MAP: &str = "6, 6 before, EPERM, 5, 5 after";
const ON_THE_STACK: &str = "6, 6 before, 0, 5, 5 after";

#[rstest]
#[case::not_accelerated("off", ON_THE_STACK, ON_THE_STACK)]
// Strict leaves sockets that block out of the map.
#[case::only_event_loops("safe-readers", ON_THE_STACK, IN_THE_MAP)]
#[case::every_reader(ANY_READER, IN_THE_MAP, IN_THE_MAP)]
fn upper_layer(#[case] mode: &str, #[case] blocking: &str, #[case] event_loop: &str) {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration, Requirement::KernelTls]) {
        return;
    }
    let network = Network::new("kernel-tls").unwrap();
    let _attached = Accelerated::new(mode).attach(&network.pod).unwrap();
    let command = network.pod.lab_agent("semantics").unwrap().args(["--only", "kernel TLS"]);
    let outcomes: BTreeMap<String, String> = command.user(APP_USER.0, APP_USER.1).run_json().unwrap();
    let outcomes: Vec<(&str, &str)> = outcomes.iter().map(|(name, said)| (&**name, &**said)).collect();
    assert_eq!(outcomes, [("kernel TLS, blocking", blocking), ("kernel TLS, event loop", event_loop)]);
    let refused = [blocking, event_loop].iter().filter(|outcome| **outcome == IN_THE_MAP).count();
    let status = Acceleration::of_pod(&network.pod).unwrap();
    assert_eq!(status.of("ktls").sockets, refused as u64, "{status:?}");
}
