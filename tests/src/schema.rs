//! JSON Schema, as much of it as `docs/schema` uses: type, enum, const, properties, required, items, additionalProperties.
//! A field the schema does not name is a fault here: it is not documented.

use serde_json::Value;

/// What is wrong with a value, each with its place.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, "", &mut found);
    found
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(only) = schema.get("const")
        && only != value
    {
        found.push(format!("{at}: {value} is not {only}"));
    }
    if let Some(Value::Array(values)) = schema.get("enum")
        && !values.contains(value)
    {
        found.push(format!("{at}: {value} is none of {values:?}"));
    }
    if !types(schema).iter().any(|kind| is(kind, value)) {
        found.push(format!("{at}: {value} is no {:?}", types(schema)));
        return;
    }
    match value {
        Value::Object(fields) => {
            for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !fields.contains_key(required) {
                    found.push(format!("{at}: {required} is missing"));
                }
            }
            for (name, field) in fields {
                let place = format!("{at}/{name}");
                match schema["properties"].get(name).or_else(|| schema.get("additionalProperties")) {
                    Some(of @ Value::Object(_)) => check(of, field, &place, found),
                    _ => found.push(format!("{place}: not in the schema")),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(&schema["items"], item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => {
            kind == "number" || kind == "integer" && (number.is_u64() || number.is_i64())
        }
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_wrong_or_not_named_is_a_fault() {
        let schema = json!({
            "type": "object", "required": ["a"],
            "properties": {
                "a": {"type": ["integer", "null"]},
                "b": {"type": "array", "items": {"enum": ["x"], "type": "string"}},
                "c": {"type": "object", "additionalProperties": {"type": "boolean"}},
            },
        });
        let of = |value: Value| faults(&schema, &value).len();
        assert_eq!(of(json!({"a": null, "b": ["x"], "c": {"any": true}})), 0);
        assert_eq!(of(json!({})), 1);
        assert_eq!(of(json!({"a": 1.5})), 1);
        assert_eq!(of(json!({"a": 1, "b": ["y", 2]})), 3);
        assert_eq!(of(json!({"a": 1, "c": {"any": 1}, "d": 1})), 2);
    }
}
