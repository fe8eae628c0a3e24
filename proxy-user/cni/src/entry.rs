//! Our entry in the runtime's list of plugins. The agent writes it, the plugin reads it.

use std::{
    collections::BTreeMap,
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned, ser::SerializeStruct as _};
use serde_json::{Map, Value};

use crate::{harmless::harmless, wire};

/// What the list calls the plugin, and the runtime looks for in its directory of binaries.
pub const TYPE: &str = "sidestep-cni";

/// `runtimeConfig` has what is asked for here, and nothing else.
pub const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
pub const CGROUP: &str = "cgroupPath";
pub const DNS: &str = "dns";

/// The init container that waits until a pod's traffic goes through its sidecar.
pub const VALIDATION: &str = "istio-validation";

/// Kubelet gives a pod's whole sandbox two minutes.
pub const TIMEOUT_SECONDS: RangeInclusive<u64> = 1..=100;

/// Characters of a wrong value in a message.
const LONGEST_SHOWN: usize = 100;

/// What becomes of a sidecar pod while no agent answers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailurePolicy {
    /// It waits: kubelet tries again.
    #[default]
    Closed,
    /// It starts, and its traffic passes its sidecar by until the agent enrols it.
    Open,
}

/// What it says beside its type and its capabilities, which are always the same. Every key has a default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub socket: PathBuf,
    pub failure_policy: FailurePolicy,
    /// How long ADD waits for the agent, all in all: within [`TIMEOUT_SECONDS`].
    pub timeout_seconds: u64,
    /// Whether STATUS fails, and with it the node's readiness, until the agent was ready once since the node
    /// booted.
    pub status_waits_for_agent: bool,
    pub exclude_namespaces: Vec<String>,
    /// A pod with one of these init containers needs the agent: it does not start without what it waits for.
    pub waits_for: Vec<String>,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            socket: wire::SOCKET.into(),
            failure_policy: FailurePolicy::default(),
            timeout_seconds: 10,
            status_waits_for_agent: false,
            exclude_namespaces: Vec::new(),
            waits_for: vec![VALIDATION.to_owned()],
        }
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let capabilities: BTreeMap<_, _> = [ANNOTATIONS, CGROUP, DNS].map(|name| (name, true)).into();
        let mut keys = serializer.serialize_struct("Entry", 8)?;
        keys.serialize_field("type", TYPE)?;
        keys.serialize_field("capabilities", &capabilities)?;
        keys.serialize_field("socket", &self.socket)?;
        keys.serialize_field("failurePolicy", &self.failure_policy)?;
        keys.serialize_field("timeoutSeconds", &self.timeout_seconds)?;
        keys.serialize_field("statusWaitsForAgent", &self.status_waits_for_agent)?;
        keys.serialize_field("excludeNamespaces", &self.exclude_namespaces)?;
        keys.serialize_field("waitsFor", &self.waits_for)?;
        keys.end()
    }
}

impl Entry {
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// From the entry as the plugin gets it: among keys of the list's and of the runtime's.
    ///
    /// # Errors
    /// Every key whose value is of no use, in one text.
    pub fn read(object: &Map<String, Value>) -> Result<Self, String> {
        let mut reader = Reader { object, faults: Vec::new() };
        let default = Self::default();
        let entry = Self {
            socket: reader.key("socket", "an absolute path", default.socket, |path| {
                if path.is_absolute() { Ok(()) } else { Err("it is not absolute".to_owned()) }
            }),
            failure_policy: reader.key("failurePolicy", r#""closed" or "open""#, default.failure_policy, any),
            timeout_seconds: reader.key(
                "timeoutSeconds",
                "a whole number",
                default.timeout_seconds,
                is_timeout,
            ),
            status_waits_for_agent: reader.key("statusWaitsForAgent", "true or false", false, any),
            exclude_namespaces: reader.key("excludeNamespaces", "a list of names", Vec::new(), any),
            waits_for: reader.key("waitsFor", "a list of names", default.waits_for, any),
        };
        if reader.faults.is_empty() { Ok(entry) } else { Err(reader.faults.join("; ")) }
    }

    /// The file that the agent makes beside its socket when it is ready for the first time since the node
    /// booted.
    pub fn ready_marker(&self) -> PathBuf {
        ready_marker(&self.socket)
    }
}

/// The same for a socket that is known without an entry. `/run` is empty after a boot.
pub fn ready_marker(socket: &Path) -> PathBuf {
    socket.with_file_name("ready")
}

struct Reader<'a> {
    object: &'a Map<String, Value>,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn key<T: DeserializeOwned>(
        &mut self,
        key: &str,
        wanted: &str,
        default: T,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> T {
        let Some(value) = self.object.get(key) else { return default };
        let refused = |why: &dyn Display| {
            let shown: String = value.to_string().chars().take(LONGEST_SHOWN).collect();
            harmless(&format!("{key:?} of {TYPE}'s entry is {shown}: {why}; give {wanted}, or leave it out"))
        };
        let fault = match T::deserialize(value) {
            Ok(read) => match check(&read) {
                Ok(()) => return read,
                Err(why) => refused(&why),
            },
            Err(why) => refused(&why),
        };
        self.faults.push(fault);
        default
    }
}

fn any<T>(_: &T) -> Result<(), String> {
    Ok(())
}

fn is_timeout(seconds: &u64) -> Result<(), String> {
    if TIMEOUT_SECONDS.contains(seconds) {
        Ok(())
    } else {
        Err(format!("it is not within {} and {}", TIMEOUT_SECONDS.start(), TIMEOUT_SECONDS.end()))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn read(entry: Value) -> Result<Entry, String> {
        Entry::read(entry.as_object().unwrap())
    }

    #[test]
    fn every_key_has_a_default() {
        assert_eq!(read(json!({ "type": TYPE })), Ok(Entry::default()));
        assert_eq!(
            serde_json::to_value(Entry::default()).unwrap(),
            json!({
                "type": "sidestep-cni",
                "capabilities": { "io.kubernetes.cri.pod-annotations": true, "cgroupPath": true, "dns": true },
                "socket": "/run/sidestep/cni.sock",
                "failurePolicy": "closed",
                "timeoutSeconds": 10,
                "statusWaitsForAgent": false,
                "excludeNamespaces": [],
                "waitsFor": ["istio-validation"],
            })
        );
    }

    #[test]
    fn what_the_agent_writes_is_what_the_plugin_reads() {
        let entry = Entry {
            socket: "/run/elsewhere/a.sock".into(),
            failure_policy: FailurePolicy::Open,
            status_waits_for_agent: true,
            exclude_namespaces: vec!["kube-system".into()],
            waits_for: vec!["mine".into()],
            timeout_seconds: 3,
        };
        assert_eq!(read(serde_json::to_value(&entry).unwrap()), Ok(entry));
    }

    #[rstest]
    #[case::relative(
        json!({ "socket": "cni.sock" }),
        "\"socket\" of sidestep-cni's entry is \"cni.sock\": it is not absolute"
    )]
    #[case::no_policy(
        json!({ "failurePolicy": "maybe" }),
        "\"failurePolicy\" of sidestep-cni's entry is \"maybe\": unknown variant"
    )]
    #[case::zero(
        json!({ "timeoutSeconds": 0 }),
        "is 0: it is not within 1 and 100; give a whole number, or leave it out"
    )]
    #[case::too_long(json!({ "timeoutSeconds": 101 }), "is 101: it is not within")]
    #[case::text(json!({ "timeoutSeconds": "10" }), "is \"10\": invalid type")]
    #[case::not_a_flag(json!({ "statusWaitsForAgent": "yes" }), "\"statusWaitsForAgent\"")]
    #[case::not_a_list(json!({ "excludeNamespaces": "a" }), "\"excludeNamespaces\"")]
    #[case::null(json!({ "waitsFor": null }), "\"waitsFor\"")]
    #[case::control_characters(json!({ "waitsFor": "\u{9b}x" }), "\\u{9b}x")]
    fn a_wrong_value_names_itself(#[case] entry: Value, #[case] said: &str) {
        let fault = read(entry).unwrap_err();
        assert!(fault.contains(said), "{fault}");
        assert!(!fault.contains(char::is_control), "{fault:?}");
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let fault = read(json!({ "socket": 1, "timeoutSeconds": -1 })).unwrap_err();
        assert!(fault.contains("\"socket\"") && fault.contains("\"timeoutSeconds\""), "{fault}");
    }

    #[test]
    fn the_marker_is_beside_the_socket() {
        assert_eq!(Entry::default().ready_marker(), Path::new("/run/sidestep/ready"));
    }
}
