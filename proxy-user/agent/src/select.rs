//! Which pods are the agent's, of those with a sidecar: a canary is one pod, one namespace, or what has a label.

use std::{collections::BTreeMap, fmt, str::FromStr};

use proxy_core::config::PodName;

/// One `--select` or `--exclude`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Term {
    Namespace(String),
    Pod(PodName),
    Label { key: String, value: String },
}

/// Why a text is no [`Term`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoTerm(String);

impl fmt::Display for NoTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; write NAMESPACE/POD, NAMESPACE/* for a namespace, or KEY=VALUE for a label", self.0)
    }
}

impl std::error::Error for NoTerm {}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(namespace) => write!(f, "{namespace}/*"),
            Self::Pod(pod) => write!(f, "{pod}"),
            Self::Label { key, value } => write!(f, "{key}={value}"),
        }
    }
}

impl FromStr for Term {
    type Err = NoTerm;

    fn from_str(text: &str) -> Result<Self, NoTerm> {
        if let Some((key, value)) = text.split_once('=') {
            // As Kubernetes has it: an optional prefix of a domain, letters, digits, `-`, `_`, `.`.
            let allowed = |text: &str, more: &str| {
                text.len() <= 317 && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
            };
            if key.is_empty() || !allowed(key, "-_./") || !allowed(value, "-_.") {
                return Err(NoTerm("this is no label".to_owned()));
            }
            return Ok(Self::Label { key: key.to_owned(), value: value.to_owned() });
        }
        match text.split_once('/') {
            // A name that is sure to be allowed, for the sake of the namespace.
            Some((namespace, "*")) if format!("{namespace}/a").parse::<PodName>().is_ok() => {
                Ok(Self::Namespace(namespace.to_owned()))
            }
            Some(_) => {
                text.parse().map(Self::Pod).map_err(|error| NoTerm(format!("this is no pod: {error}")))
            }
            None => Err(NoTerm("a namespace or a label?".to_owned())),
        }
    }
}

impl Term {
    /// None: it asks for a label, and labels are not known.
    fn matches(&self, pod: &PodName, labels: Option<&BTreeMap<String, String>>) -> Option<bool> {
        match self {
            Self::Namespace(namespace) => Some(*namespace == pod.namespace),
            Self::Pod(name) => Some(name == pod),
            Self::Label { key, value } => labels.map(|labels| labels.get(key) == Some(value)),
        }
    }
}

/// Which pods are meant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// None: all.
    pub select: Vec<Term>,
    /// Comes before what is selected.
    pub exclude: Vec<Term>,
}

/// Whether a pod is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selected {
    Yes,
    NotSelected,
    Excluded,
    /// Its labels decide, and nobody has told them yet.
    NotKnown,
}

impl Selection {
    pub fn of(&self, pod: &PodName, labels: Option<&BTreeMap<String, String>>) -> Selected {
        let any = |terms: &[Term]| {
            let mut known = Some(false);
            for term in terms {
                match term.matches(pod, labels) {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => known = None,
                }
            }
            known
        };
        let selected = if self.select.is_empty() { Some(true) } else { any(&self.select) };
        match (any(&self.exclude), selected) {
            (Some(true), _) => Selected::Excluded,
            (_, Some(false)) => Selected::NotSelected,
            (None, _) | (_, None) => Selected::NotKnown,
            (Some(false), Some(true)) => Selected::Yes,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::namespace("shop/*", Some(Term::Namespace("shop".into())))]
    #[case::pod("shop/web-0", Some(Term::Pod("shop/web-0".parse().unwrap())))]
    #[case::label("app.kubernetes.io/name=web", Some(Term::Label { key: "app.kubernetes.io/name".into(), value: "web".into() }))]
    #[case::empty_value("canary=", Some(Term::Label { key: "canary".into(), value: String::new() }))]
    #[case::bare("shop", None)]
    #[case::all("*/*", None)]
    #[case::no_key("=web", None)]
    #[case::letters("a b=c", None)]
    #[case::capitals("Shop/*", None)]
    fn terms(#[case] text: &str, #[case] expected: Option<Term>) {
        assert_eq!(text.parse().ok(), expected, "{:?}", text.parse::<Term>());
    }

    #[rstest]
    #[case::everything(&[], &[], Some(vec![]), Selected::Yes)]
    #[case::namespace(&["shop/*"], &[], None, Selected::Yes)]
    #[case::another(&["bank/*"], &[], None, Selected::NotSelected)]
    #[case::label(&["canary=yes"], &[], Some(vec![("canary", "yes")]), Selected::Yes)]
    #[case::other_value(&["canary=yes"], &[], Some(vec![("canary", "no")]), Selected::NotSelected)]
    #[case::labels_unknown(&["canary=yes"], &[], None, Selected::NotKnown)]
    #[case::label_or_namespace(&["canary=yes", "shop/*"], &[], None, Selected::Yes)]
    #[case::excluded(&["shop/*"], &["shop/web-0"], None, Selected::Excluded)]
    #[case::excluded_by_label_unknown(&[], &["canary=no"], None, Selected::NotKnown)]
    #[case::not_selected_whatever_the_label(&["bank/*"], &["canary=no"], None, Selected::NotSelected)]
    fn selections(
        #[case] select: &[&str],
        #[case] exclude: &[&str],
        #[case] labels: Option<Vec<(&str, &str)>>,
        #[case] expected: Selected,
    ) {
        let terms = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let selection = Selection { select: terms(select), exclude: terms(exclude) };
        let labels: Option<BTreeMap<String, String>> = labels
            .map(|all| all.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
        assert_eq!(selection.of(&"shop/web-0".parse().unwrap(), labels.as_ref()), expected);
    }
}
