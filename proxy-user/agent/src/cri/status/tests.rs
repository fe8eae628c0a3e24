use std::collections::BTreeMap;

use super::*;
use crate::cri::v1::{RuntimeCondition, RuntimeStatus};

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

#[test]
fn containerd_lists_what_it_has_loaded() {
    let setup = NetworkSetup::of(&answer(include_str!("../recorded/containerd-1.6-status.json"), true));
    assert_eq!(setup.plugin_dirs, [PathBuf::from("/opt/cni/bin")]);
    assert_eq!(setup.list_dir, Some("/etc/cni/net.d".into()));
    assert_eq!((setup.load_error.as_ref(), &setup.ready), (None, &Ok(())));
    let plugins = |types: &[&str]| types.iter().map(|&it| it.to_owned()).collect();
    assert_eq!(
        setup.loaded.as_deref().unwrap(),
        [
            Loaded { name: "cni-loopback".to_owned(), plugins: plugins(&["loopback"]) },
            Loaded { name: "crinet".to_owned(), plugins: plugins(&["bridge", "sidestep-cni"]) },
        ]
    );
    assert_eq!(setup.has_loaded("sidestep-cni"), Some(true));
    assert_eq!(setup.has_loaded("sidestep"), Some(false));
}

#[test]
fn a_list_that_could_not_be_loaded() {
    let setup = NetworkSetup::of(&answer(include_str!("../recorded/containerd-2.1-status.json"), false));
    assert!(setup.load_error.unwrap().starts_with("cni config load failed"));
    assert_eq!(setup.ready.unwrap_err(), "NetworkPluginNotReady: cni plugin\\u{a}not initialized");
}

#[test]
fn before_a_network_is_loaded_the_configuration_has_the_directories() {
    let mut answer = answer(include_str!("../recorded/containerd-2.1-status.json"), true);
    answer.info.insert("cniconfig".to_owned(), "{broken".to_owned());
    let setup = NetworkSetup::of(&answer);
    assert_eq!(setup.plugin_dirs, [PathBuf::from("/opt/cni/bin"), "/usr/lib/cni".into()]);
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
