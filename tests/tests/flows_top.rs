//! `sidestep flows --top` in a real terminal: it shows the path of what flows, and gives the terminal back.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::load::Load;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::Server;
use tests::sidecar::Sidecar;
use tests::sidestep::{self, DEFAULT_FLAGS, Sidestep};
use tests::tmux::Tmux;

const TERMINAL: Requirement = Requirement::Program("tmux", "tmux");

/// A pod with a sidecar that forwards this way, and an application on 8080.
struct Stage {
    network: Network,
    sidestep: Sidestep,
    _sidecar: Sidecar,
    _app: tests::server::RunningServer,
}

impl Stage {
    fn new(name: &str, forward: Forward) -> Option<Self> {
        if !DataPlane::Sidestep.met(&[Requirement::Observation, TERMINAL]) {
            return None;
        }
        let network = Network::new(name).unwrap();
        let sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
        let config = SidecarConfig::new(forward, &[8080]);
        let sidecar = Sidecar::start_kind(tests::sidecar::Kind::Relay, &network.pod, &config).unwrap();
        let any: SocketAddr = "0.0.0.0:8080".parse().unwrap();
        let app = Server::on(&network.pod).listen(any).echo().start().unwrap();
        Some(Self { network, sidestep, _sidecar: sidecar, _app: app })
    }

    fn workload(&self) -> String {
        self.network.pod.workload().unwrap()
    }

    /// Other tests' workloads are on this node too.
    fn top(&self) -> String {
        let binary = sidestep::binary().unwrap();
        format!("{} flows --top --workload {}; echo \"exit $?\"", binary.display(), self.workload())
    }
}

/// A checksum of its settings: written out they are longer than a line.
fn settings(tmux: &Tmux, name: &str) -> String {
    tmux.type_line(&format!("echo {name} $(stty -g | cksum)")).unwrap();
    let said = |line: &&str| line.starts_with(name) && line.contains(|letter: char| letter.is_ascii_digit());
    let screen = tmux.wait(|screen| screen.lines().any(|line| said(&line))).unwrap();
    let line = screen.lines().find(said).unwrap();
    line[name.len()..].trim().to_owned()
}

#[rstest]
#[case::lo(Forward::Localhost, "> lo ", "to the app, mode lo: 3 flows")]
#[case::eth0(Forward::Passthrough, "> eth0 ", "to the app, mode eth0: 3 flows")]
fn the_path_of_what_flows(#[case] forward: Forward, #[case] way: &str, #[case] flows: &str) {
    let Some(stage) = Stage::new("top-path", forward) else { return };
    let load = Load::lasting(stage.network.pod4(8080), 3).start(&stage.network.outside).unwrap();
    let tmux = Tmux::new(80, 24).unwrap();
    let before = settings(&tmux, "before");
    tmux.type_line(&stage.top()).unwrap();
    let moving =
        |line: &str| line.matches("up ").count() == 2 && !line.contains("up -") && !line.contains("up 0");
    let screen = tmux
        .wait(|screen| {
            screen.contains("inbound: 3 flows") && screen.contains(flows) && screen.lines().any(moving)
        })
        .unwrap();
    let drawing = screen.lines().find(|line| line.starts_with("client ")).unwrap();
    assert!(drawing.contains("> :15006") && drawing.contains(way) && drawing.ends_with("> app"), "{screen}");
    assert!(screen.contains("10.10.0.26:8080") && screen.contains("CLIENT"), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    println!("{screen}");

    // Outbound, nothing flows.
    tmux.press("Tab").unwrap();
    tmux.wait(|screen| screen.contains("> :15001") && screen.contains("outbound: 0 flows")).unwrap();
    tmux.press("q").unwrap();
    let after = tmux.wait(|screen| screen.contains("exit 0")).unwrap();
    assert!(after.contains("before "), "what was on the screen is there again: {after}");
    assert_eq!(settings(&tmux, "after"), before);
    assert!(load.finish().unwrap().failed.is_empty());
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let Some(stage) = Stage::new("top-ends", Forward::Passthrough) else { return };
    let tmux = Tmux::new(80, 24).unwrap();
    let before = settings(&tmux, "before");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        tmux.type_line("clear").unwrap();
        tmux.type_line(&stage.top()).unwrap();
        tmux.wait(|screen| screen.contains("CLIENT")).unwrap();
        kill(Pid::from_raw(tmux.program().unwrap()), signal).unwrap();
        tmux.wait(|screen| screen.contains("exit 0") && !screen.contains("CLIENT")).unwrap();
        assert_eq!(settings(&tmux, "after"), before, "{signal}");
    }
    // Too small while it runs, and large enough again.
    tmux.type_line(&stage.top()).unwrap();
    tmux.wait(|screen| screen.contains("CLIENT")).unwrap();
    tmux.resize(60, 20).unwrap();
    tmux.wait(|screen| screen.contains("60x20 is too small")).unwrap();
    tmux.resize(100, 30).unwrap();
    tmux.wait(|screen| screen.contains("CLIENT")).unwrap();
    // What is watched goes.
    let workload = stage.workload();
    stage.sidestep.detach().unwrap();
    let screen = tmux.wait(|screen| screen.contains("exit 1")).unwrap();
    assert!(screen.contains(&format!("workload {workload} was detached")), "{screen}");
    assert_eq!(settings(&tmux, "gone"), before);
}

#[test]
fn a_terminal_it_cannot_use_is_left_alone() {
    let Some(stage) = Stage::new("top-unfit", Forward::Passthrough) else { return };
    let workload = stage.workload();
    let piped = sidestep::ended(["flows", "--top", "--workload", &workload]).unwrap();
    assert_eq!(piped.code, Some(64), "{}", piped.stderr);
    assert!(piped.stderr.contains("--top needs a terminal") && piped.stdout.is_empty(), "{}", piped.stderr);
    let with_follow = sidestep::ended(["flows", "--top", "-f"]).unwrap();
    assert_eq!(with_follow.code, Some(64), "{}", with_follow.stderr);

    let small = Tmux::new(79, 24).unwrap();
    small.type_line(&stage.top()).unwrap();
    let screen = small.wait(|screen| screen.contains("exit 64")).unwrap();
    let said = screen.replace('\n', "");
    assert!(said.contains("the terminal is 79x24; enlarge it to at least 80x24"), "{screen}");

    let dumb = Tmux::new(80, 24).unwrap();
    dumb.type_line(&format!("TERM=dumb {}", stage.top())).unwrap();
    let screen = dumb.wait(|screen| screen.contains("exit 64")).unwrap();
    assert!(screen.replace('\n', "").contains("TERM says"), "{screen}");
}

/// What is typed holds for real flows, and what the command line left out is said.
#[test]
fn keys_order_filter_and_scroll() {
    let Some(stage) = Stage::new("top-keys", Forward::Localhost) else { return };
    let load = Load::lasting(stage.network.pod4(8080), 12).start(&stage.network.outside).unwrap();
    let tmux = Tmux::new(170, 30).unwrap();
    tmux.type_line(&stage.top()).unwrap();
    let given = format!("--workload {}", stage.workload());
    let wide = ["AGE", "TOTAL", "PROCESSES", "WORKLOAD", "CONNS"];
    let screen = tmux
        .wait(|screen| screen.contains("of 24") && wide.iter().all(|name| screen.contains(name)))
        .unwrap();
    assert!(screen.lines().next().unwrap().contains(&given), "{screen}");
    tmux.press("End").unwrap();
    tmux.wait(|screen| screen.contains("-24 of 24")).unwrap();
    tmux.press("3").unwrap();
    tmux.wait(|screen| screen.contains("by age") && screen.contains("1-19 of 24")).unwrap();
    tmux.press("?").unwrap();
    tmux.wait(|screen| screen.contains("the least first, or the most")).unwrap();
    tmux.press("?").unwrap();
    // Half of them are from outside.
    tmux.type_line("/INBOUND nobody").unwrap();
    tmux.wait(|screen| screen.contains("/INBOUND nobody") && screen.contains("no flow")).unwrap();
    tmux.press("Escape").unwrap();
    tmux.wait(|screen| !screen.contains("/INBOUND") && screen.contains("of 24")).unwrap();
    tmux.type_line("/INBOUND :8080").unwrap();
    tmux.wait(|screen| screen.contains("12 flows match") && screen.contains("of 12")).unwrap();
    // What closes while the picture stands is shown afterwards, and not before.
    tmux.press("Space").unwrap();
    tmux.wait(|screen| screen.contains("PAUSED")).unwrap();
    assert!(load.finish().unwrap().failed.is_empty());
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(tmux.screen().unwrap().contains("12 flows match"));
    tmux.press("Space").unwrap();
    tmux.wait(|screen| screen.contains("0 flows match") && !screen.contains("PAUSED")).unwrap();
    tmux.press("q").unwrap();
    tmux.wait(|screen| screen.contains("exit 0")).unwrap();
}

/// A terminal that goes away takes the program with it, also one that gets no SIGHUP, because it is another session's.
#[rstest]
#[case::its_terminal_goes(None)]
#[case::told_to_end(Some(Signal::SIGTERM))]
#[case::hung_up(Some(Signal::SIGHUP))]
fn without_its_terminal_it_ends(#[case] signal: Option<Signal>) {
    let Some(stage) = Stage::new("top-gone", Forward::Passthrough) else { return };
    let size = nix::pty::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(&size, None).unwrap();
    // Whoever inherits this end keeps the terminal.
    fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    let mut command = Command::new(sidestep::binary().unwrap());
    command.args(["flows", "--top", "--workload", &stage.workload()]).env("TERM", "xterm-256color");
    let mut child =
        command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave)).spawn().unwrap();
    drop((command, pty.slave));
    // It shows something.
    let mut screen = File::from(pty.master);
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("CLIENT") {
        let mut some = [0; 4096];
        let count = screen.read(&mut some).unwrap();
        seen.extend_from_slice(&some[..count]);
    }
    if signal.is_none() {
        drop(screen);
    } else {
        // Nobody reads what it still writes, and its terminal goes in the same moment.
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        drop(screen);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it outlives its terminal");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(matches!(status.code(), Some(0 | 1)), "{status:?}");
}
