//! What the runtime says on standard input: the network's configuration with our entry in it.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    entry::{self, Entry},
    failure::{Code, Failure},
    wire,
};

/// The versions of the specification whose calls we answer; what is new in 1.1.0 are GC and STATUS.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Which of them an answer has where the runtime has not said one of them.
pub const NEWEST: &str = VERSIONS[VERSIONS.len() - 1];

/// One of [`VERSIONS`].
pub type Version = &'static str;

/// Standard input, as far as every call needs it.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    pub version: Version,
    object: Map<String, Value>,
    /// As the runtime has written it, to the byte.
    prev_result: Option<String>,
}

/// What of `runtimeConfig` matters to us. None: nobody has told it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Told {
    pub annotations: Option<BTreeMap<String, String>>,
    pub cgroup: Option<String>,
    pub dns_servers: Option<Vec<String>>,
}

/// All of standard input, which has an end.
///
/// # Errors
/// When it cannot be read, is longer than [`wire::LONGEST`], or is no text.
pub fn read(stdin: &mut dyn Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let limit = wire::LONGEST as u64;
    stdin
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error: io::Error| Failure::new(Code::Io, format!("read standard input: {error}"), ""))?;
    if bytes.len() as u64 > limit {
        return Err(undecodable(format!("it is longer than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| undecodable(error.to_string()))
}

fn undecodable(why: String) -> Failure {
    Failure::new(Code::Undecodable, format!("the network configuration on standard input: {why}"), "")
}

/// The version that is asked in, as far as it can be made out and is one of ours.
pub fn version(stdin: &str) -> Option<Version> {
    #[derive(Deserialize)]
    struct Only {
        #[serde(rename = "cniVersion")]
        version: String,
    }
    let said = serde_json::from_str::<Only>(stdin).ok()?.version;
    VERSIONS.into_iter().find(|version| *version == said)
}

impl Network {
    /// # Errors
    /// When it is no JSON object, or of a version that we do not know.
    pub fn parse(stdin: &str) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            #[serde(borrow, default, rename = "prevResult")]
            prev_result: Option<&'a RawValue>,
        }
        let object: Map<String, Value> =
            serde_json::from_str(stdin).map_err(|error| undecodable(error.to_string()))?;
        let raw: Raw = serde_json::from_str(stdin).map_err(|error| undecodable(error.to_string()))?;
        let version = version(stdin).ok_or_else(|| {
            let said = object.get("cniVersion").map_or_else(|| "missing".to_owned(), Value::to_string);
            let said: String = said.chars().take(40).collect();
            Failure::new(
                Code::IncompatibleVersion,
                format!("cniVersion is {said}: sidestep-cni knows {}", VERSIONS.join(", ")),
                "give the network's list one of these versions",
            )
        })?;
        let prev_result = raw.prev_result.map(|value| value.get().to_owned());
        Ok(Self { version, object, prev_result })
    }

    /// # Errors
    /// When a key of ours has a value that is of no use.
    pub fn entry(&self) -> Result<Entry, Failure> {
        Entry::read(&self.object).map_err(|faults| Failure::new(Code::InvalidConfiguration, faults, ""))
    }

    /// What the plugins before us have made, which is what we answer with.
    ///
    /// # Errors
    /// When there is none.
    pub fn prev_result(&self) -> Result<&str, Failure> {
        self.prev_result.as_deref().filter(|result| result.starts_with('{')).ok_or_else(|| {
            Failure::new(
                Code::InvalidConfiguration,
                "prevResult is missing, or no object: sidestep-cni makes no network of its own",
                "chain it behind the plugin that does, in the same list",
            )
        })
    }

    /// # Errors
    /// When the runtime has told something that is not of the kind it should be.
    pub fn told(&self) -> Result<Told, Failure> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Dns {
            // containerd and CRI-O marshal a Go struct without tags; CNI's conventions write them small.
            #[serde(alias = "servers", rename = "Servers")]
            servers: Option<Vec<String>>,
        }
        let empty = Map::new();
        let config = match self.object.get("runtimeConfig") {
            None | Some(Value::Null) => &empty,
            Some(Value::Object(config)) => config,
            Some(_) => return Err(not_told("it is no object")),
        };
        Ok(Told {
            // A Go map that was never made is written as null: annotations are told, and there are none.
            annotations: match config.get(entry::ANNOTATIONS) {
                None => None,
                Some(_) => Some(part(config, entry::ANNOTATIONS)?.unwrap_or_default()),
            },
            cgroup: part(config, entry::CGROUP)?.filter(|path: &String| !path.is_empty()),
            dns_servers: part::<Dns>(config, entry::DNS)?.and_then(|dns| dns.servers),
        })
    }
}

fn part<T: for<'de> Deserialize<'de>>(config: &Map<String, Value>, key: &str) -> Result<Option<T>, Failure> {
    let value = config.get(key).unwrap_or(&Value::Null);
    Option::deserialize(value).map_err(|error| not_told(&format!("{key}: {error}")))
}

fn not_told(why: &str) -> Failure {
    Failure::new(Code::Undecodable, format!("runtimeConfig on standard input: {why}"), "")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn parse(value: Value) -> Result<Network, Failure> {
        Network::parse(&value.to_string())
    }

    fn told(config: Value) -> Result<Told, Failure> {
        parse(json!({ "cniVersion": "1.0.0", "runtimeConfig": config })).unwrap().told()
    }

    #[rstest]
    #[case("0.3.0", true)]
    #[case("0.3.1", true)]
    #[case("0.4.0", true)]
    #[case("1.0.0", true)]
    #[case("1.1.0", true)]
    #[case("0.2.0", false)]
    #[case("1.2.0", false)]
    #[case("1.0", false)]
    fn versions(#[case] said: &str, #[case] known: bool) {
        match parse(json!({ "cniVersion": said })) {
            Ok(network) => assert_eq!((network.version, known), (said, true)),
            Err(failure) => assert_eq!((failure.code, known), (Code::IncompatibleVersion, false)),
        }
    }

    #[rstest]
    #[case::nothing("", Code::Undecodable)]
    #[case::half("{\"cniVersion\":\"1.0.0\",", Code::Undecodable)]
    #[case::a_list("[]", Code::Undecodable)]
    #[case::no_version("{}", Code::IncompatibleVersion)]
    #[case::version_of_another_kind("{\"cniVersion\":1}", Code::IncompatibleVersion)]
    fn what_is_no_configuration(#[case] stdin: &str, #[case] code: Code) {
        assert_eq!(Network::parse(stdin).unwrap_err().code, code);
    }

    #[test]
    fn the_result_before_us_stays_as_it_was_written() {
        let result = "{ \"b\" : 1.50e1,\n\"a\":\"\\u00e9\", \"a\":[ ] }";
        let network =
            Network::parse(&format!("{{\"prevResult\": {result} ,\"cniVersion\":\"1.0.0\"}}")).unwrap();
        assert_eq!(network.prev_result(), Ok(result));
    }

    #[rstest]
    #[case::missing(json!({ "cniVersion": "1.0.0" }))]
    #[case::null(json!({ "cniVersion": "1.0.0", "prevResult": null }))]
    #[case::no_object(json!({ "cniVersion": "1.0.0", "prevResult": [] }))]
    fn without_a_result_before_us_there_is_none(#[case] stdin: Value) {
        assert_eq!(parse(stdin).unwrap().prev_result().unwrap_err().code, Code::InvalidConfiguration);
    }

    #[test]
    fn all_that_containerd_tells() {
        let config = json!({
            "cgroupPath": "/kubepods/pod1",
            "io.kubernetes.cri.pod-annotations": { "a": "b" },
            "dns": { "Servers": ["10.96.0.10"], "Searches": [], "Options": null },
        });
        let told = told(config).unwrap();
        assert_eq!(told.annotations.unwrap()["a"], "b");
        assert_eq!(told.cgroup.as_deref(), Some("/kubepods/pod1"));
        assert_eq!(told.dns_servers, Some(vec!["10.96.0.10".to_owned()]));
    }

    #[rstest]
    #[case::nothing(json!(null), None)]
    #[case::not_this(json!({ "cgroupPath": "" }), None)]
    #[case::a_pod_without_any(json!({ "io.kubernetes.cri.pod-annotations": null }), Some(BTreeMap::new()))]
    fn no_annotations_and_nobody_who_tells_them_are_two_things(
        #[case] config: Value,
        #[case] annotations: Option<BTreeMap<String, String>>,
    ) {
        assert_eq!(told(config), Ok(Told { annotations, ..Told::default() }));
    }

    #[test]
    fn servers_may_be_written_small() {
        let told = told(json!({ "dns": { "servers": ["::1"] } })).unwrap();
        assert_eq!(told.dns_servers, Some(vec!["::1".to_owned()]));
    }

    #[rstest]
    #[case(json!([]))]
    #[case(json!({ "io.kubernetes.cri.pod-annotations": { "a": 1 } }))]
    #[case(json!({ "cgroupPath": 1 }))]
    #[case(json!({ "dns": [1] }))]
    fn what_is_of_another_kind_is_refused(#[case] config: Value) {
        assert_eq!(told(config).unwrap_err().code, Code::Undecodable);
    }

    #[rstest]
    #[case::as_long_as_it_may_be(wire::LONGEST, true)]
    #[case::longer(wire::LONGEST + 1, false)]
    fn standard_input_has_an_end(#[case] length: usize, #[case] fits: bool) {
        let read = read(&mut io::repeat(b' ').take(length as u64));
        assert_eq!(read.is_ok(), fits);
    }

    #[test]
    fn standard_input_is_text() {
        assert_eq!(read(&mut [0xff].as_slice()).unwrap_err().code, Code::Undecodable);
    }
}
