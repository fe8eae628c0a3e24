//! What is given: one table of values by setting, whoever gave them. Flags come before variables, and variables of the
//! process before those of files.

use std::{collections::BTreeMap, path::PathBuf};

use tracing::warn;

use super::{
    Environment,
    go_value::{items, parse_bool},
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
    /// switch `--name` or `--name=false`; `-nb80` is `-n -b80`. Other words are left out, as istio-iptables does, and
    /// said. For who has the words and no command line: a pod's init container, a test.
    pub fn from_words<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Result<Self, String> {
        let mut given = Self::default();
        let mut words = words.into_iter();
        let mut no_flags = Vec::new();
        while let Some(word) = words.next() {
            let word = word.as_ref();
            if word == "--" {
                no_flags.extend(words.map(|word| word.as_ref().to_owned()));
                break;
            }
            if !word.starts_with('-') || word == "-" {
                no_flags.push(word.to_owned());
                continue;
            }
            let mut word = word.to_owned();
            loop {
                let (setting, attached) = split(&word).ok_or_else(|| {
                    format!("{word:?} is no flag of istio-iptables; `sidestep rules --help` lists them")
                })?;
                match (attached, setting.kind) {
                    (Some(Attached::Letters(more)), Kind::Switch) => {
                        given.add_flag(setting, "true");
                        word = format!("-{more}");
                        continue;
                    }
                    (Some(Attached::Value(text) | Attached::Letters(text)), _) => {
                        given.add_flag(setting, text);
                    }
                    (None, Kind::Switch) => given.add_flag(setting, "true"),
                    (None, _) => {
                        let text =
                            words.next().ok_or_else(|| format!("{word} has no value; write {word} VALUE"))?;
                        given.add_flag(setting, text.as_ref());
                    }
                }
                break;
            }
        }
        warn_of_words(&no_flags);
        Ok(given)
    }
}

/// Says which words of a command line mean nothing. istio-iptables ignores them without a word, among them the `true` of
/// `--redirect-dns true` and, which is worse, the `false` of `--dual-stack false`.
pub fn warn_of_words(words: &[String]) {
    for word in words {
        warn!("{}", about_word(word));
    }
}

fn about_word(word: &str) -> String {
    let mut text = format!("{word:?} is no flag and ignored, as istio-iptables ignores it");
    if parse_bool(word).is_some() {
        text.push_str(&format!(
            "; a switch without = is true: write --redirect-dns={word} where {word} is its value"
        ));
    } else if word.starts_with("clean") {
        text.push_str("; --cleanup-only removes what is attached");
    }
    text
}

/// What stands behind a flag in the same word.
enum Attached<'a> {
    /// After `=`.
    Value(&'a str),
    /// After the letter of a short flag: its value, or more letters.
    Letters(&'a str),
}

/// The setting a word names, and the value in the same word.
fn split(word: &str) -> Option<(&'static Setting, Option<Attached<'_>>)> {
    let find = |is: &dyn Fn(&Setting) -> bool| ISTIO.iter().copied().find(|setting| is(setting));
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(Attached::Value(value))),
            None => (long, None),
        };
        return Some((find(&|setting| !name.is_empty() && setting.flag == name)?, value));
    }
    let mut rest = word.strip_prefix('-')?.chars();
    let short = rest.next()?;
    let setting = find(&|setting| setting.short == Some(short))?;
    let rest = rest.as_str();
    let attached = match rest.strip_prefix('=') {
        Some(value) => Some(Attached::Value(value)),
        None => (!rest.is_empty()).then_some(Attached::Letters(rest)),
    };
    Some((setting, attached))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting::{DNS_SERVER, DRY_RUN, INBOUND_PORTS, REDIRECT_DNS};

    #[test]
    fn words_as_pflag_reads_them() {
        for words in [["-b", "80"].as_slice(), &["-b80"], &["-b=80"], &["--istio-inbound-ports=80"]] {
            let given = Given::from_words(words).unwrap();
            assert_eq!(given.text(&INBOUND_PORTS), Some("80"), "{words:?}");
        }
        let given = Given::from_words(["--dns-server", "a", "--redirect-dns", "--dns-server=b"]).unwrap();
        assert_eq!(given.items(&DNS_SERVER), ["a", "b"]);
        assert_eq!(given.text(&REDIRECT_DNS), Some("true"));
        let both = Given::from_words(["-nb80"]).unwrap();
        assert_eq!((both.text(&INBOUND_PORTS), both.text(&DRY_RUN)), (Some("80"), Some("true")));
        assert_eq!(Given::from_words(["-nb", "80"]), Ok(both));
        for (words, says) in
            [("-y", "no flag"), ("-ny", "no flag"), ("-b", "no value"), ("--nope=1", "no flag")]
        {
            assert!(Given::from_words([words]).unwrap_err().contains(says), "{words}");
        }
    }

    #[test]
    fn words_that_are_no_flags_are_ignored() {
        let with = |words: &[&str]| Given::from_words(words).unwrap();
        assert_eq!(with(&["init", "-b", "80", "-"]), with(&["-b", "80"]));
        assert_eq!(with(&["--dual-stack", "false"]), with(&["--dual-stack=true"]));
        assert_eq!(with(&["-b", "80", "--", "-b", "81"]), with(&["-b", "80"]));
        assert!(about_word("false").contains("write --redirect-dns=false"));
        assert!(about_word("clean").contains("--cleanup-only"));
        assert_eq!(about_word("init"), "\"init\" is no flag and ignored, as istio-iptables ignores it");
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
