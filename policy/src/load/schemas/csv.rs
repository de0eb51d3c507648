//! `csv` of a schema: a CSV contract that stands in the policy, resolved to the document that it stands for.
//!
//! Names, types and bounds are checked here, where line and column are known. Whether a column's JSON Schema can be used is
//! for whoever compiles it.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use crate::diagnostic::{Code, Report, echo};
use crate::read::{Fields, Keys, Value};
use crate::yaml::{Kind, Node};

/// Columns of one contract.
const COLUMNS_MAX: usize = 1_024;
/// Bytes of a column's name.
const NAME_BYTES_MAX: usize = 256;
/// The largest integer that survives every JSON reader.
const ROWS_MAX: i64 = (1 << 53) - 1;
const ROWS_MAX_DEFAULT: i64 = 100_000;
/// Bytes of one record: at most what a whole text may have.
const RECORD_BYTES_MAX: i64 = 1 << 20;
const RECORD_BYTES_MAX_DEFAULT: i64 = 64 << 10;

pub(super) const CONTRACT: Keys = Keys {
    known: &["columns", "delimiter", "line_ending", "header", "rows_min", "rows_max", "record_bytes_max", "formulas"],
    unsupported: &[],
};
pub(super) const COLUMN: Keys = Keys { known: &["name", "type", "schema", "required", "unique"], unsupported: &[] };

/// What `type` may say, and the schema that it stands for: `type`, and `format` if there is one.
const TYPES: [(&str, (&str, Option<&str>)); 6] = [
    ("string", ("string", None)),
    ("integer", ("integer", None)),
    ("number", ("number", None)),
    ("boolean", ("boolean", None)),
    ("date", ("string", Some("date"))),
    ("date-time", ("string", Some("date-time"))),
];

/// The contract with every default filled in.
pub(super) fn read(value: &Value<'_>, report: &mut Report<'_>) -> Option<Json> {
    let fields = Fields::open(value.node, &value.path, CONTRACT, report)?;
    let columns = fields.required("columns", report).and_then(|value| columns(&value, report));
    let delimiter = match fields.get("delimiter") {
        Some(value) => delimiter(&value, report),
        None => Some(','),
    };
    let word = |name: &str, words: &[&'static str], report: &mut Report<'_>| match fields.get(name) {
        Some(value) => {
            let choices: Vec<(&'static str, &'static str)> = words.iter().map(|word| (*word, *word)).collect();
            value.choice(&choices, &[], report)
        }
        None => words.first().copied(),
    };
    let line_ending = word("line_ending", &["any", "crlf", "lf"], report);
    let formulas = word("formulas", &["prefix", "block", "off"], report);
    let header = match fields.get("header") {
        Some(value) => value.boolean(report),
        None => Some(true),
    };
    let number = |name: &str, range, default, report: &mut Report<'_>| match fields.get(name) {
        Some(value) => value.integer(range, report),
        None => Some(default),
    };
    let rows_min = number("rows_min", 0..=ROWS_MAX, 0, report);
    let rows_max = number("rows_max", 0..=ROWS_MAX, ROWS_MAX_DEFAULT, report);
    let record_bytes_max = number("record_bytes_max", 1..=RECORD_BYTES_MAX, RECORD_BYTES_MAX_DEFAULT, report);
    let (rows_min, rows_max) = (rows_min?, rows_max?);
    if rows_min > rows_max {
        let message = format!("`rows_min` is {rows_min} and `rows_max` {rows_max}: no text has so many rows");
        value.report(Code::InvalidValue, message, report);
        return None;
    }
    Some(json!({
        "columns": columns?,
        "delimiter": delimiter?.to_string(),
        "line_ending": line_ending?,
        "header": header?,
        "rows_min": rows_min,
        "rows_max": rows_max,
        "record_bytes_max": record_bytes_max?,
        "formulas": formulas?,
    }))
}

fn columns(value: &Value<'_>, report: &mut Report<'_>) -> Option<Vec<Json>> {
    let mut names = BTreeSet::new();
    let items = value.list(COLUMNS_MAX, report);
    if items.is_empty() {
        // Anything else that is empty has been reported.
        if matches!(&value.node.kind, Kind::List(items) if items.is_empty()) {
            value.report(Code::InvalidValue, "a CSV contract needs at least one column", report);
        }
        return None;
    }
    let read: Vec<Option<Json>> = items.iter().map(|item| column(item, &mut names, report)).collect();
    read.into_iter().collect()
}

fn column(item: &Value<'_>, names: &mut BTreeSet<String>, report: &mut Report<'_>) -> Option<Json> {
    let fields = Fields::open(item.node, &item.path, COLUMN, report)?;
    let name = fields.required("name", report).and_then(|value| column_name(&value, names, report));
    let schema = match (fields.get("type"), fields.get("schema")) {
        (Some(kind), None) => kind.choice(&TYPES, &[], report).map(|(kind, format)| match format {
            Some(format) => json!({ "type": kind, "format": format }),
            None => json!({ "type": kind }),
        }),
        (None, Some(schema)) => column_schema(&schema, report),
        _ => {
            item.report(Code::InvalidValue, "a column has either a `type` or a `schema`", report);
            None
        }
    };
    let mut flag = |name: &str, default| match fields.get(name) {
        Some(value) => value.boolean(report),
        None => Some(default),
    };
    let (required, unique) = (flag("required", true), flag("unique", false));
    Some(json!({ "name": name?, "schema": schema?, "required": required?, "unique": unique? }))
}

fn column_name(value: &Value<'_>, names: &mut BTreeSet<String>, report: &mut Report<'_>) -> Option<String> {
    let name = value.text(report)?;
    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let message = format!("a column's name is one line of at most {NAME_BYTES_MAX} bytes");
        value.report(Code::InvalidValue, message, report);
        return None;
    }
    if !names.insert(name.to_owned()) {
        value.report(Code::Duplicate, format!("another column above has the name `{}`", echo(name)), report);
        return None;
    }
    Some(name.to_owned())
}

fn column_schema(value: &Value<'_>, report: &mut Report<'_>) -> Option<Json> {
    let schema = json_of(value.node);
    let kind = schema.get("type").and_then(Json::as_str);
    if !matches!(kind, Some("string" | "integer" | "number" | "boolean")) {
        let message = "a column's schema is a JSON Schema with a `type` of string, integer, number or boolean";
        value.report(Code::InvalidValue, message, report);
        return None;
    }
    Some(schema)
}

/// One ASCII character that can be told from quotes, line ends, letters, and what numbers and formulas begin with.
fn delimiter(value: &Value<'_>, report: &mut Report<'_>) -> Option<char> {
    let text = value.text(report)?;
    let mut characters = text.chars();
    let only = characters.next().filter(|_| characters.as_str().is_empty());
    let fits = |c: &char| *c == '\t' || (c.is_ascii_punctuation() && !matches!(c, '"' | '\'' | '.' | '-' | '+' | '='));
    let found = only.filter(fits);
    if found.is_none() {
        let message = "the delimiter is one ASCII character that is no quote, letter, digit, `.`, `-`, `+` or `=`";
        value.report(Code::InvalidValue, message, report);
    }
    found
}

/// YAML as the JSON that it stands for.
fn json_of(node: &Node) -> Json {
    match &node.kind {
        Kind::Null => Json::Null,
        Kind::Bool(value) => Json::from(*value),
        Kind::Int(value) => Json::from(*value),
        Kind::Float(value) => Json::from(*value),
        Kind::Text(text) => Json::from(text.as_str()),
        Kind::List(items) => items.iter().map(json_of).collect(),
        Kind::Map(entries) => {
            Json::Object(entries.iter().map(|(key, node)| (key.name.clone(), json_of(node))).collect::<Map<_, _>>())
        }
    }
}
