use serde_json::json;

use super::super::tests::{accepted, problems};
use super::*;
use crate::Policy;
use crate::model::{Coercion, Mode, REPAIR_CLASSES};

fn rule(policy: &Policy) -> &SchemaRule {
    policy.schemas().next().unwrap()
}

/// With one schema file, `a.json`.
fn with_file(body: &str) -> Policy {
    Policy::parse(&format!("version: 1\n{body}"), "policy.yaml", &|path| {
        assert_eq!(path, "a.json");
        Ok("{\"type\": \"object\"}".to_owned())
    })
    .unwrap_or_else(|error| panic!("{body}\n{error}"))
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let policy = accepted("schemas: [{id: a, schema: from_request}]");
    assert_eq!(
        *rule(&policy),
        SchemaRule {
            id: "a".to_owned(),
            format: SchemaFormat::Json,
            source: SchemaSource::FromRequest,
            with_request: false,
            stream: StreamMode::Buffer,
            repair: RepairRule { local: vec![], coerce: vec![], ask_again: 0, ask_again_timeout_ms: 30_000 },
            formats: true,
            hold: HoldRule { bytes: 1_048_576, ms: 600_000 },
            choices: Choices::All,
            on_violation: Action::Block,
        }
    );
    let spelled_out = accepted(
        "schemas: [{id: a, schema: from_request, format: json, stream: buffer, formats: true, choices: all, on_violation: block, \
         repair: {local: [], coerce: [], ask_again: 0, ask_again_timeout: 30s}, hold: {bytes: 1048576, time: 10m}}]",
    );
    assert_eq!(policy.hash(), spelled_out.hash());
}

#[test]
fn every_setting_is_read() {
    let policy = with_file(
        "schemas:\n  - id: a\n    schema: a.json\n    and: from_request\n    stream: verified\n    formats: false\n    choices: each\n    \
         on_violation: allow\n    repair: { local: [quotes, fences], coerce: [single_to_list, numbers], ask_again: 1, ask_again_timeout: 2m }\n    \
         hold: { bytes: 4096, time: 1500ms }\n",
    );
    let rule = rule(&policy);
    assert!(matches!(rule.source, SchemaSource::Policy { .. }));
    assert_eq!((rule.with_request, rule.stream, rule.formats), (true, StreamMode::Verified, false));
    assert_eq!((rule.choices, rule.on_violation), (Choices::Each, Action::Allow));
    assert_eq!(
        rule.repair,
        RepairRule {
            local: vec!["fences".to_owned(), "quotes".to_owned()],
            coerce: vec![Coercion::Numbers, Coercion::SingleToList],
            ask_again: 1,
            ask_again_timeout_ms: 120_000,
        },
        "in the order of the lists, whatever the file's"
    );
    assert_eq!(rule.hold, HoldRule { bytes: 4096, ms: 1500 });
}

#[test]
fn the_mode_of_a_schema_is_its_own_or_the_policys() {
    let stream = |defaults: &str, schema: &str| {
        rule(&accepted(&format!("defaults: {{{defaults}}}\nschemas: [{{id: a, {schema}}}]"))).stream
    };
    assert_eq!(stream("", "schema: from_request"), StreamMode::Buffer);
    assert_eq!(stream("stream: verified", "schema: from_request"), StreamMode::Verified);
    assert_eq!(stream("stream: cutoff", "schema: from_request"), StreamMode::Cutoff);
    assert_eq!(stream("stream: verified", "schema: from_request, stream: observe"), StreamMode::Observe);
    assert_eq!(stream("stream: verified", "schema: tool_parameters"), StreamMode::Buffer);
    assert_eq!(stream("stream: verified", "schema: tool_parameters, stream: cutoff"), StreamMode::Cutoff);
    assert_eq!(
        problems("defaults: {stream: observe}"),
        ["2:20 invalid_value unknown value `observe`; write `buffer`, `verified` or `cutoff`"]
    );
}

#[test]
fn the_names_of_the_policy_language_are_taken_as_written_there() {
    let policy = accepted(
        "schemas: [{id: a, schema: from_request, repair: {local: [fences, trailing_commas, quotes, close_brackets], ask_again: 1}}]",
    );
    assert_eq!(rule(&policy).repair.local, ["fences", "trailing_commas", "close_brackets", "quotes"]);
    assert_eq!(rule(&policy).repair.ask_again, 1);
    let all = accepted(&format!(
        "schemas: [{{id: a, schema: from_request, repair: {{local: [{}]}}}}]",
        REPAIR_CLASSES.join(", ")
    ));
    assert_eq!(rule(&all).repair.local, REPAIR_CLASSES);
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    let repair = |inner: &str| format!("schemas: [{{id: a, schema: from_request, repair: {{{inner}}}}}]");
    let a_schema = |inner: &str| format!("schemas: [{{id: a, schema: from_request, {inner}}}]");
    let csv = |inner: &str| format!("schemas: [{{id: a, format: csv, csv: {{{inner}}}}}]");
    let column = |inner: &str| csv(&format!("columns: [{{{inner}}}]"));
    for (body, expected) in [
        (repair("local: [fence]"), "2:58 invalid_value unknown name `fence`; did you mean `fences`?"),
        (
            repair("local: [everything]"),
            "2:58 invalid_value unknown name `everything`; what may stand here: byte_order_mark, fences, prose, trailing_commas, \
             leading_commas, extra_brackets, close_brackets, missing_commas, quotes, unquoted_names, comments, whitespace, \
             control_characters, escapes, python_literals",
        ),
        (repair("local: [quotes, quotes]"), "2:66 duplicate `quotes` stands here twice"),
        (repair("local: quotes"), "2:57 wrong_type a list is expected, not text"),
        (repair("local: [1]"), "2:58 wrong_type text is expected, not a whole number; put it in quotes"),
        (repair("coerce: [number]"), "2:59 invalid_value unknown name `number`; did you mean `numbers`?"),
        (repair("ask_again: 2"), "2:61 invalid_value 2 is out of range; it must be from 0 to 1"),
        (repair("ask: 1"), "2:50 unknown_key unknown key `ask`; what may stand here: local, coerce, ask_again, ask_again_timeout"),
        (
            repair("ask_again_timeout: 30"),
            "2:69 wrong_type a time like `30s` is expected, not a whole number",
        ),
        (
            repair("ask_again_timeout: 30 s"),
            "2:69 invalid_value `30 s` is not a time; write one like `250ms`, `30s` or `5m`",
        ),
        (
            repair("ask_again_timeout: 1h"),
            "2:69 invalid_value `1h` is not a time; write one like `250ms`, `30s` or `5m`",
        ),
        (
            repair("ask_again_timeout: 11m"),
            "2:69 invalid_value `11m` is out of range; it must be from 1000 to 600000 milliseconds",
        ),
        (
            repair("ask_again_timeout: 99999999999999999999m"),
            "2:69 invalid_value `99999999999999999999m` is not a time; write one like `250ms`, `30s` or `5m`",
        ),
        (
            a_schema("stream: fast"),
            "2:49 invalid_value unknown value `fast`; write `buffer`, `verified`, `cutoff` or `observe`",
        ),
        (a_schema("choices: one"), "2:50 invalid_value unknown value `one`; write `all` or `each`"),
        (a_schema("formats: yes"), "2:50 wrong_type true or false is expected, not text"),
        (a_schema("hold: {bytes: 1}"), "2:55 invalid_value 1 is out of range; it must be from 1024 to 16777216"),
        (
            a_schema("hold: {time: 1ms}"),
            "2:54 invalid_value `1ms` is out of range; it must be from 100 to 3600000 milliseconds",
        ),
        (a_schema("and: a.json"), "2:46 invalid_value unknown value `a.json`; write `from_request`"),
        (
            a_schema("and: from_request"),
            "2:46 invalid_value `and` adds the request's schema to a JSON Schema from a file, and here is none",
        ),
        (
            "schemas: [{id: a, schema: tool_parameters, and: from_request}]".to_owned(),
            "2:49 invalid_value `and` adds the request's schema to a JSON Schema from a file, and here is none",
        ),
        (
            csv("columns: [{name: a, type: string}]").replace("csv: {", "and: from_request, csv: {"),
            "2:37 invalid_value `and` adds the request's schema to a JSON Schema from a file, and here is none",
        ),
        ("schemas: [{id: a}]".to_owned(), "2:11 missing_key `schema` is missing here"),
        ("schemas: [{id: a, format: csv}]".to_owned(), "2:11 missing_key `csv` or `schema` is missing here"),
        ("schemas: [{id: a, format: xml, schema: from_request}]".to_owned(), "2:27 invalid_value unknown value `xml`; write `json` or `csv`"),
        (
            "schemas: [{id: a, format: csv, schema: from_request}]".to_owned(),
            "2:40 invalid_value a request brings JSON Schemas, no CSV contract; name a file, or write `csv`",
        ),
        (
            "schemas: [{id: a, format: csv, schema: tool_parameters}]".to_owned(),
            "2:40 invalid_value a request brings JSON Schemas, no CSV contract; name a file, or write `csv`",
        ),
        (
            "schemas: [{id: a, schema: from_request, csv: {columns: []}}]".to_owned(),
            "2:46 invalid_value `csv` is for `format: csv`",
        ),
        (
            "schemas: [{id: a, format: csv, schema: a.json, csv: {columns: []}}]".to_owned(),
            "2:53 invalid_value the contract stands either here or in the file that `schema` names",
        ),
        (csv(""), "2:37 missing_key `columns` is missing here"),
        (csv("columns: []"), "2:47 invalid_value a CSV contract needs at least one column"),
        (csv("columns: {}"), "2:47 wrong_type a list is expected, not a map"),
        (
            column("name: a"),
            "2:48 invalid_value a column has either a `type` or a `schema`",
        ),
        (
            column("name: a, type: string, schema: {type: string}"),
            "2:48 invalid_value a column has either a `type` or a `schema`",
        ),
        (
            column("name: a, type: text"),
            "2:64 invalid_value unknown value `text`; write `string`, `integer`, `number`, `boolean`, `date` or `date-time`",
        ),
        (
            column("name: a, schema: {type: array}"),
            "2:66 invalid_value a column's schema is a JSON Schema with a `type` of string, integer, number or boolean",
        ),
        (
            column("name: a, typ: string, type: string"),
            "2:58 unknown_key unknown key `typ`; did you mean `type`?",
        ),
        (
            column("name: a, type: string}, {name: a, type: string"),
            "2:80 duplicate another column above has the name `a`",
        ),
        (
            column("name: \"a\\nb\", type: string"),
            "2:55 invalid_value a column's name is one line of at most 256 bytes",
        ),
        (
            csv("columns: [{name: a, type: string}], delimiter: a"),
            "2:85 invalid_value the delimiter is one ASCII character that is no quote, letter, digit, `.`, `-`, `+` or `=`",
        ),
        (
            csv("columns: [{name: a, type: string}], line_ending: cr"),
            "2:87 invalid_value unknown value `cr`; write `any`, `crlf` or `lf`",
        ),
        (
            csv("columns: [{name: a, type: string}], rows_min: 3, rows_max: 2"),
            "2:37 invalid_value `rows_min` is 3 and `rows_max` 2: no text has so many rows",
        ),
        (
            csv("columns: [{name: a, type: string}], record_bytes_max: 9999999"),
            "2:92 invalid_value 9999999 is out of range; it must be from 1 to 1048576",
        ),
        (
            "schemas: [{id: a, format: csv, csv: {columns: [{name: a, type: string}]}, repair: {local: [fences, quotes]}}]".to_owned(),
            "2:91 invalid_value `quotes` mends JSON; what CSV can have: byte_order_mark, fences",
        ),
        (
            "schemas: [{id: a, format: csv, csv: {columns: [{name: a, type: string}]}, repair: {coerce: [numbers]}}]".to_owned(),
            "2:92 invalid_value the fields of CSV are text; there is nothing to coerce",
        ),
        (
            "schemas: [{id: a, format: csv, csv: {columns: [{name: a, type: string}]}, repair: {ask_again: 1}}]".to_owned(),
            "2:95 unsupported asking again for CSV is not supported by this version; remove it",
        ),
    ] {
        assert_eq!(problems(&body), [expected], "{body}");
    }
}

#[test]
fn a_csv_contract_in_the_policy_is_the_document_that_it_stands_for() {
    let policy = accepted(
        "schemas:\n  - id: orders\n    format: csv\n    csv:\n      columns:\n        - { name: id, type: integer, unique: true }\n        \
         - { name: day, type: date, required: false }\n        - { name: note, schema: { type: string, maxLength: 80, enum: [a, b], x: [null, 1.5, true] } }\n      \
         delimiter: \";\"\n      rows_max: 10\n    repair: { local: [fences] }\n",
    );
    let rule = rule(&policy);
    assert_eq!(rule.format, SchemaFormat::Csv);
    let SchemaSource::Policy { text, digest } = &rule.source else { panic!("the policy's own expected") };
    assert_eq!(digest.len(), 64);
    assert_eq!(
        serde_json::from_str::<Json>(text).unwrap(),
        json!({
            "columns": [
                { "name": "id", "schema": { "type": "integer" }, "required": true, "unique": true },
                { "name": "day", "schema": { "type": "string", "format": "date" }, "required": false, "unique": false },
                { "name": "note", "required": true, "unique": false,
                  "schema": { "type": "string", "maxLength": 80, "enum": ["a", "b"], "x": [null, 1.5, true] } }
            ],
            "delimiter": ";", "line_ending": "any", "header": true, "rows_min": 0, "rows_max": 10,
            "record_bytes_max": 65_536, "formulas": "prefix"
        })
    );
    let file = with_file("schemas: [{id: a, format: csv, schema: a.json}]");
    assert!(
        matches!(&file.schemas().next().unwrap().source, SchemaSource::Policy { text, .. } if text.contains("object"))
    );
}

#[test]
fn every_setting_is_in_the_hash_and_spelled_out_defaults_are_not() {
    let hash = |schema: &str| with_file(&format!("schemas: [{{id: a, {schema}}}]")).hash().to_owned();
    let plain = hash("schema: a.json");
    let mut hashes = vec![plain.clone()];
    for change in [
        "format: csv",
        "and: from_request",
        "stream: verified",
        "stream: cutoff",
        "stream: observe",
        "repair: {local: [fences]}",
        "repair: {local: [fences, quotes]}",
        "repair: {coerce: [numbers]}",
        "repair: {ask_again: 1}",
        "repair: {ask_again: 1, ask_again_timeout: 31s}",
        "formats: false",
        "hold: {bytes: 2048}",
        "hold: {time: 1s}",
        "choices: each",
        "on_violation: allow",
    ] {
        let changed = hash(&format!("schema: a.json, {change}"));
        assert!(!hashes.contains(&changed), "{change}");
        hashes.push(changed);
    }
    assert_ne!(hash("schema: from_request"), hash("schema: tool_parameters"));
    assert_eq!(
        hash("schema: a.json, repair: {local: [quotes, fences]}"),
        hash("schema: a.json, repair: {local: [fences, quotes], ask_again: 0}")
    );
    let csv = |members: &str| hash(&format!("format: csv, csv: {{columns: [{{name: a, type: string}}]{members}}}"));
    let spelled_out = ", delimiter: \",\", line_ending: any, header: true, rows_min: 0, rows_max: 100000, record_bytes_max: 65536, formulas: prefix";
    assert_eq!(csv(""), csv(spelled_out));
    assert_eq!(
        csv(""),
        hash("format: csv, csv: {columns: [{schema: {type: string}, unique: false, required: true, name: a}]}")
    );
    assert_ne!(csv(""), csv(", formulas: block"));
}

#[test]
fn the_default_mode_is_in_the_hash_through_each_schema() {
    let hash = |body: &str| accepted(body).hash().to_owned();
    assert_ne!(hash("defaults: {stream: verified}"), hash("defaults: {stream: cutoff}"));
    assert_eq!(accepted("mode: observe\ndefaults: {stream: verified}").mode(), Mode::Observe);
}
