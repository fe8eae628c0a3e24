//! What the runtime says in the environment.

use std::{ffi::OsString, path::PathBuf};

use crate::{
    failure::{Code, Failure},
    harmless::harmless,
    wire::Pod,
};

/// What the runtime asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Add,
    Check,
    Del,
    Gc,
    Status,
    Version,
}

const VERBS: [(&str, Verb); 6] = [
    ("ADD", Verb::Add),
    ("CHECK", Verb::Check),
    ("DEL", Verb::Del),
    ("GC", Verb::Gc),
    ("STATUS", Verb::Status),
    ("VERSION", Verb::Version),
];

/// The process's environment, or a test's.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The sandbox that a call is about. Its netns is not looked at here: the agent judges it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sandbox {
    pub container_id: String,
    pub netns: Option<PathBuf>,
    pub interface: String,
    pub pod: Option<Pod>,
}

/// # Errors
/// When there is none, or none that the specification knows.
pub fn verb(environment: Environment) -> Result<Verb, Failure> {
    let Some(said) = text(environment, "CNI_COMMAND")? else {
        return Err(Failure::new(
            Code::InvalidEnvironment,
            concat!(
                "CNI_COMMAND is not set: sidestep-cni ",
                env!("CARGO_PKG_VERSION"),
                " is a CNI plugin, which a runtime starts"
            ),
            "to see its versions: CNI_COMMAND=VERSION sidestep-cni </dev/null",
        ));
    };
    VERBS.iter().find(|(name, _)| *name == said).map(|(_, verb)| *verb).ok_or_else(|| {
        let names = VERBS.map(|(name, _)| name).join(", ");
        Failure::new(Code::InvalidEnvironment, format!("CNI_COMMAND is {said:?}, and none of {names}"), "")
    })
}

/// For ADD, which has to know all of it.
///
/// # Errors
/// When a variable is missing, or not as the specification has it.
pub fn sandbox(environment: Environment) -> Result<Sandbox, Failure> {
    let container_id = required(environment, "CNI_CONTAINERID")?;
    let starts_well = container_id.starts_with(|character: char| character.is_ascii_alphanumeric());
    if !starts_well || !container_id.chars().all(is_id) {
        return Err(Failure::new(
            Code::InvalidEnvironment,
            format!("CNI_CONTAINERID is {container_id:?}: it has letters, digits, '_', '.' and '-'"),
            "",
        ));
    }
    let netns = required(environment, "CNI_NETNS")?;
    let interface = required(environment, "CNI_IFNAME")?;
    Ok(Sandbox { container_id, netns: Some(netns.into()), interface, pod: pod(environment)? })
}

/// For DEL, which makes do with what is there. None: there is no container to speak of.
pub fn sandbox_if_known(environment: Environment) -> Option<Sandbox> {
    let said = |name| text(environment, name).ok().flatten();
    Some(Sandbox {
        container_id: said("CNI_CONTAINERID")?,
        netns: said("CNI_NETNS").map(PathBuf::from),
        interface: said("CNI_IFNAME").unwrap_or_default(),
        pod: pod(environment).ok().flatten(),
    })
}

fn is_id(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
}

fn pod(environment: Environment) -> Result<Option<Pod>, Failure> {
    let args = text(environment, "CNI_ARGS")?.unwrap_or_default();
    let (mut namespace, mut name, mut uid) = (None, None, None);
    for pair in args.split(';').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            let said = harmless(pair);
            return Err(Failure::new(
                Code::InvalidEnvironment,
                format!("CNI_ARGS: \"{said}\" has no '='"),
                "",
            ));
        };
        let value = (!value.is_empty()).then(|| value.to_owned());
        match key {
            "K8S_POD_NAMESPACE" => namespace = value,
            "K8S_POD_NAME" => name = value,
            "K8S_POD_UID" => uid = value,
            _ => {}
        }
    }
    Ok(namespace.zip(name).map(|(namespace, name)| Pod { namespace, name, uid }))
}

fn required(environment: Environment, name: &str) -> Result<String, Failure> {
    text(environment, name)?
        .ok_or_else(|| Failure::new(Code::InvalidEnvironment, format!("{name} is not set"), ""))
}

/// A variable that is empty counts as one that is not there.
fn text(environment: Environment, name: &str) -> Result<Option<String>, Failure> {
    let Some(value) = environment(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    value.into_string().map(Some).map_err(|value| {
        let said = harmless(&value.to_string_lossy());
        Failure::new(Code::InvalidEnvironment, format!("{name} is not UTF-8: \"{said}\""), "")
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use rstest::rstest;

    use super::*;

    const ADD: [(&str, &str); 4] =
        [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c0"), ("CNI_NETNS", "/n"), ("CNI_IFNAME", "eth0")];

    fn with(changes: &[(&str, &str)], read: impl FnOnce(Environment)) {
        let mut variables = ADD.to_vec();
        variables.extend_from_slice(changes);
        let find = |name: &str| {
            let found = variables.iter().rev().find(|(key, _)| *key == name)?;
            Some(OsString::from(found.1))
        };
        read(&find);
    }

    fn pod_of(namespace: &str, name: &str, uid: Option<&str>) -> Pod {
        Pod { namespace: namespace.into(), name: name.into(), uid: uid.map(str::to_owned) }
    }

    #[rstest]
    #[case::all(
        "K8S_POD_UID=u;IgnoreUnknown=1;K8S_POD_NAMESPACE=n;K8S_POD_NAME=p",
        Some(pod_of("n", "p", Some("u")))
    )]
    #[case::no_uid("K8S_POD_NAMESPACE=n;K8S_POD_NAME=p;K8S_POD_UID=", Some(pod_of("n", "p", None)))]
    #[case::no_name("K8S_POD_NAMESPACE=n", None)]
    #[case::no_kubernetes("", None)]
    #[case::the_last_counts(
        "K8S_POD_NAMESPACE=a;K8S_POD_NAME=p;K8S_POD_NAMESPACE=b;",
        Some(pod_of("b", "p", None))
    )]
    fn the_pod_is_in_the_arguments(#[case] args: &str, #[case] pod: Option<Pod>) {
        with(&[("CNI_ARGS", args)], |environment| {
            assert_eq!(sandbox(environment).unwrap().pod, pod);
            assert_eq!(sandbox_if_known(environment).unwrap().pod, pod);
        });
    }

    #[rstest]
    #[case::no_id(("CNI_CONTAINERID", ""), "CNI_CONTAINERID is not set")]
    #[case::a_path_for_an_id(("CNI_CONTAINERID", "../x"), "CNI_CONTAINERID is \"../x\"")]
    #[case::no_netns(("CNI_NETNS", ""), "CNI_NETNS is not set")]
    #[case::no_interface(("CNI_IFNAME", ""), "CNI_IFNAME is not set")]
    #[case::no_pair(("CNI_ARGS", "a=b;\u{1b}x"), "CNI_ARGS: \"\\u{1b}x\" has no '='")]
    fn add_needs_all_of_it(#[case] change: (&str, &str), #[case] said: &str) {
        with(&[change], |environment| {
            let failure = sandbox(environment).unwrap_err();
            assert_eq!(failure.code, Code::InvalidEnvironment);
            assert!(failure.msg.contains(said), "{failure:?}");
        });
    }

    #[test]
    fn del_makes_do_with_the_container() {
        with(&[("CNI_NETNS", ""), ("CNI_IFNAME", ""), ("CNI_ARGS", "nonsense")], |environment| {
            let sandbox = sandbox_if_known(environment).unwrap();
            assert_eq!((sandbox.container_id.as_str(), sandbox.netns), ("c0", None));
        });
        with(&[("CNI_CONTAINERID", "")], |environment| assert_eq!(sandbox_if_known(environment), None));
    }

    #[rstest]
    #[case("ADD", Some(Verb::Add))]
    #[case("GC", Some(Verb::Gc))]
    #[case("VERSION", Some(Verb::Version))]
    #[case("add", None)]
    #[case("", None)]
    fn verbs(#[case] said: &str, #[case] expected: Option<Verb>) {
        with(&[("CNI_COMMAND", said)], |environment| assert_eq!(verb(environment).ok(), expected));
    }

    #[test]
    fn what_is_not_text_is_refused_by_its_name() {
        let find = |name: &str| (name == "CNI_COMMAND").then(|| OsString::from_vec(vec![b'A', 0xff, 0x1b]));
        let failure = verb(&find).unwrap_err();
        assert_eq!(failure.msg, "CNI_COMMAND is not UTF-8: \"A\u{fffd}\\u{1b}\"");
    }
}
