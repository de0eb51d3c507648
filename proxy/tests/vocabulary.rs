//! The policy language and SchemaLock know nothing of each other; here it is seen that they use the same words.

#![allow(clippy::unwrap_used, clippy::panic)]

use clyra_policy::{CSV_REPAIR_CLASSES, Policy, REPAIR_CLASSES, SchemaSource};
use clyra_schemas::{Coercion, CsvContract, CsvLock, End, Mode, Outcome, RepairClass, RepairPolicy, Violation};
use serde_json::{Value, json};

fn policy(schema: &str) -> Result<Policy, clyra_policy::PolicyError> {
    Policy::parse(&format!("version: 1\nschemas: [{{id: a, {schema}}}]"), "p.yaml", &|_| Err("no files".to_owned()))
}

#[test]
fn both_name_the_same_damage_in_the_same_order() {
    assert_eq!(RepairClass::ALL.map(RepairClass::name), REPAIR_CLASSES);
    assert_eq!(Coercion::ALL.map(Coercion::name), clyra_policy::Coercion::ALL.map(clyra_policy::Coercion::as_str));
    for name in CSV_REPAIR_CLASSES {
        assert!(RepairClass::named(name).is_some(), "{name}");
    }
    for name in REPAIR_CLASSES {
        assert!(policy(&format!("schema: from_request, repair: {{local: [{name}]}}")).is_ok(), "{name}");
    }
}

/// The CSV contract that a policy with these members stands for, if it takes them.
fn contract_in_policy(members: &str) -> Option<Value> {
    let policy = policy(&format!("format: csv, csv: {{{members}}}")).ok()?;
    match &policy.schemas().next().unwrap().source {
        SchemaSource::Policy { text, .. } => Some(serde_json::from_str(text).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_csv_contract_that_a_policy_takes_can_be_used_and_no_other_delimiter_can() {
    for byte in 0..=127_u8 {
        let delimiter = char::from(byte).to_string();
        let members = format!("columns: [{{name: x, type: string}}], delimiter: {}", json!(delimiter));
        let used = CsvContract::compile(&json!({"columns": [{"name": "x", "type": "string"}], "delimiter": delimiter}));
        assert_eq!(contract_in_policy(&members).is_some(), used.is_ok(), "{delimiter:?}");
        if let Some(document) = contract_in_policy(&members) {
            CsvContract::compile(&document).unwrap();
        }
    }
    for members in [
        "columns: [{name: a, type: string}, {name: b, type: integer}, {name: c, type: number}, {name: d, type: boolean}]",
        "columns: [{name: a, type: date, unique: true}, {name: b, type: date-time, required: false}]",
        "columns: [{name: a, schema: {type: string, enum: [x], maxLength: 3}}], line_ending: crlf, formulas: block",
        "columns: [{name: a, type: string}], line_ending: lf, formulas: \"off\", header: false, rows_min: 1, rows_max: 1",
        "columns: [{name: a, type: string}], line_ending: any, formulas: prefix, record_bytes_max: 1048576",
    ] {
        CsvContract::compile(&contract_in_policy(members).unwrap()).unwrap();
    }
    let columns = (0..1024).map(|index| format!("{{name: c{index}, type: string}}")).collect::<Vec<_>>().join(",");
    CsvContract::compile(&contract_in_policy(&format!("columns: [{columns}]")).unwrap()).unwrap();
    assert!(contract_in_policy(&format!("columns: [{columns}, {{name: x, type: string}}]")).is_none());
}

/// What was found wrong, where, and what became of the text.
fn judged(document: &Value, text: &str) -> (Option<Violation>, usize) {
    let mut lock = CsvLock::new(CsvContract::compile(document).unwrap(), Mode::Verified, RepairPolicy::NONE);
    lock.feed(text);
    match lock.finish(End::Stop) {
        Outcome::Block(violation) => (Some(violation), lock.take_edits().len()),
        _ => (None, lock.take_edits().len()),
    }
}

/// The policy fills in what is left out; SchemaLock would fill in the same.
#[test]
fn both_leave_out_the_same() {
    let bare = json!({"columns": [{"name": "a", "type": "string"}]});
    let full = contract_in_policy("columns: [{name: a, type: string}]").unwrap();
    let long = |bytes: usize| format!("a\n{}\n", "x".repeat(bytes - 1));
    for text in [
        String::new(),
        "a\n".to_owned(),
        "b\n".to_owned(),
        "a\nx\n".to_owned(),
        "a\r\nx\r\n".to_owned(),
        "a\nx\r\n".to_owned(),
        "a\nx,y\n".to_owned(),
        "a\nx;y\n".to_owned(),
        "a\n=x\n".to_owned(),
        "a\n\n".to_owned(),
        "a\nx\nx\n".to_owned(),
        long(65_536),
        long(65_537),
        format!("a\n{}", "x\n".repeat(100_000)),
        format!("a\n{}", "x\n".repeat(100_001)),
    ] {
        assert_eq!(judged(&bare, &text), judged(&full, &text), "{:?}", text.get(..20));
    }
    let (violation, _) = judged(&full, &format!("a\n{}", "x\n".repeat(100_001)));
    assert_eq!(violation.unwrap().kind.code(), "too_many_rows");
    assert_eq!(judged(&full, &long(65_537)).0.unwrap().kind.code(), "too_large");
    assert_eq!(judged(&full, &long(65_536)), (None, 0));
}

/// The examples of the page load, and say the same.
#[test]
fn the_examples_of_the_csv_page_are_one_contract() {
    let page = include_str!("../../docs/csv.md");
    let block = |language: &str| {
        let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let policy = Policy::parse(block("yaml"), "csv.md", &|path| {
        assert_eq!(path, "schemas/parts.csv.json");
        Ok(block("json").to_owned())
    })
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(policy.lint(0), []);
    let contracts: Vec<Value> = policy
        .schemas()
        .map(|rule| match &rule.source {
            SchemaSource::Policy { text, .. } => serde_json::from_str(text).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    let [inline, file] = contracts.as_slice() else { panic!("two contracts") };
    for text in
        ["id,price,paid,day,note\n1,-5,,2026-11-29,=x\n", "id,price,paid,day,note\n1,-5,,2026-11-31,x\n", "id\n"]
    {
        assert_eq!(judged(inline, text), judged(file, text), "{text}");
    }
}
