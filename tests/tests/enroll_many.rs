//! Pods come and go, and nothing stays.

use std::fs;

use proxy_core::config::{Acceleration, CidrSet, Config, Observe, PortSet};
use proxy_plane::dataplane::{AttachOptions, Node};
use tests::bare_pod::BarePod;
use tests::data_plane::DataPlane;
use tests::pin_root::{PinRoot, VARIABLE};
use tests::requirement::Requirement;

/// As many as kubelet lets a node have, unless told otherwise.
const PODS: u32 = 110;
const TIMES: usize = 10;

#[test]
fn a_full_node_ten_times_leaves_nothing() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration, Requirement::Observation]) {
        return;
    }
    let root = PinRoot::new().unwrap();
    // SAFETY: the only test of this binary; the harness's own thread waits for it and reads no environment.
    unsafe { std::env::set_var(VARIABLE, root.path()) };
    let options = AttachOptions {
        config: Config { inbound_include: PortSet::All, outbound_include: CidrSet::All, ..Config::default() },
        acceleration: Acceleration::default(),
        observe: Observe::default(),
        pod: None,
        sandbox: None,
    };
    let pods: Vec<BarePod> = (0..PODS).map(|number| BarePod::make(number).unwrap()).collect();
    let node = Node::open().unwrap();
    let mut open = None;
    for turn in 0..TIMES {
        for pod in &pods {
            pod.enroll(&node, &options).unwrap();
        }
        let links = root.pins().iter().filter(|pin| is_link(pin)).count();
        assert!(links >= pods.len() * 4, "{links} links of {PODS} pods");
        for pod in &pods {
            pod.release(&node).unwrap();
        }
        assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new(), "turn {turn}");
        let files = fs::read_dir("/proc/self/fd").unwrap().count();
        assert_eq!(*open.get_or_insert(files), files, "files that this process has open, turn {turn}");
    }

    // Who holds what they share finds the programs loaded for the next one, and nothing else.
    let hold = node.hold().unwrap();
    pods[0].enroll(&node, &options).unwrap();
    pods[0].release(&node).unwrap();
    let held = root.pins();
    assert!(held.iter().any(|pin| pin.ends_with("prog_connect4")), "{held:?}");
    assert!(!held.iter().any(|pin| is_link(pin)), "{held:?}");
    drop(hold);
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new(), "nobody holds it any more");
}

fn is_link(pin: &std::path::Path) -> bool {
    pin.file_name().is_some_and(|name| name.to_string_lossy().starts_with("link_"))
}
