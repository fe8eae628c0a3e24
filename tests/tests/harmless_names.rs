//! A process that names itself with escape sequences and line breaks moves nobody's cursor.

use std::net::SocketAddr;
use std::process::Command;

use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::process::Process;
use tests::requirement::Requirement;
use tests::server::{PROXY_USER, Server};
use tests::sidestep::{self, DEFAULT_FLAGS, Sidestep, ended};

/// Clears the screen, and begins a line.
const NAME: &str = "e\x1b[2Jvil\nx";
/// As it is shown.
const SHOWN: &str = "e\\u{1b}[2Jvil\\u{a}x";

fn assert_harmless(text: &str) {
    // Tabs are between the columns.
    let obeyed = |character: &char| character.is_control() && !matches!(character, '\n' | '\t');
    assert_eq!(text.chars().find(obeyed), None, "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with('x')), "a line of its own: {text}");
}

/// A sidecar with that name, which forwards to loopback.
fn sidecar(network: &Network) -> Process {
    let path = network.pod.scratch().join(NAME);
    // By a process of its own: one that another test forks meanwhile would hold ours open, and keep it from being run.
    assert!(Command::new("cp").arg(sidestep::binary().unwrap()).arg(&path).status().unwrap().success());
    let command = network.pod.command(&path).user(PROXY_USER.0, PROXY_USER.1);
    let args = ["relay", "--mode", "lo", "--outbound", "0.0.0.0:15001", "--inbound", "0.0.0.0:15006"];
    let process = command.args(args).args(["--declared-port", "8080"]).spawn().unwrap();
    process.wait_for("ready").unwrap();
    process
}

#[test]
fn tables_show_them_as_text() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("evil").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = sidecar(&network);
    let app: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let _app = Server::on(&network.pod).listen(app).start().unwrap();
    Connect::to(network.pod4(8080)).from(&network.outside).unwrap().report().unwrap();

    let netns = network.pod.netns().display().to_string();
    let name = network.pod.workload().unwrap();
    let audit = ended(["audit", "--netns", &netns]).unwrap();
    assert_harmless(&audit.stdout);
    assert!(audit.stdout.contains("e\\u{1b}["), "{audit:?}");
    let flows = ended(["flows", "--workload", &name]).unwrap();
    assert_harmless(&flows.stdout);
    assert!(flows.stdout.contains(SHOWN), "{flows:?}");
    // Programs get what it is.
    let json = ended(["flows", "--workload", &name, "--output", "json"]).unwrap().stdout;
    assert_harmless(&json);
    let comm = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["client_process"]["comm"].clone()
    };
    assert!(json.lines().any(|line| comm(line) == NAME), "{json}");
}

/// What the caller writes is shown in messages; of the command line's own, clap has taken the sequences out.
#[test]
fn messages_show_them_as_text() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    for (args, shown) in [
        (&["attach", "--netns", NAME][..], true),
        (&["detach", "--workload", NAME], true),
        (&["rules", "-b", NAME], true),
        (&[NAME], false),
    ] {
        let said = ended(args).unwrap();
        assert_ne!(said.code, Some(0), "{said:?}");
        assert!(!said.stderr.contains('\x1b'), "{said:?}");
        assert!(!shown || said.stderr.contains("\\u{1b}[2J") && said.stderr.lines().count() == 1, "{said:?}");
    }
}
