//! Pod annotations in a file: a JSON object, or the lines the downward API writes.

use std::collections::BTreeMap;

use super::{fault::ConfigFaults, setting::ANNOTATIONS};

const FORM: &str = "write a JSON object of strings, or lines key=\"value\" as the downward API does";

/// Reads a file's text. `shown` is how messages call the file.
pub fn parse_annotations(shown: &str, text: &str) -> Result<BTreeMap<String, String>, ConfigFaults> {
    let mut faults = ConfigFaults::default();
    let found = if text.trim_start().starts_with('{') {
        json(shown, text, &mut faults)
    } else {
        lines(shown, text, &mut faults)
    };
    faults.or(found)
}

fn json(shown: &str, text: &str, faults: &mut ConfigFaults) -> BTreeMap<String, String> {
    let object: BTreeMap<String, serde_json::Value> = match serde_json::from_str(text) {
        Ok(object) => object,
        Err(error) => {
            faults.add(ANNOTATIONS.fault(shown, format!("is no JSON object: {error}"), FORM));
            return BTreeMap::new();
        }
    };
    let mut found = BTreeMap::new();
    for (key, value) in object {
        match value {
            serde_json::Value::String(value) => {
                found.insert(key, value);
            }
            other => faults.add(ANNOTATIONS.fault(
                shown,
                format!("{key} is {other}, and annotations are strings"),
                "put the value in quotes; of a whole pod, give metadata.annotations only",
            )),
        }
    }
    found
}

fn lines(shown: &str, text: &str, faults: &mut ConfigFaults) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parsed = match line.split_once('=') {
            None => Err("has no = sign"),
            Some((key, value)) => unquote(value.trim()).map(|value| (key.trim().to_owned(), value)),
        };
        match parsed {
            Ok((key, value)) => {
                found.insert(key, value);
            }
            Err(reason) => {
                faults.add(ANNOTATIONS.fault(shown, format!("line {}: {reason}", number + 1), FORM))
            }
        }
    }
    found
}

/// strconv.Unquote of what strconv.Quote wrote (pkg/fieldpath: FormatMap).
fn unquote(text: &str) -> Result<String, &'static str> {
    const ESCAPE: &str = "has an escape that Go's %q does not write";
    let inner =
        text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or("has a value without quotes")?;
    let mut bytes = Vec::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let mut push = |c: char| bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        match c {
            '"' => return Err("has a quote inside the value"),
            '\\' => match chars.next().ok_or("ends in a backslash")? {
                c @ ('"' | '\\' | '\'') => push(c),
                'a' => push('\u{7}'),
                'b' => push('\u{8}'),
                'f' => push('\u{c}'),
                'n' => push('\n'),
                'r' => push('\r'),
                't' => push('\t'),
                'v' => push('\u{b}'),
                'x' => bytes.push(u8::try_from(hex(&mut chars, 2).ok_or(ESCAPE)?).map_err(|_| ESCAPE)?),
                'u' => push(hex(&mut chars, 4).and_then(char::from_u32).ok_or(ESCAPE)?),
                'U' => push(hex(&mut chars, 8).and_then(char::from_u32).ok_or(ESCAPE)?),
                _ => return Err(ESCAPE),
            },
            c => push(c),
        }
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8")
}

fn hex(chars: &mut std::str::Chars<'_>, digits: usize) -> Option<u32> {
    let text: String = chars.by_ref().take(digits).collect();
    let whole = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if whole { u32::from_str_radix(&text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let json = r#"{ "a.io/x": "1,2", "b": "say \"hi\"\n" }"#;
        let lines = "a.io/x=\"1,2\"\nb=\"say \\\"hi\\\"\\n\"\n\n";
        let found = parse_annotations("-", json).unwrap();
        assert_eq!(found, parse_annotations("-", lines).unwrap());
        assert_eq!(found["b"], "say \"hi\"\n");
        assert!(parse_annotations("-", "").unwrap().is_empty());
    }

    #[test]
    fn escapes_of_go() {
        let found = parse_annotations("-", r#"a="\x41\u00e9\U0001f600\t""#).unwrap();
        assert_eq!(found["a"], "A\u{e9}\u{1f600}\t");
    }

    #[rstest]
    #[case::number(r#"{"a": 1}"#, "annotations are strings")]
    #[case::pod(r#"{"metadata": {}}"#, "metadata.annotations only")]
    #[case::broken("{", "no JSON object")]
    #[case::bare("a=b", "without quotes")]
    #[case::no_value("a", "no = sign")]
    #[case::quote(r#"a="b"c""#, "a quote inside")]
    #[case::escape(r#"a="\q""#, "escape")]
    #[case::short_hex(r#"a="\x4""#, "escape")]
    fn refused(#[case] text: &str, #[case] says: &str) {
        let faults = parse_annotations("pod.json", text).unwrap_err().to_string();
        assert!(faults.contains(says) && faults.contains("pod.json"), "{faults}");
    }

    #[test]
    fn every_faulty_line_is_named() {
        let ConfigFaults(faults) = parse_annotations("-", "a\nb=\"1\"\nc=2\n").unwrap_err();
        assert_eq!(faults.len(), 2);
        assert!(faults[1].reason.starts_with("line 3"));
    }
}
