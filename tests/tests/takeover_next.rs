//! A build to come, with another layout: this process pretends to be one, and takes over what this build has attached.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_plane::dataplane::{self, LAYOUT};
use proxy_user::cli;
use tests::data_plane::DataPlane;
use tests::load::Load;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::{self, APP_USER};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep, workload};

#[test]
fn slots_stay_and_nobody_waits() {
    if !DataPlane::Sidestep.met(&[Requirement::Program("bpftool", "bpftool")]) {
        return;
    }
    let (first, second) = (Network::new("next-a").unwrap(), Network::new("next-b").unwrap());
    let attached = [&first, &second].map(|it| Sidestep::attach(&it.pod, &DEFAULT_FLAGS).unwrap());
    let slots = || attached.each_ref().map(|it| it.meta().unwrap()["slot"].as_u64());
    let before = slots();
    let _sidecars = [&first, &second].map(|it| server::echo_sidecar(&it.pod).start().unwrap());
    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let loads = [
        Load::lasting(second.pod4(8080), 4).start(&second.outside).unwrap(),
        Load::churning(second.pod4(8080), 4).start(&second.outside).unwrap(),
        Load::lasting(service, 4).start(&second.pod).unwrap(),
        Load::churning(service, 4).start(&second.pod).unwrap(),
    ];
    for layout in [LAYOUT + 1, LAYOUT] {
        // The second workload first: the slot of the first is not free for it.
        for network in [&second, &first] {
            let words = [&["sidestep", "attach"], &DEFAULT_FLAGS[..]].concat();
            let args = words.into_iter().map(OsString::from);
            dataplane::pretend_layout(layout);
            cli::run(args.chain(workload(&network.pod).into_iter().map(OsString::from))).unwrap();
            dataplane::pretend_layout(0);
        }
    }
    assert_eq!(slots(), before);
    for load in loads {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty() && exchanges.completed > 8, "{exchanges:?}");
    }
    let after = Load::lasting(service, 2).user(APP_USER).start(&first.pod).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let after = after.finish().unwrap();
    assert!(after.failed.is_empty() && after.completed > 2, "{after:?}");
}
