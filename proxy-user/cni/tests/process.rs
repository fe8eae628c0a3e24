//! The plugin as a runtime starts it, beside an agent that a test plays.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use proxy_cni::wire::{self, Answer, Request};
use serde_json::{Value, json};
use tempfile::TempDir;

const RESULT: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0"}], "ips":[],"dns":{}}"#;

/// A directory with the agent's socket in it, or with none.
struct Node(TempDir);

impl Node {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("cni.sock")
    }

    /// An agent for one connection.
    fn agent(&self, serve: impl FnOnce(UnixStream) + Send + 'static) -> JoinHandle<()> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        thread::spawn(move || serve(listener.accept().unwrap().0))
    }

    fn answering(&self, answer: Answer) -> JoinHandle<Request> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let request = serde_json::from_reader(&mut stream).unwrap();
            stream.write_all(&serde_json::to_vec(&answer).unwrap()).unwrap();
            request
        })
    }

    /// With more time than a busy machine needs.
    fn add(&self, policy: &str) -> Output {
        self.add_within(60, policy)
    }

    fn add_within(&self, seconds: u64, policy: &str) -> Output {
        call("ADD", &self.stdin(seconds, policy, WAITS))
    }

    fn stdin(&self, seconds: u64, policy: &str, status: &str) -> String {
        let annotations =
            json!({ "io.kubernetes.cri.pod-annotations": { "sidecar.istio.io/status": status } });
        let socket = Value::from(self.socket().to_str().unwrap());
        format!(
            r#"{{"cniVersion":"1.0.0","name":"net","type":"sidestep-cni","socket":{socket},"timeoutSeconds":{seconds},
                "failurePolicy":"{policy}","prevResult":{RESULT},"runtimeConfig":{annotations}}}"#
        )
    }
}

const WAITS: &str = r#"{"initContainers":["istio-validation"]}"#;

fn call(verb: &str, stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sidestep-cni"))
        .env_clear()
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", "c0")
        .env("CNI_NETNS", "/run/netns/a")
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/opt/cni/bin")
        .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=n;K8S_POD_NAME=p")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn passed(output: &Output) {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), RESULT);
}

#[track_caller]
fn waits(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&error["cniVersion"], &error["code"]), (&json!("1.0.0"), &json!(11)));
    assert!(error["msg"].as_str().unwrap().contains(why), "{error}");
}

#[test]
fn an_agent_that_enrols_lets_the_pod_start() {
    let node = Node::new();
    let agent = node.answering(Answer::Enrolled);
    passed(&node.add("closed"));
    let request = agent.join().unwrap();
    assert_eq!((request.command, request.container_id.as_str()), (wire::Command::Add, "c0"));
    assert_eq!(request.annotations.unwrap()["sidecar.istio.io/status"], WAITS);
}

#[test]
fn an_agent_that_refuses_does_not() {
    let node = Node::new();
    let agent = node.answering(Answer::Failed { message: "no such cgroup".to_owned() });
    waits(&node.add("open"), "no such cgroup");
    agent.join().unwrap();
}

#[test]
fn an_agent_that_answers_before_it_has_read_all_is_heard() {
    let node = Node::new();
    let agent = node.agent(|mut stream| stream.write_all(br#"{"done":"enrolled"}"#).unwrap());
    passed(&node.add("closed"));
    agent.join().unwrap();
}

/// Every way in which an agent can be missing, under both policies.
#[test]
fn an_agent_that_is_not_there_is_for_the_policy() {
    type Serve = fn(UnixStream);
    let ways: [(&str, Option<Serve>); 4] = [
        ("there is no such socket", None),
        ("without an answer", Some(|mut stream| drop(stream.read_to_end(&mut Vec::new())))),
        (
            "its answer",
            Some(|mut stream| {
                stream.read_to_end(&mut Vec::new()).unwrap();
                stream.write_all(b"{\"done\":").unwrap();
            }),
        ),
        // It has accepted, and the plugin goes first.
        ("no answer within 1 s", Some(|mut stream| drop(stream.read_to_end(&mut Vec::new())))),
    ];
    for (index, (why, serve)) in ways.into_iter().enumerate() {
        for policy in ["closed", "open"] {
            let node = Node::new();
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let is_slow = index == 3;
            let agent = serve.map(|serve| {
                node.agent(move |stream| {
                    let kept = is_slow.then(|| stream.try_clone().unwrap());
                    serve(stream);
                    if is_slow {
                        let _ = ended.recv();
                    }
                    drop(kept);
                })
            });
            let output = node.add_within(if is_slow { 1 } else { 60 }, policy);
            drop(end);
            if policy == "open" {
                passed(&output);
                assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{output:?}");
            } else {
                waits(&output, why);
            }
            if let Some(agent) = agent {
                agent.join().unwrap();
            }
        }
    }
}

#[test]
fn a_socket_that_nobody_listens_at_any_more() {
    let node = Node::new();
    drop(UnixListener::bind(node.socket()).unwrap());
    waits(&node.add("closed"), "nobody listens there");
}

/// It does not accept, and its queue is full: connect(2) itself waits.
#[test]
fn an_agent_that_does_not_even_accept_ends_with_the_deadline() {
    let node = Node::new();
    let _listener = full(&node.socket());
    let begun = Instant::now();
    waits(&node.add_within(1, "closed"), "no answer within 1 s");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

/// A listener whose queue nobody else gets into.
fn full(socket: &Path) -> (UnixListener, Vec<UnixStream>) {
    let listener = UnixListener::bind(socket).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let socket = socket.to_owned();
    // The one that does not get in stays behind in its thread.
    thread::spawn(move || {
        while let Ok(stream) = UnixStream::connect(&socket) {
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    let mut queued = Vec::new();
    while let Ok(stream) = receiver.recv_timeout(Duration::from_millis(500)) {
        queued.push(stream);
    }
    (listener, queued)
}

#[test]
fn the_other_verbs_need_no_agent() {
    let node = Node::new();
    let stdin = node.stdin(60, "closed", WAITS);
    for verb in ["DEL", "CHECK", "GC", "STATUS"] {
        let output = call(verb, &stdin);
        assert!(output.status.success() && output.stdout.is_empty(), "{verb}: {output:?}");
    }
    let version = call("VERSION", "");
    assert!(version.status.success(), "{version:?}");
    let said: Value = serde_json::from_slice(&version.stdout).unwrap();
    assert_eq!(said["supportedVersions"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
}

#[test]
fn a_pod_without_sidecar_starts_without_agent() {
    let node = Node::new();
    passed(&call("ADD", &node.stdin(60, "closed", r#"{"initContainers":null}"#)));
}

/// A runtime that says more than it may hears so, and is not kept waiting.
#[test]
fn more_than_there_may_be_on_standard_input() {
    let node = Node::new();
    let mut stdin = node.stdin(60, "open", WAITS);
    stdin.push_str(&" ".repeat(wire::LONGEST + 1 - stdin.len()));
    let output = call("ADD", &stdin);
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["code"], 6, "{error}");
}
