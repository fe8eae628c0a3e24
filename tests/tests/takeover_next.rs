//! A build to come, with another layout: this process pretends to be one, and takes over what this build has attached.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use proxy_plane::dataplane::{self, LAYOUT};
use proxy_user::cli;
use tests::alone::alone;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::load::Load;
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::server::{self, APP_USER};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep, workload};

/// By a build of this layout.
fn attach_as(layout: u32, pod: &Pod) {
    let words = [&["sidestep", "attach"], &DEFAULT_FLAGS[..]].concat();
    let args = words.into_iter().map(OsString::from);
    dataplane::pretend_layout(layout);
    cli::run(args.chain(workload(pod).into_iter().map(OsString::from))).unwrap();
    dataplane::pretend_layout(0);
}

/// An agent in a container sees no process of the pod.
#[test]
fn a_sidecar_that_is_not_visible_is_found() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let _turn = alone();
    let network = Network::new("next-unseen").unwrap();
    let _attached = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let sidecar = server::stand_in(&network.pod).processes(3).start().unwrap();
    let hide = || {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        for process in sidecar.processes() {
            let directory = format!("/proc/{}", process.pid());
            mount(Some("none"), &*directory, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        }
    };
    for layout in [LAYOUT + 1, LAYOUT] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                hide();
                attach_as(layout, &network.pod);
            });
        });
        for _ in 0..20 {
            let inbound = Connect::to(network.pod4(8080)).from(&network.outside).unwrap().report().unwrap();
            let seen = (inbound.listener.port(), inbound.original_dst().address);
            assert_eq!(seen, (15006, Some(network.pod4(8080))));
            let service = "10.96.7.7:80".parse().unwrap();
            let outbound = Connect::to(service).from(&network.pod).unwrap().report().unwrap();
            assert_eq!((outbound.listener.port(), outbound.original_dst().address), (15001, Some(service)));
        }
    }
}

#[test]
fn slots_stay_and_nobody_waits() {
    if !DataPlane::Sidestep.met(&[Requirement::Program("bpftool", "bpftool")]) {
        return;
    }
    let _turn = alone();
    let (first, second) = (Network::new("next-a").unwrap(), Network::new("next-b").unwrap());
    // One that stays with its layout, and keeps that one's table.
    let other = Network::new("next-other").unwrap();
    let _stays = Sidestep::attach(&other.pod, &DEFAULT_FLAGS).unwrap();
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
            attach_as(layout, &network.pod);
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
