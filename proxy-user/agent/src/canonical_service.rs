//! What a pod is part of, as Istio's metrics name it, so that both can be joined: the canonical service. By labels: nobody
//! asks the API.

use std::collections::BTreeMap;

use proxy_core::config::PodName;

/// Before what the pod's owner is called, in this order (istio/istio, pkg/model/label.go).
const LABELS: [&str; 3] = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];

/// None: no label says it.
pub(crate) fn of(pod: &PodName, labels: &BTreeMap<String, String>) -> Option<String> {
    let named = LABELS.iter().find_map(|label| labels.get(*label)).filter(|name| !name.is_empty());
    named.cloned().or_else(|| owner(pod, labels))
}

/// Deployment, StatefulSet or Job: each leaves its mark in the labels, and its name in front of the pod's.
fn owner(pod: &PodName, labels: &BTreeMap<String, String>) -> Option<String> {
    if let Some(hash) = labels.get("pod-template-hash") {
        let (set, _) = pod.name.rsplit_once('-')?;
        return Some(set.strip_suffix(hash)?.strip_suffix('-')?.to_owned());
    }
    if labels.contains_key("statefulset.kubernetes.io/pod-name") {
        return Some(pod.name.rsplit_once('-')?.0.to_owned());
    }
    ["batch.kubernetes.io/job-name", "job-name"].iter().find_map(|label| labels.get(*label)).cloned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::canonical("a", &[("service.istio.io/canonical-name", "one"), ("app", "two")], Some("one"))]
    #[case::recommended("a", &[("app.kubernetes.io/name", "one"), ("app", "two")], Some("one"))]
    #[case::app("a", &[("app", "one"), ("pod-template-hash", "5d8")], Some("one"))]
    #[case::deployment("my-web-5d8f-x2x4z", &[("pod-template-hash", "5d8f")], Some("my-web"))]
    #[case::another_hash("my-web-5d8f-x2x4z", &[("pod-template-hash", "77")], None)]
    #[case::stateful("db-0", &[("statefulset.kubernetes.io/pod-name", "db-0")], Some("db"))]
    #[case::job("nightly-7-abcde", &[("batch.kubernetes.io/job-name", "nightly-7")], Some("nightly-7"))]
    #[case::nothing("a", &[], None)]
    fn names(#[case] pod: &str, #[case] labels: &[(&str, &str)], #[case] expected: Option<&str>) {
        let pod = format!("shop/{pod}").parse().unwrap();
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(of(&pod, &labels).as_deref(), expected);
    }
}
