use std::{cell::RefCell, ffi::OsString, fs};

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{entry::TYPE, wire};

mod fuzz;

const WAITS: &str = r#"{"initContainers":["istio-validation","istio-proxy"]}"#;

/// A runtime that asks, and what it has heard.
struct Runtime {
    variables: Vec<(&'static str, String)>,
    stdin: Value,
    agent: Result<Answer, Silence>,
    asked: RefCell<Vec<(Request, Duration)>>,
}

impl Runtime {
    fn asks(verb: &str) -> Self {
        let args = "K8S_POD_NAMESPACE=n;K8S_POD_NAME=p;K8S_POD_UID=u";
        let variables = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c0"),
            ("CNI_NETNS", "/run/netns/a"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", args),
        ];
        let stdin = json!({
            "cniVersion": "1.0.0", "name": "net", "type": TYPE,
            "prevResult": { "cniVersion": "1.0.0", "ips": [] },
        });
        Self {
            variables: variables.map(|(name, value)| (name, value.to_owned())).into(),
            stdin,
            agent: Ok(Answer::Enrolled),
            asked: RefCell::default(),
        }
    }

    fn key(mut self, key: &str, value: Value) -> Self {
        self.stdin[key] = value;
        self
    }

    fn annotated(self, annotations: Value) -> Self {
        self.key("runtimeConfig", json!({ "io.kubernetes.cri.pod-annotations": annotations }))
    }

    fn meshed(self) -> Self {
        self.annotated(json!({ "sidecar.istio.io/status": WAITS }))
    }

    fn agent(mut self, agent: Result<Answer, Silence>) -> Self {
        self.agent = agent;
        self
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(key, _)| *key != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    fn hears(&self) -> Outcome {
        self.hears_of(self.stdin.to_string().as_bytes())
    }

    fn hears_of(&self, mut stdin: &[u8]) -> Outcome {
        let environment = |name: &str| {
            let found = self.variables.iter().find(|(key, _)| *key == name)?;
            Some(OsString::from(&found.1))
        };
        let ask = |_: &Path, request: &Request, deadline| {
            self.asked.borrow_mut().push((request.clone(), deadline));
            self.agent.clone()
        };
        run(&environment, &mut stdin, &ask)
    }

    fn passes(&self) -> Outcome {
        let outcome = self.hears();
        assert!(!outcome.failed, "{outcome:?}");
        assert_eq!(outcome.stdout, self.stdin["prevResult"].to_string());
        outcome
    }

    fn fails(&self) -> Value {
        let outcome = self.hears();
        assert!(outcome.failed, "{outcome:?}");
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    fn times_asked(&self) -> usize {
        self.asked.borrow().len()
    }
}

#[rstest]
#[case("0.3.0")]
#[case("0.3.1")]
#[case("0.4.0")]
#[case("1.0.0")]
#[case("1.1.0")]
fn add_gives_back_what_was_there(#[case] version: &str) {
    let runtime = Runtime::asks("ADD").meshed().key("cniVersion", json!(version));
    assert_eq!(runtime.passes().stderr, "");
    assert_eq!(runtime.times_asked(), 1);
}

#[rstest]
#[case("0.3.1")]
#[case("1.1.0")]
fn an_error_is_of_the_version_that_was_asked_in(#[case] version: &str) {
    let silent = Runtime::asks("ADD").meshed().agent(Err(Silence::NotThere));
    assert_eq!(silent.key("cniVersion", json!(version)).fails()["cniVersion"], version);
}

#[test]
fn the_agent_hears_all_that_is_told() {
    let runtime = Runtime::asks("ADD").key(
        "runtimeConfig",
        json!({
            "io.kubernetes.cri.pod-annotations": { "sidecar.istio.io/status": WAITS },
            "cgroupPath": "/kubepods/podu",
            "dns": { "Servers": ["10.96.0.10"] },
        }),
    );
    runtime.passes();
    let asked = runtime.asked.borrow();
    let (request, deadline) = &asked[0];
    let expected = Request {
        command: Command::Add,
        container_id: "c0".into(),
        netns: Some("/run/netns/a".into()),
        interface: "eth0".into(),
        pod: Some(wire::Pod { namespace: "n".into(), name: "p".into(), uid: Some("u".into()) }),
        annotations: Some([("sidecar.istio.io/status".to_owned(), WAITS.to_owned())].into()),
        cgroup: Some("/kubepods/podu".into()),
        dns_servers: Some(vec!["10.96.0.10".into()]),
    };
    assert_eq!((request, *deadline), (&expected, Duration::from_secs(10)));
}

#[rstest]
#[case::without_annotations(json!(null))]
#[case::without_sidecar(json!({ "a": "b" }))]
#[case::a_gateway(json!({ "sidecar.istio.io/status": r#"{"initContainers":null}"# }))]
fn a_pod_without_a_sidecar_that_waits_asks_nobody(#[case] annotations: Value) {
    let runtime = Runtime::asks("ADD").annotated(annotations).agent(Err(Silence::NotThere));
    assert_eq!(runtime.passes().stderr, "");
    assert_eq!(runtime.times_asked(), 0);
}

#[rstest]
#[case(Silence::NotThere, "there is no such socket")]
#[case(Silence::Refused, "nobody listens there")]
#[case(Silence::TooLate(Duration::from_secs(3)), "no answer within 3 s")]
#[case(Silence::Broken("closed".into()), "closed")]
fn a_sidecar_pod_without_agent_is_for_the_policy(#[case] silence: Silence, #[case] said: &str) {
    let runtime = Runtime::asks("ADD").meshed().agent(Err(silence));
    let error = runtime.fails();
    assert_eq!(error["code"], 11);
    let msg = error["msg"].as_str().unwrap();
    assert!(msg.starts_with("pod n/p has a sidecar") && msg.contains(said), "{msg}");
    assert!(msg.contains("/run/sidestep/cni.sock"), "{msg}");
    assert!(error["details"].as_str().unwrap().contains("failurePolicy"), "{error}");

    let noted = runtime.key("failurePolicy", json!("open")).passes().stderr;
    assert!(noted.starts_with("sidestep-cni: pod n/p starts") && noted.contains(said), "{noted}");
}

#[rstest]
#[case("closed")]
#[case("open")]
fn what_the_agent_refuses_does_not_start(#[case] policy: &str) {
    let refused = Answer::Failed { message: "it is \u{1b}[2Jthe host's".into() };
    let runtime = Runtime::asks("ADD").meshed().agent(Ok(refused)).key("failurePolicy", json!(policy));
    let error = runtime.fails();
    assert_eq!(error["code"], 11);
    assert_eq!(error["msg"], "pod n/p cannot be enrolled: it is \\u{1b}[2Jthe host's");
}

#[rstest]
#[case::no_agent(Err(Silence::NotThere), "there is no such socket")]
#[case::refused(Ok(Answer::Failed { message: "why".into() }), "why")]
fn where_annotations_are_not_told_every_pod_starts(
    #[case] agent: Result<Answer, Silence>,
    #[case] said: &str,
) {
    let runtime = Runtime::asks("ADD").agent(agent);
    let noted = runtime.passes().stderr;
    assert!(noted.contains(said) && noted.contains("io.kubernetes.cri.pod-annotations"), "{noted}");
    let asked = runtime.asked.borrow();
    assert_eq!(asked[0].0.annotations, None);
    assert_eq!(asked[0].1, SHORT);
}

#[test]
fn an_agent_that_leaves_a_pod_alone_lets_it_start() {
    let left = Answer::LeftAlone { reason: "not selected".into() };
    assert_eq!(Runtime::asks("ADD").meshed().agent(Ok(left)).passes().stderr, "");
}

#[test]
fn the_wait_is_the_entrys() {
    let runtime = Runtime::asks("ADD").meshed().key("timeoutSeconds", json!(3));
    runtime.passes();
    assert_eq!(runtime.asked.borrow()[0].1, Duration::from_secs(3));
}

#[rstest]
#[case::unknown_verb(Runtime::asks("ADD").set("CNI_COMMAND", "REMOVE"), 4, "CNI_COMMAND is \"REMOVE\"")]
#[case::no_verb(Runtime::asks(""), 4, "is a CNI plugin")]
#[case::no_container(Runtime::asks("ADD").set("CNI_CONTAINERID", ""), 4, "CNI_CONTAINERID")]
#[case::old(Runtime::asks("ADD").key("cniVersion", json!("0.2.0")), 1, "knows 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0")]
#[case::new(Runtime::asks("CHECK").key("cniVersion", json!("2.0.0")), 1, "cniVersion is \"2.0.0\"")]
#[case::first_in_the_list(Runtime::asks("ADD").key("prevResult", json!(null)), 7, "prevResult is missing")]
#[case::wrong_entry(Runtime::asks("ADD").key("timeoutSeconds", json!("soon")), 7, "\"timeoutSeconds\"")]
fn what_is_wrong_is_said_as_the_specification_has_it(
    #[case] runtime: Runtime,
    #[case] code: u32,
    #[case] said: &str,
) {
    let error = runtime.fails();
    assert_eq!(error["code"], code);
    assert!(error["msg"].as_str().unwrap().contains(said), "{error}");
    assert_eq!(runtime.times_asked(), 0);
}

#[rstest]
#[case(Ok(Answer::Released), "")]
#[case(Err(Silence::TooLate(SHORT)), "no answer within 2 s")]
#[case(Ok(Answer::Failed { message: "busy".into() }), "busy")]
fn del_asks_and_never_fails(#[case] agent: Result<Answer, Silence>, #[case] noted: &str) {
    let runtime = Runtime::asks("DEL").agent(agent).set("CNI_NETNS", "");
    let outcome = runtime.hears();
    assert_eq!((outcome.failed, outcome.stdout.as_str()), (false, ""));
    assert!(outcome.stderr.contains(noted), "{outcome:?}");
    let asked = runtime.asked.borrow();
    assert_eq!((asked[0].0.command, &asked[0].0.netns, asked[0].1), (Command::Del, &None, SHORT));
}

#[rstest]
#[case::nothing("")]
#[case::half("{\"cniVersion\":")]
#[case::old("{\"cniVersion\":\"0.1.0\"}")]
#[case::wrong_entry("{\"cniVersion\":\"1.0.0\",\"socket\":1,\"runtimeConfig\":[]}")]
fn del_does_not_mind_what_it_is_told(#[case] stdin: &str) {
    let runtime = Runtime::asks("DEL");
    let outcome = runtime.hears_of(stdin.as_bytes());
    assert_eq!((outcome.failed, outcome.stdout.as_str()), (false, ""));
    assert_eq!(runtime.times_asked(), 1);
}

#[rstest]
#[case("CHECK")]
#[case("GC")]
#[case("STATUS")]
fn the_others_need_nobody_and_say_nothing(#[case] verb: &str) {
    let runtime = Runtime::asks(verb).meshed().agent(Err(Silence::NotThere)).set("CNI_CONTAINERID", "");
    let quiet = Outcome { stdout: String::new(), stderr: String::new(), failed: false };
    assert_eq!(runtime.hears(), quiet);
    assert_eq!(runtime.key("socket", json!(1)).hears(), quiet);
}

#[test]
fn status_may_wait_until_the_agent_was_ready_once() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("cni.sock");
    let runtime = Runtime::asks("STATUS")
        .key("socket", json!(socket))
        .key("statusWaitsForAgent", json!(true))
        .key("cniVersion", json!("1.1.0"));
    let error = runtime.fails();
    assert_eq!(error["code"], 50);
    assert!(error["details"].as_str().unwrap().contains(directory.path().to_str().unwrap()), "{error}");

    fs::write(directory.path().join("ready"), "").unwrap();
    assert!(!runtime.hears().failed);
}

#[rstest]
#[case::as_asked(r#"{"cniVersion":"0.4.0"}"#, "0.4.0")]
#[case::nothing("", "1.1.0")]
#[case::of_another_time(r#"{"cniVersion":"9.0.0"}"#, "1.1.0")]
fn version_lists_what_we_know(#[case] stdin: &str, #[case] version: &str) {
    let runtime = Runtime::asks("VERSION").set("CNI_NETNS", "dummy").set("CNI_CONTAINERID", "dummy");
    let outcome = runtime.hears_of(stdin.as_bytes());
    assert!(!outcome.failed);
    let said: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let supported = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    assert_eq!(said, json!({ "cniVersion": version, "supportedVersions": supported }));
}
