//! What the documents show of sidestep's commands is what these print. `SIDESTEP_UPDATE_DOCS=1` writes what differs.

use std::cell::RefCell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use tests::agent;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::iptables::Backend;
use tests::network::{Addresses, Network};
use tests::pin_root::{PinRoot, VARIABLE};
use tests::requirement::{Requirement, met};
use tests::server::{APP_USER, stand_in};
use tests::shown::{self, Shown};
use tests::sidecar::Sidecar;
use tests::sidestep::binary;
use tests::web_server::WebServer;

/// Wider than the documents: the names here are longer than theirs.
const COLUMNS: u32 = 200;

/// http.server asks the resolver for its own name first.
const SERVER: &str = "import socketserver, sys
server = socketserver.TCPServer((sys.argv[1], int(sys.argv[2])), socketserver.BaseRequestHandler)
print('ready', flush=True)
server.serve_forever()";

/// A document, and where its commands run.
struct Document<'a> {
    path: PathBuf,
    text: String,
    /// Name of the pod in the document.
    pod: &'static str,
    network: &'a Network,
    root: PinRoot,
    scratch: tempfile::TempDir,
    /// Commands that were run.
    done: RefCell<Vec<(Shown, Vec<String>)>>,
}

impl<'a> Document<'a> {
    fn open(name: &str, pod: &'static str, network: &'a Network) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let scratch = tempfile::tempdir().unwrap();
        symlink(binary().unwrap().canonicalize().unwrap(), scratch.path().join("sidestep")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        Self { path, text, pod, network, root: PinRoot::new().unwrap(), scratch, done: RefCell::default() }
    }

    /// The next command that begins like this.
    fn shown(&self, begins: &str) -> Shown {
        let done = self.done.borrow().last().map_or(0, |(shown, _)| shown.at.end);
        let mut all = shown::shown(&self.text).into_iter();
        let next = all.find(|shown| shown.at.start >= done && shown.command.starts_with(begins));
        next.unwrap_or_else(|| panic!("{} shows no {begins}", self.path.display()))
    }

    /// Runs a command that the document does not show.
    fn quietly(&self, command: &str) {
        self.printed(command);
    }

    /// Runs the next command that begins like this.
    fn run(&self, begins: &str) {
        let shown = self.shown(begins);
        let printed = self.printed(&shown.command);
        self.done.borrow_mut().push((shown, printed));
    }

    /// What a command prints on a terminal, in the document's words.
    fn printed(&self, command: &str) -> Vec<String> {
        let real = self
            .names()
            .into_iter()
            .fold(command.to_owned(), |text, (name, real)| text.replace(&name, &real));
        let line = format!("stty cols {COLUMNS}; {real}");
        let path = format!("{}:{}", self.scratch.path().display(), std::env::var("PATH").unwrap());
        let output = Command::new("script")
            .args(["--quiet", "--command", &line, "/dev/null"])
            .current_dir(self.scratch.path())
            .env("PATH", path)
            .env("NO_COLOR", "1")
            .env(VARIABLE, self.root.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let text = self.names().into_iter().fold(text, |text, (name, real)| text.replace(&real, &name));
        // What keeps the pod's namespaces is the lab's.
        let keeper = agent::path().unwrap().display().to_string();
        // It may splice: what is said of that is not said of the pod.
        let lines =
            text.lines().filter(|line| !line.contains(&keeper) && !line.contains("splice(2) is not refused"));
        lines.map(|line| line.trim_end().to_owned()).collect()
    }

    /// Names in the document, and what they are here.
    fn names(&self) -> [(String, String); 3] {
        let pod = &self.network.pod;
        [
            (format!("/run/netns/{}", self.pod), pod.netns().display().to_string()),
            (format!("/sys/fs/cgroup/kubepods/{}", self.pod), pod.cgroup().display().to_string()),
            ("/sys/fs/bpf".to_owned(), self.root.path().display().to_string()),
        ]
    }

    /// Compares, or writes.
    fn finish(self) {
        let done = self.done.into_inner();
        let mut lines: Vec<&str> = self.text.lines().collect();
        let mut differs = Vec::new();
        for (shown, printed) in done.iter().rev() {
            if !shown::is_shown(&shown.output, printed) {
                lines.splice(shown.at.clone(), printed.iter().map(String::as_str));
                differs.push(format!("$ {}\n{}", shown.command, printed.join("\n")));
            }
        }
        if !differs.is_empty() && std::env::var_os("SIDESTEP_UPDATE_DOCS").is_some() {
            fs::write(&self.path, lines.join("\n") + "\n").unwrap();
            return;
        }
        let path = self.path.display();
        let all = shown::shown(&self.text);
        // `serve` stays: its own tests run it.
        let is_to_run = |shown: &&Shown| {
            shown.command.starts_with("sidestep ") && !shown.command.starts_with("sidestep serve")
        };
        let missed = all.iter().filter(is_to_run).filter(|shown| !done.iter().any(|(it, _)| it == *shown));
        let missed: Vec<_> = missed.map(|shown| &shown.command).collect();
        assert!(missed.is_empty(), "{path}: not run: {missed:?}");
        assert!(differs.is_empty(), "{path} shows another output of:\n{}", differs.join("\n"));
    }
}

fn is_ready() -> bool {
    DataPlane::Sidestep.met(&[
        Requirement::Acceleration,
        Requirement::Observation,
        Requirement::Envoy,
        Requirement::Program("script", "bsdutils"),
        Requirement::Program("curl", "curl"),
    ])
}

#[test]
fn demo() {
    if !is_ready() || !met(&[Requirement::Iptables(Backend::Nft)]) {
        return;
    }
    let readme = fs::read_to_string(agent::repository().join("README.md")).unwrap();
    let shown = shown::shown(&readme).into_iter().find(|shown| shown.command == "cargo xtask demo").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_demo")).env("NO_COLOR", "1").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<String> = text.trim_start_matches('\n').lines().map(str::to_owned).collect();
    assert!(output.status.success(), "{text}");
    assert!(shown::is_shown(&shown.output, &printed), "README.md shows another output of the demo:\n{text}");
}

fn network(name: &str, pod4: Ipv4Addr) -> Network {
    let [a, b, c, _] = pod4.octets();
    let outside4 = Ipv4Addr::new(a, b, c, 1);
    Network::with_addresses(name, Addresses { pod4, outside4, ..Addresses::default() }).unwrap()
}

#[test]
fn readme() {
    if !is_ready() {
        return;
    }
    let network = network("docs-readme", Ipv4Addr::new(10, 244, 0, 2));
    // They are there before attach, so that no look for readiness is among the decisions.
    let config = SidecarConfig::new(Forward::Passthrough, &[8080]).http();
    let _sidecar = Sidecar::start(&network.pod, &config).unwrap();
    let _app = WebServer::Nginx.start(&network.pod, &[any(8080)]).unwrap();
    let _service = WebServer::Nginx.start(&network.outside, &[any(80)]).unwrap();
    let document = Document::open("README.md", "reviews", &network);
    document.run("sidestep attach");
    for (pod, at) in [(&network.outside, "10.244.0.2:8080"), (&network.pod, "10.96.0.10")] {
        let curl = pod.command("curl").args(["--silent", "--fail", &format!("http://{at}/")]);
        curl.user(APP_USER.0, APP_USER.1).run().unwrap();
    }
    document.run("sidestep status");
    document.run("sidestep explain --from");
    document.run("sidestep explain --inbound");
    document.run("sidestep rules");
    document.run("sidestep attach");
    document.run("sidestep detach");
    document.run("sidestep status");
    document.finish();
}

#[test]
fn usage() {
    if !is_ready() {
        return;
    }
    let network = network("docs-usage", Ipv4Addr::new(10, 244, 0, 26));
    let document = Document::open("docs/usage.md", "pod-a", &network);
    let sidecar = stand_in(&network.pod).start().unwrap();
    document.run("sidestep attach");
    document.run("sidestep verify");
    let link = document.root.pins().into_iter().find(|pin| pin.ends_with("link_connect4")).unwrap();
    fs::remove_file(link).unwrap();
    document.run("sidestep verify");
    document.quietly("sidestep attach --netns /run/netns/pod-a --cgroup /sys/fs/cgroup/kubepods/pod-a -u 1337 -i '*' -b '*'");
    document.run("sidestep explain --netns");
    document.run("sidestep explain --inbound");
    drop(sidecar);
    let refused = Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap();
    assert!(refused.report().is_none());
    document.run("sidestep flows --verdict refused");
    document.quietly("sidestep detach --netns /run/netns/pod-a");
    let serve = |user: (u32, u32), at: SocketAddr| {
        let (ip, port) = (at.ip().to_string(), at.port().to_string());
        let command = network.pod.command("python3").args(["-c", SERVER, &ip, &port]);
        let server = command.user(user.0, user.1).spawn().unwrap();
        server.wait_for("ready").unwrap();
        server
    };
    let _servers = [
        serve(APP_USER, SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
        serve(APP_USER, network.pod4(9090)),
        serve((1001, 1001), any(9999)),
    ];
    document.run("sidestep audit");
    let annotations = document.shown("cat annotations").output.join("\n");
    fs::write(document.scratch.path().join("annotations"), annotations).unwrap();
    document.run("sidestep attach");
    document.finish();
}

#[test]
fn troubleshooting() {
    if !is_ready() {
        return;
    }
    let network = network("docs-trouble", Ipv4Addr::new(10, 244, 0, 2));
    let document = Document::open("docs/troubleshooting.md", "reviews", &network);
    document.run("sidestep attach");
    document.finish();
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}
