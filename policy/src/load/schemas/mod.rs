//! `schemas`: which answers are held to which schema, and how.

mod csv;
mod documents;
mod repair;

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::canonical;
use crate::diagnostic::{Code, Report, echo};
use crate::expr::{Compiler, ExprId, Programs, Scope};
use crate::model::{Action, Choices, HoldRule, RepairRule, SchemaFormat, SchemaRule, SchemaSource, StreamMode};
use crate::policy::{LoadedSchema, Place};
use crate::read::{Fields, Keys, Value};

pub(crate) use documents::SchemaFiles;

/// Schemas of one policy.
const SCHEMAS_MAX: usize = 256;
/// What stands for the schema that the client sends.
const FROM_REQUEST: &str = "from_request";
/// What stands for the parameters of the tools that the client offers.
const TOOL_PARAMETERS: &str = "tool_parameters";
/// Bytes of one text that may be held back: from a line to as much as an exchange holds of a whole answer.
const HOLD_BYTES: std::ops::RangeInclusive<i64> = 1024..=16 * 1024 * 1024;
/// How long text may be held back. A model takes a tenth of a second for a few words; nobody waits for an hour.
const HOLD_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;

const SCHEMA: Keys = Keys {
    known: &[
        "id",
        "match",
        "format",
        "schema",
        "csv",
        "and",
        "stream",
        "repair",
        "formats",
        "hold",
        "choices",
        "on_violation",
    ],
    unsupported: &[],
};
const HOLD: Keys = Keys { known: &["bytes", "time"], unsupported: &[] };

#[cfg(test)]
pub(super) const KEYS: [Keys; 5] = [SCHEMA, HOLD, repair::REPAIR, csv::CONTRACT, csv::COLUMN];

/// A schema section that waits for its expression.
#[derive(Debug)]
pub(super) struct PendingSchema {
    rule: SchemaRule,
    json: Option<Json>,
    when: Option<ExprId>,
    place: Place,
}

/// Reads the section. `stream` is the mode of those that name none.
pub(super) fn read(
    top: &Fields<'_>,
    stream: StreamMode,
    files: &mut SchemaFiles<'_>,
    compiler: &mut Compiler,
    report: &mut Report<'_>,
) -> Vec<PendingSchema> {
    let Some(value) = top.get("schemas") else {
        return Vec::new();
    };
    let mut ids = BTreeSet::new();
    value
        .list(SCHEMAS_MAX, report)
        .iter()
        .filter_map(|item| schema(item, stream, &mut ids, files, compiler, report))
        .collect()
}

pub(super) fn finish(schemas: Vec<PendingSchema>, programs: &mut Programs) -> Vec<LoadedSchema> {
    schemas
        .into_iter()
        .map(|schema| LoadedSchema {
            rule: schema.rule,
            json: schema.json,
            when: schema.when.and_then(|id| programs.take(id)),
            place: schema.place,
        })
        .collect()
}

fn schema(
    item: &Value<'_>,
    stream: StreamMode,
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
    let when = match fields.get("match") {
        Some(value) => super::rules::condition(&value, Scope::SchemaMatch, compiler, report).map(Some),
        None => Some(None),
    };
    let format = match fields.get("format") {
        Some(value) => value.choice(&[("json", SchemaFormat::Json), ("csv", SchemaFormat::Csv)], &[], report),
        None => Some(SchemaFormat::Json),
    };
    // What the rest may be depends on the format.
    let read = format.map(|format| {
        let source = source(&fields, format, files, report);
        let repair = match fields.get("repair") {
            Some(value) => repair::read(&value, format, report),
            None => Some(RepairRule::default()),
        };
        (format, source, repair)
    });
    let with_request = with_request(&fields, report);
    let stream = match fields.get("stream") {
        Some(value) => value.choice(&STREAM, &[], report),
        // What a client may run is not shown to it before it is right, unless somebody says so.
        None if is_tool_parameters(&fields) => Some(StreamMode::Buffer),
        None => Some(stream),
    };
    let formats = match fields.get("formats") {
        Some(value) => value.boolean(report),
        None => Some(true),
    };
    let hold = match fields.get("hold") {
        Some(value) => hold(&value, report),
        None => Some(HoldRule::default()),
    };
    let choices = match fields.get("choices") {
        Some(value) => value.choice(&[("all", Choices::All), ("each", Choices::Each)], &[], report),
        None => Some(Choices::All),
    };
    let on_violation = match fields.get("on_violation") {
        Some(value) => value.choice(
            &[("block", Action::Block), ("allow", Action::Allow)],
            &["redact", "hold", "tag", "repair"],
            report,
        ),
        None => Some(Action::Block),
    };
    let (format, source, repair) = read?;
    let (source, json) = source?;
    let rule = SchemaRule {
        id: id?,
        format,
        source,
        with_request: with_request?,
        stream: stream?,
        repair: repair?,
        formats: formats?,
        hold: hold?,
        choices: choices?,
        on_violation: on_violation?,
    };
    let place = Place { at: item.node.at, path: item.path.clone() };
    Some(PendingSchema { rule, json, when: when?, place })
}

const STREAM: [(&str, StreamMode); 4] = [
    ("buffer", StreamMode::Buffer),
    ("verified", StreamMode::Verified),
    ("cutoff", StreamMode::Cutoff),
    ("observe", StreamMode::Observe),
];

fn is_tool_parameters(fields: &Fields<'_>) -> bool {
    fields.get("schema").is_some_and(|value| value.is_text(TOOL_PARAMETERS))
}

fn source(
    fields: &Fields<'_>,
    format: SchemaFormat,
    files: &mut SchemaFiles<'_>,
    report: &mut Report<'_>,
) -> Option<(SchemaSource, Option<Json>)> {
    match (format, fields.get("schema"), fields.get("csv")) {
        (SchemaFormat::Json, _, Some(csv)) => {
            csv.report(Code::InvalidValue, "`csv` is for `format: csv`", report);
            None
        }
        (SchemaFormat::Json, None, None) => {
            fields.required("schema", report);
            None
        }
        (SchemaFormat::Csv, Some(_), Some(csv)) => {
            let message = "the contract stands either here or in the file that `schema` names";
            csv.report(Code::InvalidValue, message, report);
            None
        }
        (SchemaFormat::Csv, None, None) => {
            report.add(Code::MissingKey, fields.at, &fields.path, "`csv` or `schema` is missing here");
            None
        }
        (SchemaFormat::Csv, None, Some(csv)) => {
            let contract = csv::read(&csv, report)?;
            let digest = canonical::schema_digest(&contract);
            let text = canonical::jcs(&contract);
            Some((SchemaSource::Policy { text, digest }, Some(contract)))
        }
        (_, Some(schema), None) => named_source(&schema, format, files, report),
    }
}

/// What `schema` names: a file, or what the client sends.
fn named_source(
    value: &Value<'_>,
    format: SchemaFormat,
    files: &mut SchemaFiles<'_>,
    report: &mut Report<'_>,
) -> Option<(SchemaSource, Option<Json>)> {
    let name = value.text(report)?;
    let sent = match name {
        FROM_REQUEST => Some(SchemaSource::FromRequest),
        TOOL_PARAMETERS => Some(SchemaSource::ToolParameters),
        _ => None,
    };
    if let Some(source) = sent {
        if format == SchemaFormat::Csv {
            let message = "a request brings JSON Schemas, no CSV contract; name a file, or write `csv`";
            value.report(Code::InvalidValue, message, report);
            return None;
        }
        return Some((source, None));
    }
    match files.get(name) {
        Ok((text, json)) => {
            let digest = canonical::schema_digest(&json);
            Some((SchemaSource::Policy { text, digest }, Some(json)))
        }
        Err(message) => {
            value.report(Code::SchemaFile, format!("{}: {message}", echo(name)), report);
            None
        }
    }
}

/// `and: from_request`.
fn with_request(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<bool> {
    let Some(value) = fields.get("and") else {
        return Some(false);
    };
    value.choice(&[(FROM_REQUEST, ())], &[], report)?;
    let is_file = fields.get("schema").is_some_and(|schema| !schema.is_text(FROM_REQUEST))
        && !is_tool_parameters(fields)
        && !fields.get("format").is_some_and(|format| format.is_text(SchemaFormat::Csv.as_str()));
    if !is_file {
        let message = "`and` adds the request's schema to a JSON Schema from a file, and here is none";
        value.report(Code::InvalidValue, message, report);
        return None;
    }
    Some(true)
}

fn hold(value: &Value<'_>, report: &mut Report<'_>) -> Option<HoldRule> {
    let fields = Fields::open(value.node, &value.path, HOLD, report)?;
    let default = HoldRule::default();
    let bytes = match fields.get("bytes") {
        Some(bytes) => bytes.integer(HOLD_BYTES, report).and_then(|bytes| usize::try_from(bytes).ok()),
        None => Some(default.bytes),
    };
    let ms = match fields.get("time") {
        Some(time) => time.duration_ms(HOLD_MS, report),
        None => Some(default.ms),
    };
    Some(HoldRule { bytes: bytes?, ms: ms? })
}

#[cfg(test)]
mod tests;
