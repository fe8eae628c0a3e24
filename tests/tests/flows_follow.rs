//! Following: every follower sees everything, one that falls behind is told exactly how much it missed, and the end of
//! what is followed is said.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxy_common::flow::{JOURNAL, KEPT};
use serde_json::Value;
use tests::crowd::Crowd;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::requirement::Requirement;
use tests::server::Server;
use tests::sidestep::ended_command;

const PATIENCE: Duration = Duration::from_secs(60);
/// As many as one address and port gives, more than the journal holds.
const MANY: usize = 20_000;

/// `sidestep flows -f`, its lines as they come.
struct Follower {
    child: Child,
    lines: Receiver<Value>,
}

impl Follower {
    fn start(root: &PinRoot) -> Self {
        // Not the neighbour's, which had closed before.
        let ports = [8080, 8081, 8090].map(|port| format!("--port={port}"));
        let mut command = root.command(&["flows", "-f", "--output", "json"]).unwrap();
        command.args(ports);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = send.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, lines }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Closed flows and lost records, until both together are `count`.
    fn count_to(&self, count: usize) -> (usize, usize) {
        let (mut closed, mut lost) = (0, 0);
        while closed + lost < count {
            let line =
                self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{closed} and {lost} lost"));
            match line["lost"].as_u64() {
                Some(more) => lost += more as usize,
                None if line["state"] == "closed" => closed += 1,
                None => {}
            }
        }
        (closed, lost)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn succeed(command: std::process::Command) -> String {
    let ended = ended_command(command).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

/// Clients elsewhere, so that each connection is one record. What a neighbour had closed before is still told.
#[test]
fn twenty_thousand_are_all_counted() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("flow-many").unwrap();
    let root = PinRoot::new().unwrap();
    // Nothing is captured.
    let flags = ["attach", "-u", "1337", "-i", "", "-b", ""];
    let quiet = Network::new("flow-quiet").unwrap();
    for pod in [&network.pod, &quiet.pod] {
        succeed(root.for_pod(&flags, pod).unwrap());
    }
    let calls = KEPT as usize + 1;
    let neighbour = Server::on(&quiet.pod).listen(quiet.pod4(8070)).start().unwrap();
    for _ in 0..calls {
        tests::client::Connect::to(quiet.pod4(8070)).from(&quiet.outside).unwrap();
    }
    drop(neighbour);
    let told_of_the_neighbour = || {
        let told = succeed(root.command(&["flows", "--output", "json", "--port", "8070"]).unwrap());
        told.lines().count()
    };
    assert_eq!(told_of_the_neighbour(), calls);
    let server = Server::on(&network.pod)
        .listen(network.pod4(8080))
        .listen(network.pod4(8081))
        .hold()
        .processes(4)
        .start()
        .unwrap();
    let followers = [Follower::start(&root), Follower::start(&root)];
    let slow = Follower::start(&root);
    // One connection shows that they follow.
    let marker = Server::on(&network.pod).listen(network.pod4(8090)).start().unwrap();
    tests::client::Connect::to(network.pod4(8090)).from(&network.outside).unwrap();
    drop(marker);
    for follower in followers.iter().chain([&slow]) {
        assert_eq!(follower.count_to(1), (1, 0));
    }
    let open = |port| {
        let crowd = Crowd::to("10.10.0.25/31", port, (MANY / 2) as u32);
        let open = crowd.open(&network.outside).unwrap();
        assert_eq!(open.counts.connected as usize, MANY / 2, "{:?}", open.counts);
        open
    };
    let crowds = [open(8080), open(8081)];
    let live = succeed(root.command(&["flows", "--output", "json"]).unwrap());
    assert_eq!(live.lines().filter(|line| line.contains("\"state\":\"live\"")).count(), MANY);
    slow.signal(Signal::SIGSTOP);
    drop(crowds);
    // It holds its ends until it ends.
    drop(server);
    for follower in &followers {
        let (closed, lost) = follower.count_to(MANY);
        assert_eq!(closed + lost, MANY);
    }
    slow.signal(Signal::SIGCONT);
    let (closed, lost) = slow.count_to(MANY);
    assert_eq!(
        (closed, lost),
        (JOURNAL as usize, MANY - JOURNAL as usize),
        "what is gone is counted exactly"
    );
    assert_eq!(told_of_the_neighbour(), KEPT as usize, "its last ones");
    for pod in [&network.pod, &quiet.pod] {
        succeed(root.for_pod(&["detach"], pod).unwrap());
    }
    assert!(root.pins().is_empty(), "{:?}", root.pins());
}

#[test]
fn the_end_of_a_workload_is_said() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("flow-end").unwrap();
    let root = PinRoot::new().unwrap();
    succeed(root.for_pod(&["attach", "-u", "1337", "-i", "", "-b", ""], &network.pod).unwrap());
    let mut follower = Follower::start(&root);
    // One flow shows that it follows.
    let server = Server::on(&network.pod).listen(network.pod4(8080)).start().unwrap();
    tests::client::Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    assert_eq!(follower.count_to(1), (1, 0));
    drop(server);
    succeed(root.for_pod(&["detach"], &network.pod).unwrap());
    let status = follower.child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut follower.child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("was detached") && said.contains("sidestep status"), "{said}");
}
