//! What is not the workload is not touched: another cgroup in the same namespace, another namespace in the same
//! cgroup, and another pod that looks exactly the same.

use std::net::SocketAddr;

use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::{self, Server};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep, ended};

const SERVICE: &str = "10.96.7.7:80";

fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

#[test]
fn a_process_outside_the_cgroup_goes_direct() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("other-cgroup").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let sidecar = server::stand_in(&network.pod).start().unwrap();
    let _outside = Server::on(&network.outside).listen(anywhere(80)).start().unwrap();
    let connect = Connect::to(SERVICE.parse().unwrap());

    let before = sidestep.counters().unwrap();
    let seen: tests::report::Connected =
        connect.command(&network.pod).unwrap().outside_cgroup().unwrap().run_json().unwrap();
    let report = seen.report().unwrap();
    assert_eq!((report.local, report.peer), (SERVICE.parse().unwrap(), seen.sockname.unwrap()));
    assert!(sidecar.accepted().is_empty());
    assert_eq!(sidestep.counters().unwrap(), before, "not one instruction of ours ran");

    // Inbound is the namespace's affair: who asks does not matter.
    let own = Connect::to(SERVICE.parse().unwrap()).from(&network.pod).unwrap().report().unwrap();
    assert_eq!(own.listener.port(), 15001);
}

#[test]
fn a_process_in_another_namespace_goes_direct() {
    if !DataPlane::Sidestep.met(&[Requirement::Kernel("netns_cookie")]) {
        return;
    }
    let network = Network::new("home").unwrap();
    let other = Network::new("away").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let sidecar = server::stand_in(&network.pod).start().unwrap();
    let away = server::stand_in(&other.pod).start().unwrap();
    let _outside = Server::on(&other.outside).listen(anywhere(80)).start().unwrap();

    let command = Connect::to(SERVICE.parse().unwrap()).command(&network.pod).unwrap();
    let seen: tests::report::Connected = command.in_netns_of(&other.pod).run_json().unwrap();
    let report = seen.report().unwrap();
    assert_eq!((report.local, report.peer), (SERVICE.parse().unwrap(), seen.sockname.unwrap()));
    assert_eq!(seen.peername, SERVICE.parse().ok());
    assert!(sidecar.accepted().is_empty() && away.accepted().is_empty());
    let counters = sidestep.counters().unwrap();
    assert_eq!((counters.of("other_netns"), counters.of("O15")), (1, 0), "{counters:?}");
}

/// The same addresses, the same ports, at the same time: each pod has its own answer.
#[test]
fn identical_pods_never_see_each_other() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let networks = [Network::new("same-a").unwrap(), Network::new("same-b").unwrap()];
    let attached: Vec<_> =
        networks.iter().map(|network| Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap()).collect();
    let sidecars: Vec<_> =
        networks.iter().map(|network| server::stand_in(&network.pod).hold().start().unwrap()).collect();
    // Held open by the sidecars, so that equal four-tuples exist at the same time.
    let services: [SocketAddr; 2] = ["10.96.1.1:80".parse().unwrap(), "10.96.2.2:80".parse().unwrap()];
    for (network, service) in networks.iter().zip(services) {
        let seen = Connect::to(service).bind(network.pod4(40_000)).one_line().from(&network.pod).unwrap();
        let report = seen.report().unwrap();
        assert_eq!(report.original_dst().address, Some(service));
        assert_eq!((seen.peername, report.peer), (Some(service), network.pod4(40_000)));
        let inbound = Connect::to(network.pod4(8080)).bind(network.outside4(40_001)).one_line();
        let report = inbound.from(&network.outside).unwrap().report().unwrap();
        assert_eq!(report.original_dst().address, Some(network.pod4(8080)));
    }
    for (sidecar, service) in sidecars.iter().zip(services) {
        let seen = sidecar.wait_accepted_count(2).unwrap();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().any(|one| one.original_dst().address == Some(service)), "{seen:?}");
    }
    for sidestep in &attached {
        let counters = sidestep.counters().unwrap();
        assert_eq!((counters.of("O15"), counters.of("I6")), (1, 1), "{counters:?}");
    }
    // One leaves: the other stays as it was.
    let mut attached = attached.into_iter();
    attached.next().unwrap().detach().unwrap();
    let again = Connect::to(services[1]).one_line().from(&networks[1].pod).unwrap();
    assert_eq!(again.report().unwrap().original_dst().address, Some(services[1]));
}

/// A cgroup has one slot: two namespaces that are alive in it cannot both be captured, and none of them is left alone.
#[test]
fn a_cgroup_has_one_namespace() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let (network, other) = (Network::new("one-netns").unwrap(), Network::new("other-netns").unwrap());
    let attached = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let attach = || {
        let mut args = vec!["attach".to_owned(), "--netns".into(), other.pod.netns().display().to_string()];
        args.extend(["--cgroup".into(), network.pod.cgroup().display().to_string()]);
        args.extend(DEFAULT_FLAGS.map(str::to_owned));
        ended(args).unwrap()
    };
    let refused = attach();
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert!(refused.stderr.contains("is attached already with another network namespace"), "{refused:?}");
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let seen = Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap();
    assert_eq!(seen.report().unwrap().listener.port(), 15001);
    attached.detach().unwrap();
    let done = attach();
    assert_eq!(done.code, Some(0), "{done:?}");
    let name = format!("{}-{}", other.pod.netns_inode().unwrap(), network.pod.cgroup_id().unwrap());
    assert_eq!(ended(["detach", "--workload", &name]).unwrap().code, Some(0));
}
