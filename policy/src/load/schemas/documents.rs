//! The schema files that a policy names: JSON below its directory, with each key once, of bounded size, each read once.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::diagnostic::echo;
use crate::load::files::SCHEMA_BYTES_MAX;

/// Bytes of all schema files together.
const SCHEMA_BYTES_TOTAL_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a schema file's path.
const PATH_BYTES_MAX: usize = 512;

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

    pub(super) fn get(&mut self, path: &str) -> Result<(String, Json), String> {
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
