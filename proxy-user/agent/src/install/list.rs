//! Our entry in the text of a network's list of plugins. What is not ours stays as its owner has written it,
//! to the byte: numbers, the order of keys, white space.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use proxy_cni::{
    entry::{Entry, TYPE},
    network::VERSIONS,
};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

/// A list as libcni reads it (libcni/conf.go: NetworkConfFromBytes).
#[derive(Deserialize)]
pub(super) struct List<'a> {
    pub(super) name: String,
    #[serde(default, rename = "cniVersion")]
    version: Option<String>,
    #[serde(default, rename = "cniVersions")]
    versions: Vec<String>,
    #[serde(default, rename = "loadOnlyInlinedPlugins")]
    only_inlined: Value,
    #[serde(borrow, default)]
    plugins: Option<Vec<&'a RawValue>>,
}

/// A file with a single plugin, which the runtime makes a list of by itself.
#[derive(Deserialize)]
struct Single {
    #[serde(default)]
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, rename = "cniVersion")]
    version: Option<String>,
}

#[derive(Deserialize)]
struct Plugin {
    #[serde(rename = "type")]
    kind: String,
}

impl<'a> List<'a> {
    /// # Errors
    /// When a runtime could not read it either.
    pub(super) fn parse(text: &'a str) -> Result<Self> {
        let list: Self = serde_json::from_str(text).context("it is no list of plugins")?;
        for plugin in list.plugins.iter().flatten() {
            kind(plugin)?;
        }
        Ok(list)
    }

    /// Whether plugins in files of a directory of its own come after those in it, where the runtime knows
    /// that.
    pub(super) fn takes_drop_ins(&self) -> bool {
        match &self.only_inlined {
            Value::Bool(only) => !only,
            Value::String(only) => !only.eq_ignore_ascii_case("true"),
            _ => true,
        }
    }

    /// # Errors
    /// When the runtime may ask our plugin in a version that it does not know: every pod of the node would
    /// fail.
    pub(super) fn check_version(&self) -> Result<()> {
        let mut said: Vec<_> = self.version.iter().chain(&self.versions).map(String::as_str).collect();
        if said.is_empty() {
            said.push("missing");
        }
        check_versions(&said)
    }

    fn ours(&self) -> Vec<usize> {
        let plugins = self.plugins.iter().flatten().enumerate();
        plugins.filter(|(_, plugin)| kind(plugin).is_ok_and(|kind| kind == TYPE)).map(|(at, _)| at).collect()
    }
}

/// Our entries in a list.
pub(super) fn ours(text: &str) -> Result<Vec<Map<String, Value>>> {
    let list = List::parse(text)?;
    let plugins = list.plugins.as_deref().unwrap_or_default();
    list.ours().into_iter().map(|at| Ok(serde_json::from_str(plugins[at].get())?)).collect()
}

fn kind(plugin: &RawValue) -> Result<String> {
    let plugin: Plugin = serde_json::from_str(plugin.get()).context("one of its plugins has no type")?;
    Ok(plugin.kind)
}

fn check_versions(said: &[&str]) -> Result<()> {
    if let Some(unknown) = said.iter().find(|version| !VERSIONS.contains(version)) {
        bail!("its cniVersion is {unknown}, and {TYPE} knows {}", VERSIONS.join(", "));
    }
    Ok(())
}

/// The list with our entry, once, behind the plugin that makes the network. One that is there and says the
/// same stays where it is: another plugin may have been chained behind it.
///
/// # Errors
/// When it is no list, or none that our entry could be in.
pub(super) fn chain(text: &str, entry: &Entry) -> Result<String> {
    let list = List::parse(text)?;
    list.check_version()?;
    let plugins = list.plugins.as_deref().unwrap_or_default();
    let ours = list.ours();
    ensure!(plugins.len() > ours.len(), "it names no plugin that makes a network");
    let wanted = serde_json::to_string(entry)?;
    if let [at] = ours[..]
        && at > 0
    {
        let is_same = serde_json::from_str::<Value>(plugins[at].get())? == serde_json::to_value(entry)?;
        let there = span(text, plugins[at]);
        return Ok(if is_same { text.to_owned() } else { spliced(text, there, &wanted) });
    }
    if !ours.is_empty() {
        return chain(&without(text)?, entry);
    }
    let last = span(text, plugins[plugins.len() - 1]);
    let before = &text[..last.start];
    let indent = &before[before.trim_end_matches(JSON_SPACE).len()..];
    Ok(spliced(text, last.end..last.end, &format!(",{indent}{wanted}")))
}

const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The list without any entry of ours: after [`chain`], what was there before it.
///
/// # Errors
/// When it is no list.
pub(super) fn without(text: &str) -> Result<String> {
    let list = List::parse(text)?;
    let Some(&at) = list.ours().first() else { return Ok(text.to_owned()) };
    let spans: Vec<_> = list.plugins.iter().flatten().map(|plugin| span(text, plugin)).collect();
    let cut = if at > 0 {
        spans[at - 1].end..spans[at].end
    } else {
        spans[at].start..spans.get(1).map_or(spans[at].end, |next| next.start)
    };
    without(&spliced(text, cut, ""))
}

/// A list of a single plugin's file and our entry, as the runtime would make one of the file alone
/// (libcni/conf.go: ConfListFromConf).
///
/// # Errors
/// When a runtime could not read the file, or our entry cannot be behind it.
pub(super) fn wrap(text: &str, entry: &Entry) -> Result<String> {
    let single = single(text)?;
    let version = single.version.as_deref().unwrap_or("missing");
    check_versions(&[version])?;
    ensure!(!single.name.is_empty(), "it gives its network no name");
    ensure!(single.kind != TYPE, "it names no plugin that makes a network");
    let (version, name) = (Value::from(version), Value::from(single.name));
    let (text, entry) = (text.trim_matches(JSON_SPACE), serde_json::to_string(entry)?);
    Ok(format!("{{\"cniVersion\":{version},\"name\":{name},\"plugins\":[{text},{entry}]}}\n"))
}

/// # Errors
/// When a runtime could not read it either.
pub(super) fn check_single(text: &str) -> Result<()> {
    single(text).map(drop)
}

fn single(text: &str) -> Result<Single> {
    let single: Single = serde_json::from_str(text).context("it is no plugin's configuration")?;
    ensure!(!single.kind.is_empty(), "its type is empty");
    Ok(single)
}

/// Where a part of `text` is in it.
fn span(text: &str, part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.get().len()
}

fn spliced(text: &str, span: Range<usize>, instead: &str) -> String {
    [&text[..span.start], instead, &text[span.end..]].concat()
}

#[cfg(test)]
mod tests {
    use proxy_cni::entry::FailurePolicy;
    use rstest::rstest;

    use super::*;

    fn ours() -> String {
        serde_json::to_string(&Entry::default()).unwrap()
    }

    fn other() -> String {
        let other = Entry { failure_policy: FailurePolicy::Open, ..Entry::default() };
        serde_json::to_string(&other).unwrap()
    }

    fn list(plugins: &str) -> String {
        format!(r#"{{"cniVersion":"1.0.0","name":"n","plugins":[{plugins}]}}"#)
    }

    const PRETTY: &str = "{\n  \"plugins\": [\n    {\"type\": \"bridge\", \"mtu\": 1.50e3},\n    {\n      \"type\": \
                          \"portmap\"\n    }\n  ],\n  \"zeta\": [1,  2],\n  \"cniVersion\": \"0.3.1\", \"name\": \"a/b\"\n}\n";

    #[test]
    fn what_is_not_ours_stays_to_the_byte() {
        let chained = chain(PRETTY, &Entry::default()).unwrap();
        let behind = "{\n      \"type\": \"portmap\"\n    }";
        assert_eq!(chained, PRETTY.replace(behind, &format!("{behind},\n    {}", ours())));
        assert_eq!(chain(&chained, &Entry::default()).unwrap(), chained);
        assert_eq!(without(&chained).unwrap(), PRETTY);
    }

    #[rstest]
    #[case("0.3.0")]
    #[case("0.3.1")]
    #[case("0.4.0")]
    #[case("1.0.0")]
    #[case("1.1.0")]
    fn every_version_stays(#[case] version: &str) {
        let text = list(r#"{"type":"a"}"#).replace("1.0.0", version);
        let chained = chain(&text, &Entry::default()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&chained).unwrap()["cniVersion"], version);
        assert_eq!(without(&chained).unwrap(), text);
    }

    #[test]
    fn an_entry_that_differs_is_replaced_where_it_is() {
        let text = list(&format!(r#"{{"type":"a"}}, {} ,{{"type":"b"}}"#, other()));
        let chained = chain(&text, &Entry::default()).unwrap();
        assert_eq!(chained, text.replace(&other(), &ours()));
    }

    #[test]
    fn an_entry_that_says_the_same_stays_as_somebody_has_formatted_it() {
        let pretty = serde_json::to_string_pretty(&serde_json::to_value(Entry::default()).unwrap()).unwrap();
        let text = list(&format!(r#"{{"type":"a"}},{pretty},{{"type":"b"}}"#));
        assert_eq!(chain(&text, &Entry::default()).unwrap(), text);
    }

    #[rstest]
    #[case::twice("{A},{O},{O}")]
    #[case::first("{O}, {A}")]
    #[case::first_and_last("{O},{A}, {O}")]
    #[case::three_times("{O},{A},{O},{O}")]
    fn of_several_entries_or_one_in_front_one_at_the_end_is_left(#[case] plugins: &str) {
        let fill = |text: &str| list(&text.replace("{A}", r#"{"type":"a"}"#).replace("{O}", &ours()));
        assert_eq!(chain(&fill(plugins), &Entry::default()).unwrap(), fill("{A},{O}"));
        assert_eq!(without(&fill(plugins)).unwrap(), fill("{A}"));
    }

    #[rstest]
    #[case::half(
        "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{\"type\":\"a\"}",
        "no list of plugins"
    )]
    #[case::empty("", "no list of plugins")]
    #[case::no_name(r#"{"cniVersion":"1.0.0","plugins":[{"type":"a"}]}"#, "no list of plugins")]
    #[case::no_type(r#"{"cniVersion":"1.0.0","name":"n","plugins":[{}]}"#, "has no type")]
    #[case::no_plugins(r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#, "names no plugin")]
    #[case::of_files_alone(r#"{"cniVersion":"1.0.0","name":"n"}"#, "names no plugin")]
    #[case::ours_alone(
        r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"sidestep-cni"}]}"#,
        "names no plugin"
    )]
    #[case::old(r#"{"cniVersion":"0.2.0","name":"n","plugins":[{"type":"a"}]}"#, "its cniVersion is 0.2.0")]
    #[case::no_version(r#"{"name":"n","plugins":[{"type":"a"}]}"#, "its cniVersion is missing")]
    #[case::one_of_several(
        r#"{"cniVersions":["1.0.0","1.9.0"],"name":"n","plugins":[{"type":"a"}]}"#,
        "is 1.9.0"
    )]
    fn a_list_that_it_cannot_be_in_stays(#[case] text: &str, #[case] why: &str) {
        let fault = format!("{:#}", chain(text, &Entry::default()).unwrap_err());
        assert!(fault.contains(why), "{fault}");
    }

    #[test]
    fn versions_may_be_several() {
        let text = r#"{"cniVersions":["0.4.0","1.1.0"],"name":"n","plugins":[{"type":"a"}]}"#;
        assert!(chain(text, &Entry::default()).is_ok());
    }

    #[rstest]
    #[case("", true)]
    #[case(r#","loadOnlyInlinedPlugins":false"#, true)]
    #[case(r#","loadOnlyInlinedPlugins":true"#, false)]
    #[case(r#","loadOnlyInlinedPlugins":"True""#, false)]
    fn a_list_may_not_want_other_files(#[case] key: &str, #[case] takes: bool) {
        let text = format!(r#"{{"name":"n"{key}}}"#);
        assert_eq!(List::parse(&text).unwrap().takes_drop_ins(), takes);
    }

    #[test]
    fn a_single_plugin_becomes_a_list_as_the_runtime_makes_one() {
        let text = "\n{ \"type\": \"a\", \"cniVersion\": \"0.4.0\", \"name\": \"n\\\"\" }\n";
        let expected =
            format!(r#"{{"cniVersion":"0.4.0","name":"n\"","plugins":[{},{}]}}"#, text.trim(), ours());
        assert_eq!(wrap(text, &Entry::default()).unwrap().trim_end(), expected);
    }

    #[rstest]
    #[case::no_name(r#"{"cniVersion":"1.0.0","type":"a"}"#, "no name")]
    #[case::no_type(r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#, "no plugin's configuration")]
    #[case::ours(r#"{"cniVersion":"1.0.0","name":"n","type":"sidestep-cni"}"#, "names no plugin")]
    #[case::old(r#"{"name":"n","type":"a"}"#, "its cniVersion is missing")]
    fn a_single_plugin_that_cannot_be_chained(#[case] text: &str, #[case] why: &str) {
        let fault = format!("{:#}", wrap(text, &Entry::default()).unwrap_err());
        assert!(fault.contains(why), "{fault}");
    }
}

#[cfg(test)]
mod fuzz;
