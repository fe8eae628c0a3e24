//! Programs that start after their pod was attached, as in a cluster: who serves looks at them when they listen or
//! connect, and what they do from then on is redirected to those that are found safe.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;
use std::thread::sleep;
use std::time::Duration;

use tests::accelerated::{Accelerated, streams};
use tests::alone::alone;
use tests::counters::{Acceleration, Paths};
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::pod::Pod;
use tests::process::{Process, path_of};
use tests::requirement::Requirement;
use tests::serve::Serve;
use tests::server::{APP_USER, PROXY_USER};
use tests::sidestep::Sidestep;
use tests::wait::until;

const NEEDS: [Requirement; 3] = [
    Requirement::Acceleration,
    Requirement::Program("redis-server", "redis-server"),
    Requirement::Program("redis-cli", "redis-tools"),
];
/// And a library that splices.
const PERL: [Requirement; 3] = [
    Requirement::Acceleration,
    Requirement::Program("perl", "perl-base"),
    Requirement::Program("rustc", "rustc"),
];
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(20);
/// Two looks, the second after two seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(4);

/// A pod that is attached before anything runs in it.
fn attached(network: &Network) -> Sidestep {
    let flags = Accelerated::new("safe-readers").trusting_nobody().attach_flags();
    Sidestep::attach(&network.pod, &flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}

/// Of a file that nobody has looked at: what is known of a program is known on the whole node.
fn own_copy(pod: &Pod, program: &str) -> PathBuf {
    let copy = pod.scratch().join(program);
    if !copy.exists() {
        std::fs::copy(path_of(program).unwrap(), &copy).unwrap();
    }
    copy
}

fn redis(pod: &Pod) -> Process {
    let dir = pod.scratch().display().to_string();
    let args = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", &dir];
    let command = pod.command(own_copy(pod, "redis-server")).args(args);
    let server = command.user(APP_USER.0, APP_USER.1).spawn().unwrap();
    let ready = |text: &str| text.contains("Ready to accept connections").then_some(());
    assert!(server.output().wait(Duration::from_secs(20), ready).is_some(), "{}", server.stdout());
    server
}

/// Such a pod.
struct Waiting {
    _serve: Option<Serve>,
    _attached: Sidestep,
    network: Network,
    _alone: MutexGuard<'static, ()>,
}

impl Waiting {
    /// `looks`: whether somebody serves meanwhile. None: what it needs is not here.
    fn new(needs: &[Requirement], looks: bool) -> Option<Self> {
        if !DataPlane::Sidestep.met(needs) {
            return None;
        }
        let alone = alone();
        let network = Network::new("later").unwrap();
        let attached = attached(&network);
        let serve = looks.then(|| Serve::start(&[]).unwrap());
        Some(Self { _serve: serve, _attached: attached, network, _alone: alone })
    }
}

/// Redis in it.
struct Later {
    _server: Process,
    waiting: Waiting,
}

impl Later {
    fn new(looks: bool) -> Option<Self> {
        let waiting = Waiting::new(&NEEDS, looks)?;
        let server = redis(&waiting.network.pod);
        Some(Self { _server: server, waiting })
    }

    fn pod(&self) -> &Pod {
        &self.waiting.network.pod
    }
}

/// What has gone past the stack and over it, once a load is through.
fn loaded(pod: &Pod) -> (Paths, Paths) {
    let load = ["-t", "set,get", "-n", "2000", "-c", "4", "-q"];
    let command = pod.command(own_copy(pod, "redis-benchmark")).args(load);
    command.user(APP_USER.0, APP_USER.1).run().unwrap();
    let seen = Acceleration::of_pod(pod).unwrap();
    (seen.of("redirected"), seen.of("untrusted_reader"))
}

#[test]
fn a_server_and_its_clients_are_redirected_to() {
    let Some(later) = Later::new(true) else { return };
    let pod = later.pod();
    until("questions and answers are redirected", LOOKED_AT_WITHIN, || {
        let before = Acceleration::of_pod(pod).unwrap().of("redirected").messages;
        loaded(pod).0.messages - before >= 2 * 2000
    });
    let seen = Acceleration::of_pod(pod).unwrap();
    assert!(!seen.hazardous.iter().any(|program| program.ends_with("redis-server")), "{seen:?}");
}

#[test]
fn where_nobody_looks_they_stay_on_the_stack() {
    let Some(later) = Later::new(false) else { return };
    let pod = later.pod();
    loaded(pod);
    let (redirected, stays) = loaded(pod);
    assert!(redirected.messages == 0 && stays.sockets > 0, "{redirected:?} {stays:?}");
}

/// The processes of pods are not visible to an agent in a container without the node's.
#[test]
fn who_does_not_see_them_says_so() {
    let Some(later) = Later::new(false) else { return };
    let pod = later.pod();
    let pod_of_serve = Pod::new("serve").unwrap();
    let binary = tests::sidestep::binary().unwrap();
    let apart = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let serve = pod_of_serve.command("unshare").args(apart).arg(binary);
    let serve = serve.args(["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap();
    serve.wait_for("ready").unwrap();
    loaded(pod);
    let said = |text: &str| text.contains("the processes of pods are not visible here").then_some(());
    assert!(serve.errors().wait(LOOKED_AT_WITHIN, said).is_some(), "{}", serve.stderr());
    let (redirected, stays) = loaded(pod);
    assert!(redirected.messages == 0 && stays.sockets > 0, "{redirected:?} {stays:?}");
}

/// As Go programs listen: its mark is at a socket of the kernel's, which no process has, and is of a time when nobody knew the
/// program.
#[test]
fn what_an_mptcp_listener_accepts_is_judged_when_it_accepts() {
    let needs = [&PERL[..], &[Requirement::Mptcp]].concat();
    let Some(waiting) = Waiting::new(&needs, true) else { return };
    let pod = &waiting.network.pod;
    let library = splicing_library(pod.scratch());
    let server = pod.command(own_copy(pod, "perl")).args(["-e", ECHOING, "7000", &library]);
    let server = server.user(APP_USER.0, APP_USER.1).spawn().unwrap();
    server.wait_for("ready").unwrap();
    until("what it sends is let in", LOOKED_AT_WITHIN, || {
        // It is told its own bytes, and says so.
        let asking = streams::Client::to(([127, 0, 0, 1], 7000).into(), 1, 1000).user(PROXY_USER);
        assert!(asking.run(pod).unwrap().bytes >= 2000);
        Acceleration::of_pod(pod).unwrap().of("enrolled_to_send").sockets >= 1
    });
}

/// Listens with MPTCP (262), has a library that splices, and sends back what comes, without blocking.
const ECHOING: &str = "use Socket; use Fcntl; socket(S, PF_INET, SOCK_STREAM, 262) or die $!; \
    bind(S, sockaddr_in($ARGV[0], INADDR_LOOPBACK)) or die $!; listen(S, 5); \
    require DynaLoader; DynaLoader::dl_load_file($ARGV[1], 0) or die; $| = 1; print \"ready\\n\"; \
    while (accept(C, S)) { fcntl(C, F_SETFL, O_NONBLOCK); while (1) { \
    my $r = ''; vec($r, fileno(C), 1) = 1; select($r, undef, undef, undef); \
    last unless sysread(C, my $b, 65536); syswrite(C, $b) } close(C) }";

/// What a program may do is what one process of it has shown, whatever the next one shows.
#[test]
fn a_library_that_comes_later_lowers_and_nothing_raises() {
    let Some(waiting) = Waiting::new(&PERL, true) else { return };
    let pod = &waiting.network.pod;
    let start = |port: &str, library: &str| {
        let process =
            pod.command(own_copy(pod, "perl")).args(["-e", LISTENING, port, library]).spawn().unwrap();
        process.wait_for("ready").unwrap();
        process
    };
    let names_perl = || Acceleration::of_pod(pod).unwrap().hazardous.iter().any(|it| it.ends_with("perl"));

    let plain = start("7001", "");
    sleep(SEEN_WITHIN);
    assert!(!names_perl());
    let loading = start("7002", &splicing_library(pod.scratch()));
    until("perl is named", LOOKED_AT_WITHIN, names_perl);
    drop((plain, loading));
    let _again = start("7003", "");
    sleep(SEEN_WITHIN);
    assert!(names_perl());
}

/// Listens, says so, and loads a library a second later.
const LISTENING: &str = "use Socket; socket(S, PF_INET, SOCK_STREAM, 0); \
    bind(S, sockaddr_in($ARGV[0], INADDR_LOOPBACK)); listen(S, 5); \
    $| = 1; print \"ready\\n\"; sleep 1; \
    if ($ARGV[1]) { require DynaLoader; DynaLoader::dl_load_file($ARGV[1], 0) } sleep 60";

/// A library that imports splice(2).
fn splicing_library(dir: &Path) -> String {
    const SOURCE: &str =
        r#"extern "C" { fn splice(); } #[no_mangle] pub unsafe extern "C" fn uses() { splice() }"#;
    let (source, library) = (dir.join("splicing.rs"), dir.join("splicing.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let made =
        Command::new("rustc").args(["--crate-type", "cdylib", "-o"]).args([&library, &source]).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    library.display().to_string()
}
