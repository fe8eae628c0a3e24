//! Values from a file, as a ConfigMap is mounted: it is read with each look, and what it says reaches pods that run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use proxy_core::config::{Choice, setting};
use serde::Deserialize;

use crate::{select::Term, values::Values};

const LONGEST: u64 = 1 << 20;

/// What the file may name, as the flags of `run` have it. What it does not name is as the flags say.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Said {
    select: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
    waits_for: Option<Vec<String>>,
    proxy_env: Option<BTreeMap<String, String>>,
    proxy_id: Option<u32>,
    accelerate: Option<String>,
    inflight_limit: Option<u32>,
    trust_program: Option<Vec<PathBuf>>,
    observe: Option<String>,
}

/// The values with what the file says in place of what they say.
///
/// # Errors
/// When it cannot be read, or one of its values is none: then nothing of it counts.
pub(crate) fn read(path: &Path, flags: &Values) -> Result<Values> {
    (|| {
        let next = "write a JSON object, such as {\"accelerate\": \"off\"}, or {} for nothing";
        let size = fs::metadata(path).context(next)?.len();
        ensure!(size <= LONGEST, "longer than {LONGEST} bytes");
        let said = serde_json::from_str(&fs::read_to_string(path)?).context(next)?;
        apply(said, flags.clone())
    })()
    .with_context(|| format!("--values {}", path.display()))
}

fn apply(said: Said, mut values: Values) -> Result<Values> {
    for (given, term, key) in [
        (said.select, &mut values.selection.select, "select"),
        (said.exclude, &mut values.selection.exclude, "exclude"),
    ] {
        if let Some(given) = given {
            *term = terms(&given).with_context(|| key.to_owned())?;
        }
    }
    if let Some(names) = said.waits_for {
        ensure!(!names.is_empty(), "waitsFor: without a name no pod would be captured; leave the key out");
        values.waits_for = names;
    }
    values.proxy_env = said.proxy_env.unwrap_or(values.proxy_env);
    values.proxy_id = said.proxy_id.or(values.proxy_id);
    if let Some(word) = said.accelerate {
        values.acceleration.mode = choice(setting::ACCELERATE.flag, &word)?;
    }
    values.acceleration.inflight_limit = said.inflight_limit.unwrap_or(values.acceleration.inflight_limit);
    values.acceleration.trusted = said.trust_program.unwrap_or(values.acceleration.trusted);
    if let Some(word) = said.observe {
        values.observe = choice(setting::OBSERVE.flag, &word)?;
    }
    Ok(values)
}

fn terms(texts: &[String]) -> Result<Vec<Term>> {
    texts.iter().map(|text| text.parse().with_context(|| format!("{text:?}"))).collect()
}

fn choice<T: Choice>(key: &str, word: &str) -> Result<T> {
    T::of_word(word).ok_or_else(|| {
        let words: Vec<&str> = T::ALL.iter().map(|(_, word, _)| *word).collect();
        anyhow!("{key} {word:?}: write one of {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proxy_core::config::{Accelerate, Observe};
    use rstest::rstest;

    use super::*;

    fn of(text: &str, flags: &Values) -> Result<Values> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        read(file.path(), flags)
    }

    #[test]
    fn what_it_names_counts_and_the_rest_is_as_the_flags_say() {
        let flags = Values { proxy_id: Some(1000), ..Values::default() };
        assert_eq!(of("{}", &flags).unwrap(), flags);
        let all = of(
            r#"{"select": ["shop/*"], "exclude": [], "waitsFor": ["wait"], "proxyEnv": {"A": "1"}, "proxyId": 7,
                "accelerate": "off", "inflightLimit": 65536, "trustProgram": ["/usr/sbin/nginx"], "observe": "off"}"#,
            &flags,
        )
        .unwrap();
        assert_eq!((all.acceleration.mode, all.observe), (Accelerate::Off, Observe::Off));
        assert_eq!((all.acceleration.inflight_limit, all.proxy_id), (65536, Some(7)));
        assert_eq!(all.selection.select, [Term::Namespace("shop".to_owned())]);
        assert_eq!((all.waits_for, all.proxy_env.len()), (vec!["wait".to_owned()], 1));
        assert_eq!(all.acceleration.trusted, [PathBuf::from("/usr/sbin/nginx")]);
    }

    #[rstest]
    #[case::no_json("accelerate: off", "JSON object")]
    #[case::unknown(r#"{"accelerated": "off"}"#, "unknown field `accelerated`")]
    #[case::word(r#"{"accelerate": "fast"}"#, "accelerate \"fast\": write one of safe-readers, ")]
    #[case::term(r#"{"select": ["shop"]}"#, "\"shop\": a namespace or a label?")]
    #[case::nobody_waits(r#"{"waitsFor": []}"#, "waitsFor")]
    fn wrong(#[case] text: &str, #[case] says: &str) {
        let error = format!("{:#}", of(text, &Values::default()).unwrap_err());
        assert!(error.contains(says) && error.contains("--values"), "{error}");
    }
}
