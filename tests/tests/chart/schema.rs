//! A slip in the values is an error that names the key.

use rstest::rstest;
use serde_json::Value;
use tests::helm::{HUB, chart, documents, helm};

use crate::helm_is_there;

#[rstest]
#[case::a_key_that_there_is_not(
    "excludeNamespace={a}",
    "additional properties 'excludeNamespace' not allowed"
)]
#[case::one_in_a_group(
    "podMonitor.enable=true",
    "at '/podMonitor': additional properties 'enable' not allowed"
)]
#[case::one_of_istio_cni("ambient.enabled=true", "additional properties 'ambient' not allowed")]
#[case::a_word("accelerate=fast", "at '/accelerate'")]
#[case::a_policy("failurePolicy=ignore", "at '/failurePolicy'")]
#[case::a_number_for_a_text("proxyEnv.A=1", "at '/proxyEnv/A'")]
#[case::a_relative_path("cniBinDir=opt/cni/bin", "at '/cniBinDir'")]
#[case::a_socket_in_the_root("runtimeSocket=/containerd.sock", "at '/runtimeSocket'")]
#[case::nobody_is_captured("waitsFor=[]", "at '/waitsFor'")]
#[case::neither_pod_nor_label("select=[\"shop\"]", "at '/select/0'")]
#[case::where_kubelet_cannot_ask("listen=127.0.0.1:15095", "at '/listen'")]
#[case::a_page_at_a_name("page=localhost:15096", "at '/page'")]
#[case::a_capability_with_its_prefix("extraCapabilities=[\"CAP_CHOWN\"]", "at '/extraCapabilities/0'")]
fn a_slip_is_named(#[case] slip: &str, #[case] said: &str) {
    if !helm_is_there() {
        return;
    }
    let how = if slip.contains('[') { "--set-json" } else { "--set" };
    let ended = helm("template", &["--set", HUB, how, slip]).unwrap();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}

/// No image is published: a chart that names somebody else's would start that.
#[test]
fn without_a_registry_it_says_what_to_do() {
    if !helm_is_there() {
        return;
    }
    let ended = helm("template", &[]).unwrap();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("hub: which registry has the image?"), "{}", ended.stderr);
    assert!(chart().join("../../../docs/install.md").is_file(), "the page it names");
}

/// Helm gives these two to a chart that is another one's dependency.
const OF_DEPENDENCIES: [&str; 2] = ["enabled", "global"];

#[test]
fn the_schema_knows_the_values_there_are() {
    if !helm_is_there() {
        return;
    }
    let read = |name: &str| std::fs::read_to_string(chart().join(name)).unwrap();
    let values = documents(&read("values.yaml")).unwrap().remove(0);
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let (mut named, mut given) = (Vec::new(), Vec::new());
    for (key, of) in schema["properties"].as_object().unwrap() {
        if OF_DEPENDENCIES.contains(&key.as_str()) {
            continue;
        }
        assert!(values.get(key).is_some(), "values.yaml does not show {key}");
        // A group of values: the schema names each.
        if let Some(inner) = of["properties"].as_object() {
            assert_eq!(of["additionalProperties"], false, "{key}");
            named.extend(inner.keys().map(|inner| format!("{key}.{inner}")));
            given.extend(values[key].as_object().unwrap().keys().map(|inner| format!("{key}.{inner}")));
        } else {
            named.push(key.clone());
        }
    }
    let groups: Vec<String> = given.iter().map(|path| path.split('.').next().unwrap().to_owned()).collect();
    given.extend(values.as_object().unwrap().keys().filter(|key| !groups.contains(key)).cloned());
    named.sort();
    given.sort();
    assert!(given.len() > 40, "{given:?}");
    assert_eq!(named, given);
}
