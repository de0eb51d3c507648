//! `schemas`: which answers are held to which schema, and the schema files themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::files::SCHEMA_BYTES_MAX;
use crate::canonical;
use crate::diagnostic::{Code, Report, echo};
use crate::expr::{Compiler, ExprId, Programs, Scope};
use crate::model::{Action, SchemaRule, SchemaSource};
use crate::policy::LoadedSchema;
use crate::read::{Fields, Keys, Value};

/// Schemas of one policy.
const SCHEMAS_MAX: usize = 256;
/// Bytes of all schema files together.
const SCHEMA_BYTES_TOTAL_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a schema file's path.
const PATH_BYTES_MAX: usize = 512;
/// What stands for the schema that the client sends.
const FROM_REQUEST: &str = "from_request";

const SCHEMA: Keys =
    Keys { known: &["id", "match", "format", "schema", "on_violation"], unsupported: &["repair", "stream"] };

/// A schema section that waits for its expression.
#[derive(Debug)]
pub(super) struct PendingSchema {
    rule: SchemaRule,
    json: Option<Json>,
    when: Option<ExprId>,
}

/// The files that a policy may name, each read once.
pub(crate) struct SchemaFiles<'f> {
    read: &'f dyn Fn(&str) -> Result<String, String>,
    known: BTreeMap<String, (String, Json)>,
    bytes: usize,
}

impl fmt::Debug for SchemaFiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaFiles")
            .field("known", &self.known.keys())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl<'f> SchemaFiles<'f> {
    pub(crate) fn new(read: &'f dyn Fn(&str) -> Result<String, String>) -> Self {
        Self { read, known: BTreeMap::new(), bytes: 0 }
    }

    fn get(&mut self, path: &str) -> Result<(String, Json), String> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        check_path(path)?;
        let text = (self.read)(path)?;
        self.bytes = self.bytes.saturating_add(text.len());
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(format!("the file is over {SCHEMA_BYTES_MAX} bytes"));
        }
        if self.bytes > SCHEMA_BYTES_TOTAL_MAX {
            return Err(format!("the schemas are over {SCHEMA_BYTES_TOTAL_MAX} bytes together"));
        }
        let json = parse_json(&text)?;
        if !matches!(json, Json::Object(_) | Json::Bool(_)) {
            return Err("a JSON Schema is an object, true or false".to_owned());
        }
        let schema = (text, json);
        self.known.insert(path.to_owned(), schema.clone());
        Ok(schema)
    }
}

#[cfg(test)]
pub(super) const KEYS: [Keys; 1] = [SCHEMA];

pub(super) fn read(
    top: &Fields<'_>,
    files: &mut SchemaFiles<'_>,
    compiler: &mut Compiler,
    report: &mut Report<'_>,
) -> Vec<PendingSchema> {
    let Some(value) = top.get("schemas") else {
        return Vec::new();
    };
    let mut ids = BTreeSet::new();
    value.list(SCHEMAS_MAX, report).iter().filter_map(|item| schema(item, &mut ids, files, compiler, report)).collect()
}

pub(super) fn finish(schemas: Vec<PendingSchema>, programs: &mut Programs) -> Vec<LoadedSchema> {
    schemas
        .into_iter()
        .map(|schema| LoadedSchema {
            rule: schema.rule,
            json: schema.json,
            when: schema.when.and_then(|id| programs.take(id)),
        })
        .collect()
}

fn schema(
    item: &Value<'_>,
    ids: &mut BTreeSet<String>,
    files: &mut SchemaFiles<'_>,
    compiler: &mut Compiler,
    report: &mut Report<'_>,
) -> Option<PendingSchema> {
    let fields = Fields::open(item.node, &item.path, SCHEMA, report)?;
    let id = fields.required("id", report).and_then(|value| {
        let id = value.name(report)?;
        if !ids.insert(id.clone()) {
            let message = format!("another schema above has the id `{id}`");
            value.report(Code::Duplicate, message, report);
            return None;
        }
        Some(id)
    });
    if let Some(format) = fields.get("format") {
        format.choice(&[("json", ())], &["csv"], report)?;
    }
    let when = match fields.get("match") {
        Some(value) => Some(super::rules::condition(&value, Scope::SchemaMatch, compiler, report)?),
        None => None,
    };
    let on_violation = match fields.get("on_violation") {
        Some(value) => value.choice(
            &[("block", Action::Block), ("allow", Action::Allow)],
            &["redact", "hold", "tag", "repair"],
            report,
        ),
        None => Some(Action::Block),
    };
    let source = fields.required("schema", report).and_then(|value| source(&value, files, report));
    let (source, json) = source?;
    Some(PendingSchema { rule: SchemaRule { id: id?, source, on_violation: on_violation? }, json, when })
}

fn source(
    value: &Value<'_>,
    files: &mut SchemaFiles<'_>,
    report: &mut Report<'_>,
) -> Option<(SchemaSource, Option<Json>)> {
    let path = value.text(report)?;
    if path == FROM_REQUEST {
        return Some((SchemaSource::FromRequest, None));
    }
    match files.get(path) {
        Ok((text, json)) => {
            let digest = canonical::schema_digest(&json);
            Some((SchemaSource::Policy { text, digest }, Some(json)))
        }
        Err(message) => {
            value.report(Code::SchemaFile, format!("{}: {message}", echo(path)), report);
            None
        }
    }
}

/// A path that stays below the policy on every operating system.
fn check_path(path: &str) -> Result<(), String> {
    let is_plain = !path.is_empty()
        && path.len() <= PATH_BYTES_MAX
        && !path.starts_with('/')
        && !path.contains(['\\', ':', '\0'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if is_plain {
        Ok(())
    } else {
        Err("the path must be below the policy's directory, without `..`, like schemas/invoice.schema.json".to_owned())
    }
}

/// JSON with each key once: of two equal keys, every reader believes another one.
fn parse_json(text: &str) -> Result<Json, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let json = Strict.deserialize(&mut deserializer).and_then(|json| deserializer.end().map(|()| json));
    json.map_err(|error| format!("this is not JSON as a schema needs it: {error}"))
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Strict)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members = serde_json::Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(de::Error::custom(format!("duplicate key `{}`", echo(&key))));
            }
            let value = access.next_value_seed(Strict)?;
            members.insert(key, value);
        }
        Ok(Json::Object(members))
    }
}
