//! Gemini's schemas are a subset of OpenAPI 3.0 with types in capitals; here they become JSON Schema that means the same.
//!
//! What says nothing about a document (order, examples, formats of numbers) is left out; what is not known is kept, so that
//! the compiler of schemas has the last word on it.

use serde_json::{Map, Value as Json};

use crate::json::Value;

/// The schema as JSON Schema text. `schema` has been read as strict JSON of bounded depth.
pub(super) fn to_json_schema(schema: Value<'_>) -> String {
    let parsed = serde_json::from_slice(schema.raw()).unwrap_or(Json::Null);
    convert(parsed).to_string()
}

fn convert(schema: Json) -> Json {
    let Json::Object(members) = schema else { return schema };
    let mut out = Map::new();
    let mut nullable = false;
    for (name, value) in members {
        match name.as_str() {
            "type" => {
                if let Some(kind) = kind(&value) {
                    out.insert(name, kind);
                }
            }
            "nullable" => nullable = value == Json::Bool(true),
            "properties" | "defs" | "$defs" => {
                let name = if name == "defs" { "$defs".to_owned() } else { name };
                out.insert(name, convert_members(value));
            }
            "items" | "additionalProperties" => drop(out.insert(name, convert(value))),
            "additional_properties" => drop(out.insert("additionalProperties".into(), convert(value))),
            "anyOf" | "any_of" => drop(out.insert("anyOf".into(), convert_elements(value))),
            "prefixItems" | "prefix_items" => drop(out.insert("prefixItems".into(), convert_elements(value))),
            "ref" => drop(out.insert("$ref".into(), value)),
            // The protocol writes 64-bit counts as strings.
            "minItems" | "min_items" => count(&mut out, "minItems", value),
            "maxItems" | "max_items" => count(&mut out, "maxItems", value),
            "minLength" | "min_length" => count(&mut out, "minLength", value),
            "maxLength" | "max_length" => count(&mut out, "maxLength", value),
            "minProperties" | "min_properties" => count(&mut out, "minProperties", value),
            "maxProperties" | "max_properties" => count(&mut out, "maxProperties", value),
            "format" if !matches!(value.as_str(), Some("date-time" | "date" | "time" | "duration")) => {}
            "propertyOrdering" | "property_ordering" | "example" => {}
            _ => drop(out.insert(name, value)),
        }
    }
    if nullable {
        admit_null(&mut out);
    }
    Json::Object(out)
}

/// The type in JSON Schema's words; nothing where none is meant.
fn kind(value: &Json) -> Option<Json> {
    const BY_NUMBER: [&str; 8] = ["", "string", "number", "integer", "boolean", "array", "object", "null"];
    let name = match value {
        Json::String(name) => name.to_ascii_lowercase(),
        Json::Number(number) => {
            let index = number.as_u64().and_then(|n| usize::try_from(n).ok())?;
            (*BY_NUMBER.get(index)?).to_owned()
        }
        other => return Some(other.clone()),
    };
    (!name.is_empty() && name != "type_unspecified").then_some(Json::String(name))
}

fn convert_members(value: Json) -> Json {
    match value {
        Json::Object(members) => members.into_iter().map(|(name, schema)| (name, convert(schema))).collect(),
        other => other,
    }
}

fn convert_elements(value: Json) -> Json {
    match value {
        Json::Array(elements) => elements.into_iter().map(convert).collect(),
        other => other,
    }
}

fn count(out: &mut Map<String, Json>, name: &str, value: Json) {
    let number = value.as_str().and_then(|text| text.parse::<u64>().ok()).map(Json::from);
    out.insert(name.to_owned(), number.unwrap_or(value));
}

/// OpenAPI's `nullable`: null is one more type, one more alternative and one more value.
fn admit_null(schema: &mut Map<String, Json>) {
    if let Some(kind) = schema.get_mut("type") {
        *kind = Json::Array(vec![kind.take(), "null".into()]);
    }
    if let Some(Json::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Json::Null)
    {
        values.push(Json::Null);
    }
    if let Some(Json::Array(alternatives)) = schema.get_mut("anyOf") {
        alternatives.push(serde_json::json!({"type": "null"}));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::{Doc, Limits};

    fn converted(schema: &Json) -> Json {
        let text = schema.to_string();
        let doc = Doc::parse(text.as_bytes(), Limits::default()).unwrap();
        serde_json::from_str(&to_json_schema(doc.root(text.as_bytes()))).unwrap()
    }

    #[test]
    fn a_schema_means_the_same_as_json_schema() {
        for (gemini, schema) in [
            (json!({"type": "STRING"}), json!({"type": "string"})),
            (json!({"type": "string", "format": "enum", "enum": ["a"]}), json!({"type": "string", "enum": ["a"]})),
            (json!({"type": 3, "format": "int64"}), json!({"type": "integer"})),
            (json!({"type": "TYPE_UNSPECIFIED"}), json!({})),
            (json!({"type": "STRING", "format": "date-time"}), json!({"type": "string", "format": "date-time"})),
            (
                json!({"type": "STRING", "nullable": true, "enum": ["a", "b"]}),
                json!({"type": ["string", "null"], "enum": ["a", "b", null]}),
            ),
            (
                json!({"any_of": [{"type": "NUMBER"}], "nullable": true}),
                json!({"anyOf": [{"type": "number"}, {"type": "null"}]}),
            ),
            (
                json!({"type": "OBJECT", "required": ["type"], "propertyOrdering": ["type"], "properties": {
                    "type": {"type": "ARRAY", "items": {"type": "BOOLEAN"}, "minItems": "1", "max_items": 3},
                    "nullable": {"type": "STRING", "pattern": "^a", "example": "a", "description": "d"}}}),
                json!({"type": "object", "required": ["type"], "properties": {
                    "type": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
                    "nullable": {"type": "string", "pattern": "^a", "description": "d"}}}),
            ),
            (
                json!({"defs": {"a": {"type": "NULL"}}, "ref": "#/$defs/a", "additionalProperties": false}),
                json!({"$defs": {"a": {"type": "null"}}, "$ref": "#/$defs/a", "additionalProperties": false}),
            ),
            (json!(true), json!(true)),
            (
                json!({"type": ["STRING"], "unheard": {"type": "STRING"}}),
                json!({"type": ["STRING"], "unheard": {"type": "STRING"}}),
            ),
        ] {
            assert_eq!(converted(&gemini), schema, "{gemini}");
        }
    }
}
