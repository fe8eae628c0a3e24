//! JSON values as YAML 1.2: strings as JSON writes them, which YAML reads alike.

use std::fmt::Write as _;

use serde_json::Value;

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
                write_field(text, name, field, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(text, depth);
                match item {
                    Value::Object(fields) if !fields.is_empty() => {
                        text.push_str("- ");
                        for (at, (name, field)) in fields.iter().enumerate() {
                            if at > 0 {
                                indent(text, depth + 1);
                            }
                            write_field(text, name, field, depth + 1);
                        }
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        text.push_str("-\n");
                        write(text, item, depth + 1);
                    }
                    // Scalars and empty collections are the same in both.
                    other => {
                        let _ = writeln!(text, "- {other}");
                    }
                }
            }
        }
        other => {
            let _ = writeln!(text, "{other}");
        }
    }
}

fn write_field(text: &mut String, name: &str, field: &Value, depth: usize) {
    let name = key(name);
    match field {
        Value::Object(fields) if !fields.is_empty() => {
            let _ = writeln!(text, "{name}:");
            write(text, field, depth + 1);
        }
        Value::Array(items) if !items.is_empty() => {
            let _ = writeln!(text, "{name}:");
            write(text, field, depth + 1);
        }
        other => {
            let _ = writeln!(text, "{name}: {other}");
        }
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
    text.extend(std::iter::repeat_n("  ", depth));
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
