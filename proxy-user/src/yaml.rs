//! JSON values as YAML 1.2: strings as JSON writes them, which YAML reads alike.

use std::fmt::Write as _;

use serde_json::Value;

const INDENT: &str = "  ";

/// A document, with its line break.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::from("---\n");
    write(&mut text, value, 0);
    text
}

fn write(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                indent(text, depth);
                text.push_str(&key(name));
                text.push_str(if is_nested(field) { ":\n" } else { ": " });
                write(text, field, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(text, depth);
                text.push_str(if item.is_array() && is_nested(item) { "-\n" } else { "- " });
                let at = text.len();
                write(text, item, depth + 1);
                if item.is_object() && is_nested(item) {
                    // The first field stands behind the dash, which is as wide as its indentation.
                    text.drain(at..at + INDENT.len() * (depth + 1));
                }
            }
        }
        // Scalars and empty collections are the same in both.
        other => {
            let _ = writeln!(text, "{other}");
        }
    }
}

/// Whether it takes lines of its own.
fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// Plain where it cannot be taken for anything else.
fn key(name: &str) -> String {
    const OTHERWISE: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !OTHERWISE.contains(&name.to_ascii_lowercase().as_str());
    if plain { name.to_owned() } else { Value::from(name).to_string() }
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n(INDENT, depth));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_nested_by_indentation() {
        let value =
            json!({"schema": 1, "on": true, "list": [1, {"a": "x: \"y\"", "b": []}, [2, 3]], "none": {}});
        let text = document(&value);
        assert_eq!(
            text,
            "---\nlist:\n  - 1\n  - a: \"x: \\\"y\\\"\"\n    b: []\n  -\n    - 2\n    - 3\nnone: {}\n\"on\": true\nschema: 1\n"
        );
    }
}
