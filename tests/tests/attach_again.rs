//! Attaching what is attached: nothing changes, or the new flags take effect; connections live on.

use std::net::SocketAddr;
use std::process::Command;

use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::footprint::Footprint;
use tests::load::Load;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::{self, PROXY_USER, Server};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep, ended, workload};

const BPFTOOL: Requirement = Requirement::Program("bpftool", "bpftool");

#[test]
fn the_same_again_changes_nothing() {
    if !DataPlane::Sidestep.met(&[BPFTOOL]) {
        return;
    }
    let network = Network::new("again").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let call = Connect::to("10.96.7.7:80".parse().unwrap());
    call.from(&network.pod).unwrap().report().unwrap();
    let first = Footprint::of(&network.pod).unwrap();
    for _ in 0..3 {
        let said = sidestep.attach_again(&DEFAULT_FLAGS).unwrap();
        assert!(said.starts_with("updated"), "{said}");
        let now = Footprint::of(&network.pod).unwrap();
        assert_eq!((&now.links, &now.pins), (&first.links, &first.pins));
        assert_eq!(now.programs.len(), first.programs.len());
        assert_eq!(now.maps.len(), first.maps.len(), "{now:?} {first:?}");
    }
    call.from(&network.pod).unwrap().report().unwrap();
    assert_eq!(sidestep.counters().unwrap().of("O15"), 2, "counters go on");
    drop(sidestep);
    first.assert_gone().unwrap();
    assert!(Footprint::of(&network.pod).unwrap().is_empty());
}

#[test]
fn other_flags_take_effect() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("flags").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let other: SocketAddr = "0.0.0.0:15101".parse().unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let _other = Server::on(&network.pod).user(PROXY_USER).listen(other).start().unwrap();
    let _outside = Server::on(&network.outside).listen(SocketAddr::from(([0, 0, 0, 0], 80))).start().unwrap();
    let _app = Server::on(&network.pod).listen(network.pod4(8080)).start().unwrap();
    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let reached = || {
        let outbound = Connect::to(service).from(&network.pod).unwrap().report().unwrap();
        let inbound = Connect::to(network.pod4(8080)).from(&network.outside).unwrap().report().unwrap();
        (outbound.listener.port(), inbound.listener.port())
    };
    assert_eq!(reached(), (15001, 15006));
    let steps: [(&[&str], (u16, u16)); 5] = [
        (&["-d", "8080"], (15001, 8080)),
        (&["-o", "80"], (80, 15006)),
        (&["-x", "10.96.0.0/16"], (80, 15006)),
        (&["-p", "15101"], (15101, 15006)),
        (&[], (15001, 15006)),
    ];
    for (extra, expected) in steps {
        let kept = DEFAULT_FLAGS.chunks(2).filter(|pair| !extra.contains(&pair[0])).flatten().copied();
        let flags: Vec<&str> = kept.chain(extra.iter().copied()).collect();
        sidestep.attach_again(&flags).unwrap();
        assert_eq!(reached(), expected, "{extra:?}");
    }
}

#[test]
fn connections_survive() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("survive").unwrap();
    let _echo = server::echo_sidecar(&network.pod).start().unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let loads = [
        Load::lasting(network.pod4(8080), 8).start(&network.outside).unwrap(),
        Load::lasting(service, 8).start(&network.pod).unwrap(),
        Load::churning(network.pod4(8080), 4).start(&network.outside).unwrap(),
        Load::churning(service, 4).start(&network.pod).unwrap(),
    ];
    for flags in [&["-o", "81"][..], &["-o", "82"], &[], &["-o", "83"], &[]] {
        sidestep.attach_again(&[&DEFAULT_FLAGS, flags].concat()).unwrap();
    }
    for load in loads {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty() && exchanges.completed >= 8, "{exchanges:?}");
    }
}

/// As when the namespace is gone and another one has its number.
#[test]
fn what_hangs_on_nothing_any_more_is_attached_anew() {
    if !DataPlane::Sidestep.met(&[BPFTOOL]) {
        return;
    }
    let network = Network::new("loose").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    let _app = Server::on(&network.pod).listen(network.pod4(8080)).start().unwrap();
    let taken_by = || {
        let arriving = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
        arriving.report().unwrap().listener.port()
    };
    assert_eq!(taken_by(), 15006);
    let link = sidestep.link("inbound").unwrap();
    let detach = Command::new("bpftool").args(["link", "detach", "pinned"]).arg(link).status().unwrap();
    assert!(detach.success());
    assert_eq!(taken_by(), 8080);
    let said = sidestep.attach_again(&DEFAULT_FLAGS).unwrap();
    assert!(said.starts_with("attached"), "{said}");
    assert_eq!(taken_by(), 15006);
}

#[test]
fn what_changes_is_said() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("diff").unwrap();
    let sidestep =
        Sidestep::attach(&network.pod, &[&DEFAULT_FLAGS[..], &["--pod", "shop/web-0"]].concat()).unwrap();
    let lines = |said: &str| said.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let said = sidestep.attach_again(&DEFAULT_FLAGS).unwrap();
    assert_eq!(lines(&said), [""; 0], "nothing changed: {said}");
    let mut flags = DEFAULT_FLAGS.to_vec();
    let at = flags.iter().position(|flag| *flag == "-i").unwrap();
    flags[at + 1] = "10.96.0.0/16";
    let said = sidestep.attach_again(&[&flags[..], &["--observe", "off"]].concat()).unwrap();
    assert_eq!(lines(&said), ["  -i (--istio-service-cidr): * -> 10.96.0.0/16", "  --observe: on -> off"]);
    // Nobody has to say again which pod it is.
    assert_eq!(sidestep.meta().unwrap()["pod"]["name"], "web-0");
    let said = sidestep.attach_again(&[&flags[..], &["--pod", "shop/web-1"]].concat()).unwrap();
    assert_eq!(lines(&said), ["  --observe: off -> on", "  --pod: shop/web-0 -> shop/web-1"]);
}

/// Who leaves the flags out means a small change, not the end of all capture.
#[test]
fn capture_does_not_end_by_leaving_flags_out() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("nothing").unwrap();
    let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    for flags in [&[][..], &["-u", "1337"], &["--accelerate", "off"], &["-x", "10.0.0.0/8", "-d", "80"]] {
        let place = workload(&network.pod);
        let args =
            ["attach"].into_iter().chain(place.iter().map(String::as_str)).chain(flags.iter().copied());
        let said = ended(args).unwrap();
        assert_eq!(said.code, Some(64), "{flags:?}: {said:?}");
        assert!(
            said.stderr.contains("no -i, no -b") && said.stderr.contains("--capture-nothing"),
            "{said:?}"
        );
        assert_eq!(sidestep.meta().unwrap()["config"]["outbound_include"], "All");
    }
    let said = sidestep.attach_again(&["--capture-nothing"]).unwrap();
    assert!(said.contains("-i (--istio-service-cidr): * -> none"), "{said}");
    // What captures nothing already has nothing to lose.
    sidestep.attach_again(&[]).unwrap();
    drop(sidestep);
    let first = Sidestep::attach(&network.pod, &[]).unwrap();
    assert!(
        first.warnings().contains("sidestep: warning: nothing is captured: no -i, no -b"),
        "{}",
        first.warnings()
    );
}
