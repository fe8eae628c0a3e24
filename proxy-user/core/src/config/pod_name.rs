//! Which pod of Kubernetes a workload is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A pod's namespace and name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
}

/// Not `NAMESPACE/NAME` in the letters Kubernetes allows (RFC 1123).
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not NAMESPACE/NAME, as in `default/web-0`: lower case letters, digits, `-`, and in names `.`")]
pub struct NoPodName;

impl FromStr for PodName {
    type Err = NoPodName;

    fn from_str(text: &str) -> Result<Self, NoPodName> {
        let (namespace, name) = text.split_once('/').ok_or(NoPodName)?;
        let is_name = name.len() <= 253 && name.split('.').all(is_label);
        if !is_label(namespace) || !is_name {
            return Err(NoPodName);
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("default/web-0", Some(("default", "web-0")))]
    #[case::dots_in_names("kube-system/etcd-node.example.com", Some(("kube-system", "etcd-node.example.com")))]
    #[case::no_namespace("web-0", None)]
    #[case::dots_in_namespaces("a.b/web", None)]
    #[case::capitals("default/Web", None)]
    #[case::nothing("/", None)]
    #[case::dash_at_the_end("default/web-", None)]
    #[case::three_parts("a/b/c", None)]
    fn namespace_and_name(#[case] text: &str, #[case] expected: Option<(&str, &str)>) {
        let found = text.parse::<PodName>().ok();
        assert_eq!(found.as_ref().map(|pod| (&*pod.namespace, &*pod.name)), expected);
        assert_eq!(found.map(|pod| pod.to_string()), expected.map(|_| text.to_owned()));
    }
}
