//! A kernel that refuses a program: what capture needs fails as a whole, anything else is given up and capture is exact.
//! The refusals are pretended, one program at a time, by this process, which attaches itself.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;

use proxy_common::names::{map, program};
use proxy_core::exit::Class;
use proxy_plane::dataplane;
use proxy_user::cli;
use rstest::rstest;
use tests::alone::alone;
use tests::client::Connect;
use tests::footprint::Footprint;
use tests::network::Network;
use tests::report::Outcome;
use tests::requirement::{Requirement, met};
use tests::server::{self, APP_USER, PROXY_USER, Server};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep, workload};

fn attach(network: &Network, refused: &str, more: &[&str]) -> anyhow::Result<ExitCode> {
    let usual: Vec<&str> =
        DEFAULT_FLAGS.chunks(2).filter(|pair| !more.contains(&pair[0])).flatten().copied().collect();
    let words = [&["sidestep", "attach"], &usual[..], &["--dual-stack"], more].concat();
    let args =
        words.into_iter().map(OsString::from).chain(workload(&network.pod).into_iter().map(OsString::from));
    dataplane::pretend_refused(&[refused]);
    let done = cli::run(args);
    dataplane::pretend_refused(&[]);
    done
}

/// A network whose pod was attached on a kernel that refuses one program.
fn on_a_kernel_without(
    refused: &str,
    more: &[&str],
) -> Option<(Network, Sidestep, anyhow::Result<ExitCode>)> {
    if !met(&[
        Requirement::Root,
        Requirement::Cgroup2,
        Requirement::Sidestep,
        Requirement::Program("bpftool", "bpftool"),
    ]) {
        return None;
    }
    let network = Network::new("refused-program").unwrap();
    let sidestep = Sidestep::around(&network.pod);
    let done = attach(&network, refused, more);
    Some((network, sidestep, done))
}

/// Outbound and inbound, captured and not.
fn captures_exactly(network: &Network, sidestep: &Sidestep) {
    let sidecar = server::stand_in(&network.pod).start().unwrap();
    let everywhere: SocketAddr = "0.0.0.0:80".parse().unwrap();
    let _outside = Server::on(&network.outside).listen(everywhere).start().unwrap();
    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let of_app = Connect::to(service).user(APP_USER).from(&network.pod).unwrap();
    assert_eq!(of_app.report().unwrap().listener.port(), 15001, "{of_app:?}");
    let of_proxy = Connect::to(service).user(PROXY_USER).from(&network.pod).unwrap();
    assert_eq!(of_proxy.outcome(), Outcome::Answered, "{of_proxy:?}");
    let from_outside = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(from_outside.report().unwrap().listener.port(), 15006, "{from_outside:?}");
    let accepted = sidecar.wait_accepted_count(2).unwrap();
    assert_eq!(accepted.len(), 2, "the sidecar's own connection is left alone");
    assert_eq!((sidestep.rule("O15").unwrap(), sidestep.rule("I6").unwrap()), (1, 1));
}

#[rstest]
fn observation_and_acceleration_are_given_up(
    #[values(
        (program::FLOW_OPS, "not_observed"),
        (program::FLOW_RELEASE, "not_observed"),
        (program::FLOW_LIST, "not_observed"),
        (program::FLOW_SUM, "not_observed"),
        (program::FLOW_IN, "not_timed"),
        (program::FLOW_OUT, "not_timed"),
        (program::SELF_TEST, "not_accelerated"),
        (program::DISPATCH, "not_accelerated"),
        (program::REDIRECT, "not_accelerated"),
        (program::SPLICE_GUARD, "not_guarded")
    )]
    (refused, missing): (&str, &str),
) {
    let needs: &[Requirement] = match missing {
        "not_accelerated" => &[Requirement::Acceleration],
        "not_guarded" => &[Requirement::Acceleration, Requirement::Kernel("bpf_lsm")],
        _ => &[Requirement::Observation],
    };
    if !met(needs) {
        return;
    }
    let _alone = alone();
    let Some((network, sidestep, done)) = on_a_kernel_without(refused, &[]) else { return };
    assert_eq!(done.unwrap(), ExitCode::SUCCESS);
    let meta = sidestep.meta().unwrap();
    let reason = meta[missing].as_str().unwrap_or_else(|| panic!("{missing} says nothing: {meta}"));
    assert!(reason.contains(&format!("refuses the program {refused}")), "{reason}");
    for other in ["not_observed", "not_accelerated"].into_iter().filter(|other| *other != missing) {
        let wanted =
            Requirement::Observation.missing().is_some() || Requirement::Acceleration.missing().is_some();
        assert!(meta[other].is_null() || wanted, "{other}: {meta}");
    }
    captures_exactly(&network, &sidestep);
    // The kernel has learnt it meanwhile.
    assert_eq!(attach(&network, "", &[]).unwrap(), ExitCode::SUCCESS);
    assert!(sidestep.meta().unwrap()[missing].is_null());
}

#[rstest]
fn what_capture_needs_fails_as_a_whole(
    #[values(
        program::CONNECT4,
        program::CONNECT6,
        program::GETPEERNAME4,
        program::GETPEERNAME6,
        program::GETSOCKOPT,
        program::SETSOCKOPT,
        program::SOCK_OPS,
        program::INBOUND,
        program::SENDMSG4,
        program::RECVMSG6
    )]
    refused: &str,
) {
    let _alone = alone();
    let dns = ["--redirect-dns", "--dns-server", "10.96.0.10"];
    let Some((network, _sidestep, done)) = on_a_kernel_without(refused, &dns) else { return };
    let error = done.unwrap_err();
    assert!(format!("{error:#}").contains(refused), "{error:#}");
    assert_eq!(Class::of(&error), Class::Permission, "{error:#}");
    // Linux 5.10 frees a link a moment after its last descriptor.
    Footprint::of(&network.pod).unwrap().assert_gone().unwrap();
    // As if nobody had been there.
    let _outside =
        Server::on(&network.outside).listen("0.0.0.0:80".parse::<SocketAddr>().unwrap()).start().unwrap();
    let direct =
        Connect::to("10.96.7.7:80".parse::<SocketAddr>().unwrap()).user(APP_USER).from(&network.pod).unwrap();
    assert_eq!(direct.outcome(), Outcome::Answered, "{direct:?}");
}

/// A running workload keeps what it has.
#[test]
fn a_refused_update_changes_nothing() {
    let _alone = alone();
    let Some((network, sidestep, done)) = on_a_kernel_without("", &[]) else { return };
    done.unwrap();
    let before = Footprint::of(&network.pod).unwrap();
    let error = attach(&network, program::CONNECT4, &["-o", "80"]).unwrap_err();
    assert!(format!("{error:#}").contains(program::CONNECT4), "{error:#}");
    let after = Footprint::of(&network.pod).unwrap();
    assert_eq!((before.links, before.pins), (after.links, after.pins));
    captures_exactly(&network, &sidestep);
}

/// An update fails at its last step, when the listeners of the new ports are in the places of the old ones.
#[test]
fn an_update_to_other_ports_that_fails_puts_the_listeners_back() {
    let _alone = alone();
    let Some((network, sidestep, done)) = on_a_kernel_without("", &[]) else { return };
    done.unwrap();
    // What was there before is put back, and so is what began to listen since.
    let on = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
    let listens = |outbound: u16, inbound: u16| {
        let server = Server::on(&network.pod).user(PROXY_USER).listen(on(outbound)).listen(on(inbound));
        server.start().unwrap()
    };
    let _others = listens(15101, 15106);
    let first = listens(15001, 15006);
    let reached = || {
        let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
        let outbound = Connect::to(service).user(APP_USER).from(&network.pod).unwrap();
        let inbound = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
        [outbound, inbound].map(|seen| seen.report().map(|report| report.listener.port()))
    };
    let captured = [Some(15001), Some(15006)];
    assert_eq!(reached(), captured);
    let before = Footprint::of(&network.pod).unwrap();
    for ports in [["-p", "15101", "-z", "15106"], ["-p", "15001", "-z", "15106"]] {
        let error = attach(&network, map::META, &ports).unwrap_err();
        assert!(format!("{error:#}").contains("map_META"), "{error:#}");
        assert_eq!(reached(), captured, "{ports:?}");
        let after = Footprint::of(&network.pod).unwrap();
        assert_eq!((&before.links, &before.pins), (&after.links, &after.pins));
    }
    assert_eq!(sidestep.event("no_listener").unwrap(), 0);
    drop(first);
    assert_eq!(reached(), [None, None], "nothing else is in their places");
    // The same once more, and nothing fails.
    assert_eq!(attach(&network, "", &["-p", "15101", "-z", "15106"]).unwrap(), ExitCode::SUCCESS);
    assert_eq!(reached(), [Some(15101), Some(15106)]);
}

/// `require` means what it says.
#[test]
fn required_acceleration_is_not_given_up() {
    if !met(&[Requirement::Acceleration]) {
        return;
    }
    let _alone = alone();
    let more = ["--accelerate", "require"];
    let Some((network, _sidestep, done)) = on_a_kernel_without(program::REDIRECT, &more) else { return };
    let error = done.unwrap_err();
    assert_eq!(Class::of(&error), Class::Unavailable, "{error:#}");
    Footprint::of(&network.pod).unwrap().assert_gone().unwrap();
}
