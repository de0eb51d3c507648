//! Does a schema lead back to itself without a step into the document? Such a schema asks of a value only what it asks of it
//! already, or the contrary; JSON Schema gives that no meaning (2020-12 core §9.4.1).

use std::collections::HashMap;

use serde_json::Value;

/// Keywords whose schemas the same value must keep, or not keep.
const IN_PLACE: [&str; 9] =
    ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"];

#[derive(Clone, Copy, PartialEq)]
enum Seen {
    OnTheWay,
    Done,
}

/// Whether some way through references and the keywords above ends where it began. References are followed as far as they are
/// pointers; anchors and other documents are not.
pub(crate) fn has_loop(root: &Value) -> bool {
    let mut starts = vec![root];
    let mut seen: HashMap<*const Value, Seen> = HashMap::new();
    while let Some(start) = starts.pop() {
        match start {
            Value::Object(members) => starts.extend(members.values()),
            Value::Array(items) => starts.extend(items),
            _ => continue,
        }
        if leads_back(root, start, &mut seen) {
            return true;
        }
    }
    false
}

fn leads_back<'a>(root: &'a Value, start: &'a Value, seen: &mut HashMap<*const Value, Seen>) -> bool {
    let mut way: Vec<(*const Value, Vec<&'a Value>)> = Vec::new();
    let mut next = Some(start);
    loop {
        if let Some(schema) = next.take() {
            let key = std::ptr::from_ref(schema);
            match seen.get(&key) {
                Some(Seen::OnTheWay) => return true,
                Some(Seen::Done) => {}
                None => {
                    seen.insert(key, Seen::OnTheWay);
                    way.push((key, below(root, schema)));
                }
            }
        }
        let Some((key, rest)) = way.last_mut() else { return false };
        next = rest.pop();
        if next.is_none() {
            seen.insert(*key, Seen::Done);
            way.pop();
        }
    }
}

fn below<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let Value::Object(members) = schema else { return Vec::new() };
    let reference = members.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    let mut below: Vec<&Value> = reference.and_then(|pointer| root.pointer(pointer)).into_iter().collect();
    for keyword in IN_PLACE {
        match members.get(keyword) {
            Some(Value::Array(schemas)) => below.extend(schemas),
            Some(Value::Object(schemas)) if keyword.starts_with("depend") => below.extend(schemas.values()),
            Some(schema) => below.push(schema),
            None => {}
        }
    }
    below
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn loops_are_told_from_recursion() {
        let defined =
            |schema: Value| json!({ "properties": { "a": { "$ref": "#/$defs/e" } }, "$defs": { "e": schema } });
        for looping in [
            json!({ "$ref": "#" }),
            defined(json!({ "oneOf": [{ "anyOf": [{ "$ref": "#/$defs/e" }] }, {}] })),
            defined(json!({ "not": { "$ref": "#/$defs/e" } })),
            defined(json!({ "dependentSchemas": { "x": { "allOf": [{ "$ref": "#/$defs/e" }] } } })),
        ] {
            assert!(has_loop(&looping), "{looping}");
        }
        for recursive in [
            defined(json!({ "oneOf": [{ "items": { "$ref": "#/$defs/e" } }, { "type": "null" }] })),
            json!({ "properties": { "a": { "$ref": "#" } } }),
            json!({ "allOf": [{ "$ref": "#/$defs/a" }, { "$ref": "#/$defs/a" }], "$defs": { "a": {} } }),
        ] {
            assert!(!has_loop(&recursive), "{recursive}");
        }
    }
}
