//! The environment variables settings are read from: the process', then those of `--env-file`s.

use std::{collections::HashMap, env, fs, path::Path};

use super::{
    fault::ConfigFaults,
    setting::{ENV_FILE, Setting},
};

/// Variables in layers, nearest first.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    layers: Vec<HashMap<String, String>>,
}

impl Environment {
    /// The variables of this process. Those that are not UTF-8 are none of Istio's and left out.
    pub fn of_process() -> Self {
        env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of the setting. A nearer layer wins; within one, the alias wins over the flag's own variable,
    /// because Istio applies it later (pkg/flag: AdditionalEnv).
    pub(super) fn get(&self, setting: &Setting) -> Option<&str> {
        self.layers
            .iter()
            .find_map(|layer| setting.env.iter().rev().find_map(|name| layer.get(*name)))
            .map(String::as_str)
    }

    /// One variable, nearest first.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.layers.iter().find_map(|layer| layer.get(name)).map(String::as_str)
    }

    /// Puts files behind what is already there; of two files the later one wins.
    pub(super) fn add_files<P: AsRef<Path>>(&mut self, paths: &[P], faults: &mut ConfigFaults) {
        let mut all = HashMap::new();
        for path in paths {
            let path = path.as_ref();
            let shown = path.display().to_string();
            match fs::read_to_string(path) {
                Ok(text) => all.extend(parse_env_file(&shown, &text, faults)),
                Err(error) => {
                    let reason = format!("cannot be read: {error}");
                    faults.add(ENV_FILE.fault(shown, reason, "give the path of a readable file"));
                }
            }
        }
        self.layers.push(all);
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let layer = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { layers: vec![layer] }
    }
}

/// Reads a file of shell assignments (sidecar.env, cluster.env). Only what needs no shell is understood: quotes,
/// backslashes, comments, `export`; anything that a shell would expand or run is a fault, never a guess.
fn parse_env_file(path: &str, text: &str, faults: &mut ConfigFaults) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match parse_line(line.trim()) {
            Ok(pair) => pairs.extend(pair),
            Err(reason) => faults.add(ENV_FILE.fault(
                path,
                format!("line {}: {reason}", number + 1),
                "write KEY=value, KEY='value' or a comment",
            )),
        }
    }
    pairs
}

fn parse_line(line: &str) -> Result<Option<(String, String)>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (line, exported) = match line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])) {
        Some(rest) => (rest.trim_start(), true),
        None => (line, false),
    };
    let (name, value) = match line.split_once('=') {
        Some(parts) => parts,
        // `export NAME` marks a variable that is assigned elsewhere.
        None if exported && is_name(line) => return Ok(None),
        None => return Err("is not an assignment"),
    };
    if !is_name(name) {
        return Err("is not an assignment to a variable name");
    }
    Ok(Some((name.to_owned(), unquote(value)?)))
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// One shell word, and nothing but a comment behind it.
fn unquote(text: &str) -> Result<String, &'static str> {
    const EXPANDS: &str = "has an expansion ($ or `), which is not evaluated";
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => loop {
                match chars.next().ok_or("has an unfinished quote")? {
                    '\'' => break,
                    c => value.push(c),
                }
            },
            '"' => loop {
                match chars.next().ok_or("has an unfinished quote")? {
                    '"' => break,
                    '$' | '`' => return Err(EXPANDS),
                    '\\' => match chars.next().ok_or("has an unfinished quote")? {
                        c @ ('$' | '`' | '"' | '\\') => value.push(c),
                        c => value.extend(['\\', c]),
                    },
                    c => value.push(c),
                }
            },
            '\\' => value.push(chars.next().ok_or("continues on the next line")?),
            '$' | '`' => return Err(EXPANDS),
            ';' | '&' | '|' | '<' | '>' | '(' | ')' => return Err("is more than an assignment"),
            c if c.is_whitespace() => {
                let rest = chars.as_str().trim_start();
                if rest.is_empty() || rest.starts_with('#') {
                    break;
                }
                return Err("has a second word behind the value");
            }
            c => value.push(c),
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("A=1", "A", "1")]
    #[case::star("A=*", "A", "*")]
    #[case::single("A='22,15090'", "A", "22,15090")]
    #[case::double(r#"A="a \" b""#, "A", "a \" b")]
    #[case::joined(r#"A=a'b c'"d"\ e"#, "A", "ab cd e")]
    #[case::empty("A=", "A", "")]
    #[case::quoted_empty("A=''", "A", "")]
    #[case::export("  export A='*'   # all", "A", "*")]
    #[case::hash_inside("A=a#b", "A", "a#b")]
    fn assignments(#[case] line: &str, #[case] name: &str, #[case] value: &str) {
        assert_eq!(parse_line(line.trim()), Ok(Some((name.to_owned(), value.to_owned()))));
    }

    #[rstest]
    #[case::command("set -e")]
    #[case::two_words("A=1 B=2")]
    #[case::expansion("A=$B")]
    #[case::substitution("A=`id`")]
    #[case::open_quote("A='1")]
    #[case::list("A=1; B=2")]
    #[case::bad_name("1A=2")]
    fn refused(#[case] line: &str) {
        assert!(parse_line(line).is_err());
    }

    #[test]
    fn nothing_to_assign() {
        for line in ["", "# A=1", "export A"] {
            assert_eq!(parse_line(line), Ok(None));
        }
    }
}
