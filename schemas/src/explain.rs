//! Says where a document breaks its schema, without a word of the document.

use jsonschema::ValidationError;
use serde_json::Value;

use crate::contract::Contract;
use crate::locate::{self, Segment};
use crate::syntax::Syntax;
use crate::violation::{Violation, ViolationKind};

impl Contract {
    /// What is wrong with a whole document, the first `max` things of it in no particular order: for whoever is to write it anew.
    /// Empty if the schema accepts it, if it is no JSON, or if looking for the places would cost too much.
    #[must_use]
    pub fn violations(&self, text: &str, max: usize) -> Vec<Violation> {
        let mut syntax = Syntax::new(&self.limits);
        let read = syntax.feed(text, &mut ()).and_then(|()| syntax.finish(text, &mut ()));
        let (values, deepest) = (syntax.values().max(1), syntax.deepest());
        if read.is_err() || !self.affords(values, deepest) || !self.can_explain(values, deepest) {
            return Vec::new();
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else { return Vec::new() };
        self.authority.iter_errors(&value).take(max).map(|error| self.explained(text, &value, &error)).collect()
    }

    pub(crate) fn explained(&self, text: &str, value: &Value, error: &ValidationError<'_>) -> Violation {
        let path = segments(value, error.instance_path().as_str());
        let at = locate::offset(text, &path) as u64;
        Violation {
            at,
            found_at: text.len() as u64,
            kind: ViolationKind::Schema,
            instance_path: self.masked(&path),
            schema_path: error.schema_path().as_str().to_owned(),
            keyword: Some(keyword(error)),
            early: false,
        }
    }

    /// The path as a JSON Pointer in which names that the schema does not mention are `*`.
    pub(crate) fn masked(&self, path: &[Segment]) -> String {
        let mut pointer = String::new();
        for segment in path {
            pointer.push('/');
            match segment {
                Segment::Index(index) => pointer.push_str(&index.to_string()),
                Segment::Name(name) if self.analysis.names.contains(name.as_str()) => {
                    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                }
                Segment::Name(_) => pointer.push('*'),
            }
        }
        pointer
    }
}

/// The steps of a JSON Pointer. Whether `0` is a name or an index depends on the value that it leads into.
fn segments(value: &Value, pointer: &str) -> Vec<Segment> {
    let mut here = Some(value);
    let mut path = Vec::new();
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        match (here, name.parse()) {
            (Some(Value::Array(items)), Ok(index)) => {
                here = items.get(index);
                path.push(Segment::Index(index));
            }
            _ => {
                here = here.and_then(|value| value.get(name.as_str()));
                path.push(Segment::Name(name));
            }
        }
    }
    path
}

/// Every keyword by which the authority refuses a value.
const KEYWORDS: &[&str] = &[
    "additionalItems",
    "additionalProperties",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "propertyNames",
    "required",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "$ref",
];

/// The keyword of an error, as a word of our own rather than of the error. The schema `false` has none and is `false`.
pub(crate) fn keyword(error: &ValidationError<'_>) -> &'static str {
    let name = error.kind().keyword();
    KEYWORDS.iter().find(|&&known| known == name).copied().unwrap_or("false")
}
