//! `sidestep serve` and clients that mean no good, or take their time: it answers the others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use proxy_plane::netns::Netns;
use rstest::rstest;
use tests::data_plane::DataPlane;
use tests::pin_root::{self, PinRoot};
use tests::pod::Pod;
use tests::process::Process;
use tests::serve::{self, Serve};
use tests::sidestep;

/// `proxy_user::serve` closes a connection on which no whole request comes.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

fn connect(serve: &Serve) -> TcpStream {
    let at = serve.address();
    let netns = Netns::open(&serve.pod().netns()).unwrap();
    let stream = netns.within(|| Ok(TcpStream::connect(at)?)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

#[rstest]
#[case::address("127.0.0.1:15095", 200)]
#[case::address_of_ipv6("[::1]:15095", 200)]
#[case::localhost("localhost:15095", 200)]
#[case::its_own_name("node-1.example.com", 200)]
#[case::somebody_elses("evil.example:15095", 421)]
#[case::looks_like_one("127.0.0.1.evil.example", 421)]
fn it_answers_under_its_own_names(#[case] host: &str, #[case] status: u16) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let serve = Serve::start(&["--host-name", "node-1.example.com"]).unwrap();
    for path in ["/", "/metrics", "/api/v1/node", "/healthz", "/readyz"] {
        let answer = serve.get(path, &[&format!("Host: {host}")]).unwrap();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(status == 200 || !answer.body.contains("workload") && answer.body.contains("--host-name"));
    }
}

/// What is at an address that others get to shows no flow and no process.
#[test]
fn the_second_place_has_metrics_and_readiness_alone() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let mut serve = Serve::start(&["--listen-metrics", "127.0.0.1:0"]).unwrap();
    let out = serve.process().stdout();
    let second = out.lines().find_map(|line| line.strip_prefix("metrics http://")).expect(&out);
    let second = second.parse().unwrap();
    for (path, status) in
        [("/metrics", 200), ("/readyz", 200), ("/healthz", 200), ("/", 404), ("/api/v1/node", 404)]
    {
        let answer = serve.fetch(second, path, &[]).unwrap();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(serve.get(path, &[]).unwrap().status, 200, "{path}: the first one has everything");
    }
    let of_another = serve.fetch(second, "/metrics", &["Host: evil.example"]).unwrap();
    assert_eq!(of_another.status, 421, "{of_another:?}");
}

/// A proxy's form of request names the server in its first line, whatever the header says.
#[test]
fn the_first_line_counts() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let serve = Serve::start(&[]).unwrap();
    let mut stream = connect(&serve);
    stream
        .write_all(
            b"GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
}

#[rstest]
#[case::says_nothing(b"")]
#[case::goes_on_for_ever(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")]
#[case::asks_once(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")]
fn who_does_not_ask_is_closed(#[case] said: &[u8]) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let serve = Serve::start(&[]).unwrap();
    let mut stream = connect(&serve);
    stream.write_all(said).unwrap();
    let began = Instant::now();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let took = began.elapsed();
    assert!(took > REQUEST_WITHIN / 2 && took < REQUEST_WITHIN * 3, "{took:?}");
}

/// 371 of them silenced it.
#[test]
fn many_that_say_nothing_do_not_silence_it() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let serve = Serve::start(&[]).unwrap();
    let mut idle: Vec<TcpStream> = (0..400).map(|_| connect(&serve)).collect();
    let began = Instant::now();
    assert_eq!(serve.get("/readyz", &[]).unwrap().status, 200);
    assert!(began.elapsed() < REQUEST_WITHIN / 2, "it waited for others: {:?}", began.elapsed());
    // The oldest ones had to go.
    assert_eq!(idle[0].read(&mut [0]).unwrap(), 0);
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", pid(&serve))).unwrap().count();
    assert!(descriptors < 200, "{descriptors}");
}

/// The lab starts it through a program that enters the pod, which becomes it.
fn pid(serve: &Serve) -> i32 {
    let procs = std::fs::read_to_string(serve.pod().cgroup().join("cgroup.procs")).unwrap();
    let is_serve = |pid: &&str| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"serve")
    };
    procs.lines().find(is_serve).unwrap().parse().unwrap()
}

#[test]
fn without_its_bpffs_it_is_not_ready() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let root = PinRoot::new().unwrap();
    let path = root.path().display().to_string();
    let serve = Serve::start_with(&[], &[(pin_root::VARIABLE, &path)]).unwrap();
    assert_eq!(serve.get("/readyz", &[]).unwrap().status, 200);
    drop(root);
    for (from, status) in [("/readyz", 503), ("/metrics", 503), ("/healthz", 200)] {
        let answer = serve.get(from, &[]).unwrap();
        assert_eq!(answer.status, status, "{from}: {answer:?}");
        assert!(status == 200 || answer.body.contains(&format!("no bpffs at {path}")), "{from}: {answer:?}");
    }
}

fn listening(flag: &str) -> (Process, String) {
    let pod = Pod::new("listen").unwrap();
    let process = serve::command(&pod, &["--listen", flag]).unwrap().spawn().unwrap();
    process.wait_for("ready").unwrap();
    let out = process.stdout();
    let line = out.lines().find_map(|line| line.strip_prefix("listening ")).unwrap().to_owned();
    (process, line)
}

#[rstest]
#[case::port("15095", "http://127.0.0.1:15095")]
#[case::localhost("localhost:15095", "http://127.0.0.1:15095")]
#[case::address("0.0.0.0:15095", "http://0.0.0.0:15095")]
fn where_it_listens(#[case] flag: &str, #[case] said: &str) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let (process, line) = listening(flag);
    assert_eq!(line, said);
    let body = process.pod().command("curl").args(["-sS", "http://127.0.0.1:15095/healthz"]).run().unwrap();
    assert_eq!(body, "ok\n");
}

#[test]
fn on_a_unix_socket_only_its_owner_connects() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sidestep.sock");
    let flag = format!("unix:{}", path.display());
    // What a killed server left is no hindrance.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (mut process, line) = listening(&flag);
    assert_eq!(line, flag);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(curl(&path, "/healthz"), "ok\n");
    // A name says nothing there: no page of the web gets to it.
    assert!(curl(&path, "/metrics").contains("sidestep_build_info"));

    // Where somebody listens, nothing is taken away.
    let second = sidestep::ended(["serve", "--listen", &flag]).unwrap();
    assert_eq!(second.code, Some(69), "{second:?}");
    assert!(second.stderr.contains("somebody else listens there"), "{second:?}");
    UnixStream::connect(&path).unwrap();
    assert!(process.terminate(Duration::from_secs(20)).unwrap().success());
    assert!(!path.exists());
}

fn curl(socket: &Path, path: &str) -> String {
    let url = format!("http://any-name{path}");
    let output = Command::new("curl").arg("-sS").arg("--unix-socket").arg(socket).arg(url).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[rstest]
#[case::no_port("0.0.0.0", "no port in it")]
#[case::service("localhost:http", "'http' is no port")]
#[case::nobodys_name("no-such-host.invalid:15095", "cannot be resolved")]
#[case::no_directory("unix:/no-such-directory/socket", "a directory that exists")]
fn what_is_no_place_to_listen(#[case] flag: &str, #[case] words: &str) {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let said = sidestep::ended(["serve", "--listen", flag]).unwrap();
    assert!(matches!(said.code, Some(64 | 69)), "{said:?}");
    assert!(said.stderr.starts_with("sidestep: ") && said.stderr.contains(words), "{said:?}");
}
