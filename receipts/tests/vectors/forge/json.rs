//! Canonical JSON: members by name, no spaces.

use serde_json::Value;

pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    sorted(value).to_string().into_bytes()
}

/// The same value with the members of every object by name.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(name, member)| (name.clone(), sorted(member))).collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(members.into_iter().collect())
        }
        other => other.clone(),
    }
}

/// Adds the members of one object to another; `null` takes a member away.
pub(crate) fn merge(into: &mut Value, members: &Value) {
    let object = into.as_object_mut().unwrap();
    for (name, member) in members.as_object().unwrap() {
        if member.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), member.clone());
        }
    }
}
