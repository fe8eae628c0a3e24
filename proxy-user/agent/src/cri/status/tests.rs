use std::collections::BTreeMap;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::cri::{
    strange,
    v1::{RuntimeCondition, RuntimeStatus},
};

/// A recorded file has the answer's `info`, its texts as the JSON they are.
fn answer(recorded: &str, is_ready: bool) -> StatusResponse {
    let parts: BTreeMap<String, serde_json::Value> = serde_json::from_str(recorded).unwrap();
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        value => value.to_string(),
    };
    let condition = |name: &str, status| RuntimeCondition {
        r#type: name.to_owned(),
        status,
        reason: if status { String::new() } else { "NetworkPluginNotReady".to_owned() },
        message: if status { String::new() } else { "cni plugin\nnot initialized".to_owned() },
    };
    let conditions = vec![condition("RuntimeReady", true), condition("NetworkReady", is_ready)];
    StatusResponse {
        status: Some(RuntimeStatus { conditions }),
        info: parts.into_iter().map(|(name, value)| (name, text(value))).collect(),
    }
}

#[rstest]
#[case::containerd_16(include_str!("../recorded/containerd-1.6-status.json"))]
#[case::containerd_21(include_str!("../recorded/containerd-2.1-status.json"))]
fn containerd_lists_what_it_has_loaded(#[case] recorded: &str) {
    let setup = NetworkSetup::of(&answer(recorded, true));
    assert_eq!(setup.plugin_dirs, [PathBuf::from("/opt/cni/bin")]);
    assert_eq!(setup.list_dir, Some("/etc/cni/net.d".into()));
    assert_eq!((setup.load_error.as_ref(), &setup.ready), (None, &Ok(())));
    let network =
        |name: &str, plugin: &str| Loaded { name: name.to_owned(), plugins: vec![plugin.to_owned()] };
    assert_eq!(setup.loaded, Some(vec![network("cni-loopback", "loopback"), network("crinet", "bridge")]));
    assert_eq!(setup.has_loaded("bridge"), Some(true));
    assert_eq!(setup.has_loaded("sidestep-cni"), Some(false));
}

/// containerd has read half of it, and knows no network any more.
#[test]
fn a_list_that_could_not_be_loaded() {
    let half = include_str!("../recorded/containerd-2.1-half-a-list-status.json");
    let setup = NetworkSetup::of(&answer(half, false));
    assert_eq!(setup.has_loaded("bridge"), Some(false));
    assert!(setup.load_error.unwrap().contains("10-crinet.conflist: error parsing configuration list"));
    assert_eq!(setup.ready.unwrap_err(), "NetworkPluginNotReady: cni plugin\\u{a}not initialized");
}

#[rstest]
#[case::containerd_16(include_str!("../recorded/containerd-1.6-status.json"))]
#[case::containerd_21(include_str!("../recorded/containerd-2.1-status.json"))]
fn without_its_networks_the_configuration_has_the_directories(#[case] recorded: &str) {
    let mut answer = answer(recorded, true);
    answer.info.insert("cniconfig".to_owned(), "{broken".to_owned());
    let setup = NetworkSetup::of(&answer);
    assert_eq!(setup.plugin_dirs, [PathBuf::from("/opt/cni/bin")]);
    assert_eq!(setup.list_dir, Some("/etc/cni/net.d".into()));
    assert_eq!(setup.has_loaded("bridge"), None);
}

#[test]
fn crio_says_only_whether_a_network_is_ready() {
    let setup = NetworkSetup::of(&answer(include_str!("../recorded/crio-1.37-status.json"), true));
    let nothing =
        NetworkSetup { plugin_dirs: vec![], list_dir: None, loaded: None, load_error: None, ready: Ok(()) };
    assert_eq!(setup, nothing);
    assert_eq!(setup.has_loaded("sidestep-cni"), None);
}

#[test]
fn relative_directories_are_nobodys() {
    let mut answer = StatusResponse::default();
    answer.info.insert("config".to_owned(), r#"{"cni":{"binDir":"../x","confDir":"y"}}"#.to_owned());
    let setup = NetworkSetup::of(&answer);
    assert_eq!((setup.plugin_dirs, setup.list_dir), (vec![], None));
    assert!(setup.ready.unwrap_err().contains("NetworkReady"));
}

const CNI: &str = r#"{"PluginDirs":["/opt/cni/bin"],"PluginConfDir":"/etc/cni/net.d","Networks":[{"Config":
    {"Name":"n","Plugins":[{"Network":{"type":"bridge"}},{"Network":{"type":"sidestep-cni"}}]},"IFName":"eth0"}]}"#;
const CONFIG: &str = r#"{"cni":{"binDir":"","binDirs":["/opt/cni/bin"],"confDir":"/etc/cni/net.d"}}"#;

proptest! {
    #[test]
    fn no_text_is_too_strange(cni in strange::text(&[CNI]), config in strange::text(&[CONFIG]), last in ".{0,400}") {
        let info = [("cniconfig", cni), ("config", config), ("lastCNILoadStatus", last)];
        let info = info.map(|(name, text)| (name.to_owned(), text)).into();
        let setup = NetworkSetup::of(&StatusResponse { info, status: None });
        prop_assert!(setup.plugin_dirs.iter().chain(&setup.list_dir).all(|dir| dir.is_absolute()));
        prop_assert!(setup.load_error.is_none_or(|error| !error.contains(char::is_control)));
    }
}
