//! What is given: one table of values by setting, whoever gave them. Flags come before variables, and variables of the
//! process before those of files.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    Environment,
    go_value::items,
    setting::{ISTIO, Kind, Setting},
};

/// A value as its source has it: written, or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// As it was written.
    Text(String),
    /// The items of a list, or the values of a repeated flag.
    Items(Vec<String>),
    Files(Vec<PathBuf>),
    Switch(bool),
    /// A uid or gid.
    Id(u32),
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    values: BTreeMap<&'static str, Value>,
}

impl Given {
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn get(&self, setting: &Setting) -> Option<&Value> {
        self.values.get(setting.name())
    }

    /// In place of what was given before.
    pub fn set(&mut self, setting: &Setting, value: Value) {
        self.values.insert(setting.name(), value);
    }

    /// Unless it is given.
    pub fn set_default(&mut self, setting: &Setting, value: impl FnOnce() -> Value) {
        self.values.entry(setting.name()).or_insert_with(value);
    }

    /// What a flag says: in place of the flag before it, or besides, as the setting's kind has it.
    pub fn add_flag(&mut self, setting: &Setting, text: &str) {
        let value = match (setting.kind, self.values.remove(setting.name())) {
            (Kind::Repeated, Some(Value::Items(mut all))) => {
                all.push(text.to_owned());
                Value::Items(all)
            }
            (Kind::Repeated, _) => Value::Items(vec![text.to_owned()]),
            (Kind::Files, Some(Value::Files(mut all))) => {
                all.push(text.into());
                Value::Files(all)
            }
            (Kind::Files, _) => Value::Files(vec![text.into()]),
            (Kind::Text | Kind::Value | Kind::Switch, _) => Value::Text(text.to_owned()),
        };
        self.set(setting, value);
    }

    /// What the variables say of settings that nothing was said of.
    pub(super) fn add_variables(&mut self, env: &Environment) {
        for setting in ISTIO {
            let counts = |text: &&str| !text.is_empty() || setting.kind == Kind::Text;
            if let Some(text) = env.get(setting).filter(counts) {
                self.set_default(setting, || Value::Text(text.to_owned()));
            }
        }
    }

    /// The text of a setting that nobody knows better than as text.
    pub(super) fn text(&self, setting: &Setting) -> Option<&str> {
        match self.get(setting)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; none is as good as an empty one.
    pub(super) fn items(&self, setting: &Setting) -> Vec<&str> {
        match self.get(setting) {
            Some(Value::Text(text)) => items(text).collect(),
            Some(Value::Items(items)) => items.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn files(&self, setting: &Setting) -> &[PathBuf] {
        match self.get(setting) {
            Some(Value::Files(files)) => files,
            _ => &[],
        }
    }

    /// Reads flags of istio-iptables as pflag does: `-b 80`, `-b80`, `-b=80`, `--name value`, `--name=value`, and of a
    /// switch `--name` or `--name=false`. For who has the words and no command line: a pod's init container, a test.
    pub fn from_words<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Result<Self, String> {
        let mut given = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let word = word.as_ref();
            let (setting, attached) = split(word).ok_or_else(|| {
                format!("{word:?} is no flag of istio-iptables; `sidestep rules --help` lists them")
            })?;
            match (attached, setting.kind) {
                (Some(text), _) => given.add_flag(setting, text),
                (None, Kind::Switch) => given.add_flag(setting, "true"),
                (None, _) => {
                    let text =
                        words.next().ok_or_else(|| format!("{word} has no value; write {word} VALUE"))?;
                    given.add_flag(setting, text.as_ref());
                }
            }
        }
        Ok(given)
    }
}

/// The setting a word names, and the value in the same word.
fn split(word: &str) -> Option<(&'static Setting, Option<&str>)> {
    let find = |is: &dyn Fn(&Setting) -> bool| ISTIO.iter().copied().find(|setting| is(setting));
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        return Some((find(&|setting| !name.is_empty() && setting.flag == name)?, value));
    }
    let mut rest = word.strip_prefix('-')?.chars();
    let short = rest.next()?;
    let setting = find(&|setting| setting.short == Some(short))?;
    let rest = rest.as_str();
    Some((setting, (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting::{DNS_SERVER, INBOUND_PORTS, REDIRECT_DNS};

    #[test]
    fn words_as_pflag_reads_them() {
        for words in [["-b", "80"].as_slice(), &["-b80"], &["-b=80"], &["--istio-inbound-ports=80"]] {
            let given = Given::from_words(words).unwrap();
            assert_eq!(given.text(&INBOUND_PORTS), Some("80"), "{words:?}");
        }
        let given = Given::from_words(["--dns-server", "a", "--redirect-dns", "--dns-server=b"]).unwrap();
        assert_eq!(given.items(&DNS_SERVER), ["a", "b"]);
        assert_eq!(given.text(&REDIRECT_DNS), Some("true"));
        for (words, says) in
            [("x", "no flag"), ("--", "no flag"), ("-b", "no value"), ("--nope=1", "no flag")]
        {
            assert!(Given::from_words([words]).unwrap_err().contains(says), "{words}");
        }
    }

    #[test]
    fn no_two_settings_have_a_name_in_common() {
        let all = || crate::config::setting::OWN.iter().chain(ISTIO);
        for names in [
            all().map(|setting| setting.flag.to_owned()).collect::<Vec<_>>(),
            all().filter_map(|setting| setting.short).map(String::from).collect(),
            all().flat_map(|setting| setting.env.iter().map(|name| (*name).to_owned())).collect(),
            all().map(|setting| setting.annotation.to_owned()).collect(),
        ] {
            let mut there: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
            there.sort();
            let count = there.len();
            there.dedup();
            assert_eq!(there.len(), count, "{there:?}");
        }
    }
}
