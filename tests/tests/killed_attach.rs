//! An attach or detach that is killed halfway: the pod goes on as before, and the next attach or `detach --all` puts
//! right what it left.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::footprint::Footprint;
use tests::load::Load;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::report::Outcome;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::server::{self, PROXY_USER, Server};
use tests::sidestep::{DEFAULT_FLAGS, ended_command};

/// Moments of the kill, spread over the time an attach takes.
fn moments() -> u32 {
    full_or(6, 16)
}

fn attach(root: &PinRoot, network: &Network) -> std::process::Command {
    root.for_pod(&[&["attach"], &DEFAULT_FLAGS[..]].concat(), &network.pod).unwrap()
}

fn succeed(command: std::process::Command) -> String {
    let ended = ended_command(command).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

/// Starts it, kills it after `delay`; whether that was before its end.
fn killed_after(mut command: Command, delay: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(delay);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// How long an undisturbed attach takes here and now.
fn attach_time(root: &PinRoot, network: &Network) -> Duration {
    let started = Instant::now();
    succeed(attach(root, network));
    started.elapsed()
}

/// Killed at this moment of so many in the time it takes. One that ended before has shown that it takes less.
fn killed_at(command: Command, whole: &mut Duration, moment: u32, moments: u32) -> bool {
    let after = *whole * moment / moments;
    let killed = killed_after(command, after);
    if !killed {
        *whole = after;
    }
    killed
}

/// Whoever asks while others come and go is told of those that are there, and of no half of one.
#[test]
fn status_while_others_come_and_go() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let root = PinRoot::new().unwrap();
    let [stays, comes] = ["stays", "comes"].map(|name| Network::new(name).unwrap());
    succeed(attach(&root, &stays));
    let (mut asked, is_over) = (0, AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..full_or(10, 40) {
                succeed(attach(&root, &comes));
                succeed(root.for_pod(&["detach"], &comes.pod).unwrap());
            }
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            succeed(root.command(&["status"]).unwrap());
            asked += 1;
        }
    });
    println!("asked {asked} times");
}

fn bpftool() -> Requirement {
    Requirement::Program("bpftool", "bpftool")
}

#[test]
fn a_first_attach() {
    if !DataPlane::Sidestep.met(&[bpftool()]) {
        return;
    }
    let network = Network::new("killed").unwrap();
    let root = PinRoot::new().unwrap();
    let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
    let _sidecar = Server::on(&network.pod).listen(any(15006)).user(PROXY_USER).start().unwrap();
    let _app = Server::on(&network.pod).listen(any(8080)).start().unwrap();
    let mut whole = attach_time(&root, &network);
    succeed(root.command(&["detach", "--all"]).unwrap());
    let (moments, mut killed) = (moments(), 0);
    for moment in 0..moments {
        killed += u32::from(killed_at(attach(&root, &network), &mut whole, moment, moments));
        // Whatever it left: an inbound connection is answered, by the sidecar or by the app.
        let seen = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "after moment {moment}: {seen:?}");
        if moment % 2 == 0 {
            succeed(attach(&root, &network));
            let port = Connect::to(network.pod4(8080)).from(&network.outside).unwrap().report().unwrap();
            assert_eq!(port.listener.port(), 15006, "moment {moment}");
        }
        succeed(root.command(&["detach", "--all"]).unwrap());
        assert!(Footprint::of(&network.pod).unwrap().is_empty(), "after moment {moment}");
        assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new(), "after moment {moment}");
    }
    println!("{killed} of {moments} attaches were killed before their end ({whole:?})");
    assert!(killed > moments / 4, "an attach took {whole:?}, only {killed} were killed in time");
}

#[test]
fn an_attach_of_what_is_attached() {
    if !DataPlane::Sidestep.met(&[bpftool()]) {
        return;
    }
    let network = Network::new("killed-again").unwrap();
    let root = PinRoot::new().unwrap();
    let _sidecar = server::echo_sidecar(&network.pod).start().unwrap();
    succeed(attach(&root, &network));
    let mut whole = attach_time(&root, &network);
    let service: SocketAddr = "10.96.7.7:80".parse().unwrap();
    let loads = [
        Load::lasting(network.pod4(8080), 4).start(&network.outside).unwrap(),
        Load::churning(network.pod4(8080), 2).start(&network.outside).unwrap(),
        Load::churning(service, 2).start(&network.pod).unwrap(),
    ];
    let first = Footprint::of(&network.pod).unwrap();
    let (moments, mut killed) = (moments(), 0);
    for moment in 0..moments {
        killed += u32::from(killed_at(attach(&root, &network), &mut whole, moment, moments));
        let status = succeed(root.command(&["status", "--output", "json"]).unwrap());
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["workloads"][0]["complete"], true, "after moment {moment}: {status}");
        if moment % 4 == 3 {
            succeed(attach(&root, &network));
        }
    }
    succeed(attach(&root, &network));
    let last = Footprint::of(&network.pod).unwrap();
    assert_eq!((&last.links, last.programs.len()), (&first.links, first.programs.len()));
    assert_eq!(last.maps.len(), first.maps.len(), "nothing piles up");
    for load in loads {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty() && exchanges.completed > 4, "{exchanges:?}");
    }
    println!("{killed} of {moments} attaches were killed before their end ({whole:?})");
    succeed(root.command(&["detach", "--all"]).unwrap());
    last.assert_gone().unwrap();
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
}

/// The last workload that is whole takes what is left of another one with it.
#[test]
fn an_attach_beside_one_that_is_detached_then() {
    if !DataPlane::Sidestep.met(&[bpftool()]) {
        return;
    }
    let root = PinRoot::new().unwrap();
    let [whole, half] = ["killed-whole", "killed-half"].map(|name| Network::new(name).unwrap());
    succeed(attach(&root, &whole));
    let mut time = attach_time(&root, &half);
    let (moments, mut killed) = (moments(), 0);
    for moment in 0..moments {
        succeed(root.command(&["detach", "--all"]).unwrap());
        succeed(attach(&root, &whole));
        if !killed_at(attach(&root, &half), &mut time, moment, moments) {
            succeed(root.for_pod(&["detach"], &half.pod).unwrap());
            continue;
        }
        killed += 1;
        succeed(root.for_pod(&["detach"], &whole.pod).unwrap());
        if root.pins().iter().any(|pin| pin.ends_with("map_META")) {
            // It was attached by then.
            succeed(root.for_pod(&["detach"], &half.pod).unwrap());
        }
        assert!(Footprint::of(&half.pod).unwrap().is_empty(), "after moment {moment}");
        assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new(), "after moment {moment}");
    }
    assert!(killed > moments / 4, "an attach took {time:?}, only {killed} were killed in time");
}

/// Beside one that stays, so that what both share stays too.
#[test]
fn a_detach() {
    if !DataPlane::Sidestep.met(&[bpftool()]) {
        return;
    }
    let root = PinRoot::new().unwrap();
    let staying = Network::new("killed-stays").unwrap();
    succeed(attach(&root, &staying));
    let network = Network::new("killed-detach").unwrap();
    network.pod.ip("addr del ::6/128 dev lo\n").unwrap();
    let any = SocketAddr::from(([0, 0, 0, 0], 15006));
    let _sidecar = Server::on(&network.pod).listen(any).user(PROXY_USER).start().unwrap();
    let detach = || root.for_pod(&["detach"], &network.pod).unwrap();
    let attach = || {
        let flags = [&["attach"], &DEFAULT_FLAGS[..], &["--dual-stack"]].concat();
        succeed(root.for_pod(&flags, &network.pod).unwrap())
    };
    attach();
    let started = Instant::now();
    succeed(detach());
    let mut whole = started.elapsed();
    let alone = root.pins();
    let (moments, mut killed) = (moments(), 0);
    for moment in 0..moments {
        attach();
        killed += u32::from(killed_at(detach(), &mut whole, moment, moments));
        attach();
        let seen = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "after moment {moment}: {seen:?}");
        assert_eq!(seen.report().unwrap().listener.port(), 15006, "after moment {moment}");
        succeed(detach());
        assert!(Footprint::of(&network.pod).unwrap().is_empty(), "after moment {moment}");
        assert_eq!(root.pins(), alone, "after moment {moment}");
        let lo = network.pod.command("ip").args(["-6", "addr", "show", "dev", "lo"]).run().unwrap();
        assert!(!lo.contains("inet6 ::6/128"), "after moment {moment}: {lo}");
    }
    println!("{killed} of {moments} detaches were killed before their end ({whole:?})");
    assert!(killed > moments / 4, "a detach took {whole:?}, only {killed} were killed in time");
    succeed(root.command(&["detach", "--all"]).unwrap());
    assert_eq!(root.pins(), Vec::<std::path::PathBuf>::new());
}
