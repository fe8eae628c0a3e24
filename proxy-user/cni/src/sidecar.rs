//! Whether a pod may start without the agent.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::entry::Entry;

/// The injector writes what it has put into a pod into this annotation.
pub const STATUS: &str = "sidecar.istio.io/status";

/// Somebody does not want this pod enrolled: "false".
pub const INJECT: &str = "sidestep.io/inject";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// It has no sidecar that waits for us, and starts whether there is an agent or not: the agent's own pod
    /// is such a one.
    None,
    /// Without the agent it would start with its traffic passing its sidecar by.
    Agent,
    /// Nobody has told its annotations. To refuse such pods would be to refuse every pod of the node.
    Unknown,
}

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "initContainers", default)]
    init_containers: Option<Vec<String>>,
}

/// The init containers that the injector has added, by the text of [`STATUS`].
///
/// # Errors
/// When it is not what an injector writes.
pub fn init_containers(status: &str) -> serde_json::Result<Vec<String>> {
    serde_json::from_str::<Status>(status).map(|status| status.init_containers.unwrap_or_default())
}

pub fn need(entry: &Entry, namespace: Option<&str>, annotations: Option<&BTreeMap<String, String>>) -> Need {
    if namespace.is_some_and(|namespace| entry.exclude_namespaces.iter().any(|name| name == namespace)) {
        return Need::None;
    }
    let Some(annotations) = annotations else { return Need::Unknown };
    if annotations.get(INJECT).is_some_and(|value| value == "false") {
        return Need::None;
    }
    let Some(status) = annotations.get(STATUS) else { return Need::None };
    let waits = match init_containers(status) {
        Ok(init) => init.iter().any(|name| entry.waits_for.contains(name)),
        // Whoever wrote it, there may be a sidecar: the agent decides.
        Err(_) => true,
    };
    if waits { Need::Agent } else { Need::None }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const WAITS: &str =
        r#"{"initContainers":["istio-validation","istio-proxy"],"containers":null,"revision":"d"}"#;

    #[rstest]
    #[case::native_sidecar(Some(WAITS), Need::Agent)]
    #[case::sidecar(
        Some(r#"{"initContainers":["istio-validation"],"containers":["istio-proxy"]}"#),
        Need::Agent
    )]
    #[case::istio_init(Some(r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"#), Need::None)]
    #[case::gateway(Some(r#"{"initContainers":null,"containers":["istio-proxy"]}"#), Need::None)]
    #[case::proxyless(Some(r#"{"containers":["istio-proxy"]}"#), Need::None)]
    #[case::no_sidecar(None, Need::None)]
    #[case::unreadable(Some("{"), Need::Agent)]
    #[case::unreadable_list(Some(r#"{"initContainers":"istio-validation"}"#), Need::Agent)]
    #[case::empty(Some(""), Need::Agent)]
    fn by_its_annotations(#[case] status: Option<&str>, #[case] expected: Need) {
        let mut annotations = BTreeMap::from([("kubernetes.io/config.source".to_owned(), "api".to_owned())]);
        annotations.extend(status.map(|status| (STATUS.to_owned(), status.to_owned())));
        assert_eq!(need(&Entry::default(), Some("n"), Some(&annotations)), expected);
    }

    #[rstest]
    #[case("false", Need::None)]
    #[case("true", Need::Agent)]
    fn somebody_may_have_said_so(#[case] inject: &str, #[case] expected: Need) {
        let annotations =
            [(STATUS, WAITS), (INJECT, inject)].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(need(&Entry::default(), None, Some(&annotations.into())), expected);
    }

    #[test]
    fn a_mesh_may_wait_with_another_container() {
        let entry = Entry { waits_for: vec!["ours".into()], ..Entry::default() };
        let with = |status: &str| BTreeMap::from([(STATUS.to_owned(), status.to_owned())]);
        assert_eq!(need(&entry, None, Some(&with(WAITS))), Need::None);
        assert_eq!(need(&entry, None, Some(&with(r#"{"initContainers":["a","ours"]}"#))), Need::Agent);
    }

    #[rstest]
    #[case(Some("kube-system"), Need::None)]
    #[case(Some("kube-system2"), Need::Unknown)]
    #[case(None, Need::Unknown)]
    fn excluded_namespaces_need_no_annotations(#[case] namespace: Option<&str>, #[case] expected: Need) {
        let entry = Entry { exclude_namespaces: vec!["kube-system".into()], ..Entry::default() };
        assert_eq!(need(&entry, namespace, None), expected);
    }
}
