//! Whatever comes in: no panic, and the runtime hears something that it understands.

use proptest::{collection::vec, option, prelude::*, sample::select, strategy::ValueTree as _};

use super::*;

const VERBS: [&str; 8] = ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION", "", "add"];

/// Half of what a runtime says is as it should be: what is behind the first check is reached too.
fn stdin() -> impl Strategy<Value = Vec<u8>> {
    let built = (any_version(), option::of(result()), option::of(runtime_config()), option::of(entry()));
    let built = built.prop_map(|(version, result, config, entry)| {
        let mut stdin = json!({ "cniVersion": version, "name": "net", "type": TYPE });
        let object = stdin.as_object_mut().unwrap();
        object.extend(result.map(|result| ("prevResult".to_owned(), result)));
        object.extend(config.map(|config| ("runtimeConfig".to_owned(), config)));
        object.extend(entry);
        stdin.to_string().into_bytes()
    });
    // Some bytes of it overwritten.
    let spoilt =
        (built, vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)).prop_map(|(mut bytes, spots)| {
            for (index, byte) in spots {
                *index.get_mut(&mut bytes) = byte;
            }
            bytes
        });
    prop_oneof![6 => spoilt, 1 => vec(any::<u8>(), 0..200), 1 => ".{0,80}".prop_map(String::into_bytes)]
}

fn any_version() -> impl Strategy<Value = Value> {
    prop_oneof![6 => select(VERSIONS.to_vec()).prop_map(Value::from), 1 => json_value()]
}

fn result() -> impl Strategy<Value = Value> {
    prop_oneof![3 => Just(json!({ "cniVersion": "1.0.0", "ips": [] })), 1 => json_value()]
}

fn runtime_config() -> impl Strategy<Value = Value> {
    let status = prop_oneof![Just(WAITS.to_owned()), ".{0,40}"];
    let told = status.prop_map(
        |status| json!({ "io.kubernetes.cri.pod-annotations": { "sidecar.istio.io/status": status } }),
    );
    let other = (json_value(), json_value(), json_value()).prop_map(|(annotations, cgroup, dns)| {
        json!({ "io.kubernetes.cri.pod-annotations": annotations, "cgroupPath": cgroup, "dns": dns })
    });
    prop_oneof![3 => told, 1 => other, 1 => json_value()]
}

fn entry() -> impl Strategy<Value = (String, Value)> {
    let keys =
        ["socket", "failurePolicy", "timeoutSeconds", "statusWaitsForAgent", "excludeNamespaces", "waitsFor"];
    let values = prop_oneof![json_value(), Just(json!("open")), Just(json!(7)), Just(json!(["a"]))];
    (select(keys.to_vec()).prop_map(str::to_owned), values)
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((".{0,12}", inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn arguments() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        select(vec!["K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_UID"]).prop_map(str::to_owned),
        "[^=]{0,8}",
    ];
    let pair = (key, "[=]?", ".{0,20}").prop_map(|(key, equals, value)| format!("{key}{equals}{value}"));
    vec(pair, 0..5).prop_map(|pairs| pairs.join(";"))
}

fn answers() -> impl Strategy<Value = Result<Answer, Silence>> {
    prop_oneof![
        Just(Ok(Answer::Enrolled)),
        ".{0,40}".prop_map(|message| Ok(Answer::Failed { message })),
        ".{0,40}".prop_map(|why| Err(Silence::Broken(why))),
    ]
}

/// What a runtime needs to understand, and a terminal not to mind.
fn is_understood(verb: &str, stdin: &[u8], outcome: &Outcome) {
    let obeyed = |character: char| character != '\n' && character.is_control();
    assert!(!outcome.stderr.contains(obeyed), "{outcome:?}");
    if outcome.failed {
        assert_ne!(verb, "DEL");
        let error: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert!(VERSIONS.contains(&error["cniVersion"].as_str().unwrap()), "{error}");
        assert!(error["code"].as_u64().is_some_and(|code| code > 0), "{error}");
        assert!(!error["msg"].as_str().unwrap().is_empty(), "{error}");
        assert!(!outcome.stdout.contains(char::is_control), "{outcome:?}");
    } else {
        match verb {
            "ADD" => {
                let stdin: Value = serde_json::from_slice(stdin).unwrap();
                assert_eq!(serde_json::from_str::<Value>(&outcome.stdout).unwrap(), stdin["prevResult"]);
            }
            "VERSION" => assert!(outcome.stdout.contains("supportedVersions")),
            _ => assert_eq!(outcome.stdout, ""),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_runtime_always_hears_something_it_understands(
        verb in prop_oneof![3 => Just("ADD"), 1 => select(VERBS.to_vec())],
        stdin in stdin(),
        arguments in option::weighted(0.5, arguments()),
        container in prop_oneof![4 => Just("c0".to_owned()), 1 => ".{0,10}"],
        agent in answers(),
    ) {
        let mut runtime = Runtime::asks(verb).agent(agent).set("CNI_CONTAINERID", &container);
        if let Some(arguments) = arguments {
            runtime = runtime.set("CNI_ARGS", &arguments);
        }
        is_understood(verb, &stdin, &runtime.hears_of(&stdin));
    }
}

/// The other test would also pass if nothing ever came through.
#[test]
fn what_is_tried_reaches_the_agent() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let asked = (0..500).filter(|_| {
        let stdin = stdin().new_tree(&mut runner).unwrap().current();
        let runtime = Runtime::asks("ADD");
        runtime.hears_of(&stdin);
        runtime.times_asked() > 0
    });
    assert!(asked.count() > 20);
}
