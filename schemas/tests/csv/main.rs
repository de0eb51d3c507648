//! CSV: strict syntax, typed columns, release record by record, whatever the chunking.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod stream;
mod suites;

use std::sync::Arc;

use clyra_schemas::{
    CsvContract, CsvLock, Edit, End, Mode, Outcome, Release, RepairPolicy, Step, Violation, ViolationKind,
};
use serde_json::{Value, json};

fn contract(document: Value) -> Arc<CsvContract> {
    CsvContract::compile(&document).unwrap()
}

fn texts(columns: usize) -> Value {
    let columns: Vec<Value> =
        (0..columns).map(|index| json!({"name": index.to_string(), "schema": {"type": "string"}})).collect();
    json!({"header": false, "formulas": "off", "columns": columns})
}

/// What became of a text.
#[derive(Debug, PartialEq)]
struct Judged {
    released: String,
    outcome: Outcome,
    edits: Vec<Edit>,
    /// Where the lock stood in the end.
    settled: u64,
}

/// Feeds in pieces of so many characters.
fn judge_with(
    contract: &Arc<CsvContract>,
    mode: Mode,
    repair: RepairPolicy,
    text: &str,
    piece: usize,
    end: End,
) -> Judged {
    let mut lock = CsvLock::new(Arc::clone(contract), mode, repair);
    let mut release = Release::default();
    let (mut released, mut edits, mut before) = (String::new(), Vec::new(), 0);
    let mut leave = |lock: &mut CsvLock, release: &mut Release| {
        let new = lock.take_edits();
        for edit in &new {
            assert!(edit.range.start < edit.range.end, "an edit of nothing: {edit:?}");
            assert!(edit.range.start >= before, "an edit of what has left: {edit:?}");
        }
        assert!(lock.settled() >= before, "what has left came back");
        before = lock.settled();
        edits.extend(new.clone());
        released.push_str(&release.take(new, before));
    };
    let characters: Vec<char> = text.chars().collect();
    let mut outcome = None;
    for part in characters.chunks(piece.clamp(1, characters.len().max(1))) {
        let part: String = part.iter().collect();
        release.push(&part);
        let step = lock.feed(&part);
        leave(&mut lock, &mut release);
        match step {
            Step::Violation(violation) => {
                assert!(violation.at <= violation.found_at, "{violation:?}");
                assert!(mode == Mode::Observe || lock.settled() <= violation.found_at, "{violation:?} has left");
                let blocked = Outcome::Block(violation);
                assert_eq!(lock.finish(end), blocked, "a verdict that changed");
                outcome = Some(blocked);
                // Who only observes goes on.
                if mode != Mode::Observe {
                    break;
                }
            }
            Step::Hold { bytes } if mode != Mode::Observe => assert_eq!(bytes, release.held_bytes()),
            _ => {}
        }
    }
    let outcome = outcome.unwrap_or_else(|| lock.finish(end));
    leave(&mut lock, &mut release);
    Judged { released, outcome, edits, settled: lock.settled() }
}

fn judge(contract: &Arc<CsvContract>, text: &str, piece: usize, end: End) -> (String, Outcome, usize) {
    let judged = judge_with(contract, Mode::Verified, RepairPolicy::NONE, text, piece, end);
    (judged.released, judged.outcome, judged.edits.len())
}

fn violation(contract: &Arc<CsvContract>, text: &str) -> Violation {
    match judge(contract, text, 1, End::Stop).1 {
        Outcome::Block(violation) => violation,
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn malformed_text_is_refused_at_its_byte() {
    let two = contract(texts(2));
    for (text, kind, at) in [
        ("a,b\"c\r\n", ViolationKind::CsvSyntax, 3),
        ("a,\"b\"c\r\n", ViolationKind::CsvSyntax, 5),
        ("a,\"b\" \r\n", ViolationKind::CsvSyntax, 5),
        ("a,b\rc,d\r\n", ViolationKind::CsvSyntax, 3),
        ("a,b\r", ViolationKind::CsvSyntax, 3),
        ("a,b\r\nc,d\n", ViolationKind::CsvSyntax, 8),
        ("a,b\nc,d\r\n", ViolationKind::CsvSyntax, 7),
        ("a,\u{0}\r\n", ViolationKind::CsvSyntax, 2),
        ("a,\"\u{1}\"\r\n", ViolationKind::CsvSyntax, 3),
        ("a\r\n", ViolationKind::ColumnCount, 1),
        ("a,b,c\r\n", ViolationKind::ColumnCount, 3),
        ("a,b,\r\n", ViolationKind::ColumnCount, 3),
        ("a,b\r\n\r\nc,d\r\n", ViolationKind::ColumnCount, 5),
        ("a,\"b", ViolationKind::Incomplete, 4),
        ("\u{feff}a,b\r\n", ViolationKind::ByteOrderMark, 0),
        ("é,\"ü\"x\r\n", ViolationKind::CsvSyntax, 7),
    ] {
        let found = violation(&two, text);
        assert_eq!((found.kind, found.at), (kind, at), "{text:?}");
    }
}

#[test]
fn good_text_comes_out_byte_for_byte() {
    let two = contract(texts(2));
    for text in [
        "",
        "a,b",
        "a,b\r\n",
        "a,b\nc,d\n",
        "\"a\"\"b\",\"c\r\nd\"\r\n",
        "\"\",\r\n",
        ",\r\n",
        "a\tb,ü\r\n",
        "\"a,b\",\"\n\"\r\nc,",
    ] {
        for piece in [1, 2, 3, 100] {
            assert_eq!(judge(&two, text, piece, End::Stop), (text.to_owned(), Outcome::Pass, 0), "{text:?} by {piece}");
        }
    }
    let one = contract(texts(1));
    assert_eq!(judge(&one, "\r\na\r\n", 1, End::Stop).1, Outcome::Pass, "an empty line is one empty field");
}

fn orders() -> Arc<CsvContract> {
    contract(json!({
        "columns": [
            {"name": "id", "schema": {"type": "integer", "minimum": 1}, "unique": true},
            {"name": "price", "schema": {"type": "number"}},
            {"name": "paid", "schema": {"type": "boolean"}, "required": false},
            {"name": "day", "schema": {"type": "string", "format": "date"}},
            {"name": "note", "schema": {"type": "string", "maxLength": 5, "pattern": "^[^x]*$"}}
        ],
        "rows_min": 1, "rows_max": 3
    }))
}

const HEADER: &str = "id,price,paid,day,note\r\n";

#[test]
fn values_keep_their_columns_schema() {
    let orders = orders();
    let good = format!("{HEADER}1,-5,true,2026-11-21,ok\r\n2,1.5e3,,2026-11-22,\r\n");
    assert_eq!(judge(&orders, &good, 1, End::Stop), (good.clone(), Outcome::Pass, 0));
    for (row, place, keyword, at) in [
        ("0,1,true,2026-11-21,ok", "/0/id", "minimum", 0),
        ("x,1,true,2026-11-21,ok", "/0/id", "type", 0),
        ("1.5,1,true,2026-11-21,ok", "/0/id", "type", 0),
        ("01,1,true,2026-11-21,ok", "/0/id", "type", 0),
        (" 1,1,true,2026-11-21,ok", "/0/id", "type", 0),
        (",1,true,2026-11-21,ok", "/0/id", "required", 0),
        ("1,+1,true,2026-11-21,ok", "/0/price", "type", 2),
        ("1,1,TRUE,2026-11-21,ok", "/0/paid", "type", 4),
        ("1,1,,2026-02-30,ok", "/0/day", "format", 5),
        ("1,1,,2026-02-20,okokok", "/0/note", "maxLength", 16),
        ("1,1,,2026-02-20,\"x\"", "/0/note", "pattern", 16),
    ] {
        let found = violation(&orders, &format!("{HEADER}{row}\r\n"));
        assert_eq!((found.instance_path.as_str(), found.keyword), (place, Some(keyword)), "{row}");
        assert_eq!(found.at, (HEADER.len() + at) as u64, "{row}");
    }
    let twice = violation(&orders, &format!("{HEADER}1,1,,2026-11-21,\r\n1,1,,2026-11-21,\r\n"));
    assert_eq!((twice.instance_path.as_str(), twice.keyword), ("/1/id", Some("unique")));
}

#[test]
fn header_and_numbers_of_rows_are_held_to() {
    let orders = orders();
    assert_eq!(violation(&orders, "id,price,paid,date,note\r\n").kind, ViolationKind::Header);
    assert_eq!(violation(&orders, "").kind, ViolationKind::Empty);
    assert_eq!(violation(&orders, HEADER).kind, ViolationKind::TooFewRows);
    let rows: String = (1..=4).map(|id| format!("{id},1,,2026-11-21,\r\n")).collect();
    let (released, outcome, _) = judge(&orders, &format!("{HEADER}{rows}"), 7, End::Stop);
    assert!(matches!(outcome, Outcome::Block(ref violation) if violation.kind == ViolationKind::TooManyRows));
    assert_eq!(released.lines().count(), 4, "header and three rows");
}

#[test]
fn a_text_that_is_cut_off_releases_whole_records_only() {
    let two = contract(texts(2));
    for (text, left) in [("a,b\r\nc,", "a,b\r\n"), ("a,b\r\n", "a,b\r\n"), ("", "")] {
        let (released, outcome, _) = judge(&two, text, 1, End::Length);
        assert_eq!(released, left);
        let Outcome::Block(violation) = outcome else { panic!("rows may be missing behind {text:?}") };
        assert_eq!((violation.kind, violation.at), (ViolationKind::Interrupted, text.len() as u64));
    }
}

#[test]
fn an_answer_that_only_calls_tools_has_no_text_to_hold() {
    let orders = orders();
    assert_eq!(judge(&orders, "", 1, End::ToolCalls).1, Outcome::Pass);
    assert!(matches!(judge(&orders, "id", 1, End::ToolCalls).1, Outcome::Block(_)));
}

#[test]
fn formulas_are_defused_refused_or_left() {
    let with = |formulas: &str| {
        contract(json!({"header": false, "formulas": formulas, "columns": [
            {"name": "n", "schema": {"type": "number"}}, {"name": "t", "schema": {"type": "string"}}]}))
    };
    let text = "-5,=1+1\r\n1,\" @a\"\"b\"\r\n2,plain\r\n";
    let (released, outcome, edits) = judge(&with("prefix"), text, 2, End::Stop);
    assert_eq!((outcome, edits), (Outcome::Pass, 2));
    assert_eq!(released, "-5,\"'=1+1\"\r\n1,\"' @a\"\"b\"\r\n2,plain\r\n");
    assert_eq!(violation(&with("block"), text).keyword, Some("formulas"));
    assert_eq!(judge(&with("off"), text, 2, End::Stop), (text.to_owned(), Outcome::Pass, 0));
}

#[test]
fn what_is_defused_still_keeps_the_contract() {
    let with = |schema: Value, unique: bool| {
        contract(json!({"header": false, "columns": [{"name": "t", "schema": schema, "unique": unique}]}))
    };
    let long = with(json!({"type": "string", "maxLength": 3}), false);
    assert_eq!(judge(&long, "=a\n", 1, End::Stop).0, "\"'=a\"\n");
    let found = violation(&long, "=ab\n");
    assert_eq!((found.kind, found.keyword, found.at), (ViolationKind::Schema, Some("formulas"), 0));
    let listed = with(json!({"type": "string", "enum": ["=a"]}), false);
    assert_eq!(violation(&listed, "=a\n").keyword, Some("formulas"));
    let unique = with(json!({"type": "string"}), true);
    assert_eq!(violation(&unique, "'=a\n=a\n").keyword, Some("unique"));
}

#[test]
fn limits_end_in_a_refusal() {
    let small = contract(
        json!({"header": false, "record_bytes_max": 8, "columns": [{"name": "a", "schema": {"type": "string"}}]}),
    );
    let found = violation(&small, "\"123456789\"\r\n");
    assert_eq!((found.kind, found.at), (ViolationKind::TooLarge, 8));
    // Never inside a character.
    let found = violation(&small, "1234567é\n");
    assert_eq!((found.kind, found.at), (ViolationKind::TooLarge, 7));
    assert_eq!(judge(&small, "123456\r\n123456\r\n", 3, End::Stop).1, Outcome::Pass);
    let large = "1\n".repeat(1 << 19);
    let many = contract(json!({"header": false, "rows_max": 1 << 20, "columns": [{"name": "a", "type": "integer"}]}));
    assert_eq!(judge(&many, &large, 1 << 16, End::Stop).1, Outcome::Pass);
    let judged = judge_with(&many, Mode::Verified, RepairPolicy::NONE, &format!("{large}1"), 1 << 16, End::Stop);
    let Outcome::Block(found) = judged.outcome else { panic!("a text over the limit") };
    assert_eq!((found.kind, found.at), (ViolationKind::TooLarge, 1 << 20));
    let fenced = format!("```\n1\n```\n{}", "\n".repeat(1 << 20));
    let judged = judge_with(&many, Mode::Verified, RepairPolicy::all(), &fenced, 1 << 16, End::Stop);
    let Outcome::Block(found) = judged.outcome else { panic!("endless white space") };
    assert_eq!((found.kind, found.at), (ViolationKind::TooLarge, 1 << 20));
}

#[test]
fn uniqueness_that_cannot_be_vouched_for_is_a_refusal() {
    let unique = contract(json!({
        "header": false, "rows_max": 1 << 20, "columns": [
            {"name": "a", "type": "string", "unique": true}, {"name": "b", "type": "string", "unique": true}]}));
    let rows = |rows: u32| (0..rows).map(|row| format!("{row:x},\n")).collect::<String>();
    let twice = violation(&unique, "a,\nb,\n");
    assert_eq!((twice.instance_path.as_str(), twice.keyword), ("/1/b", Some("unique")), "the empty text twice");
    let one = contract(json!({
        "header": false, "rows_max": 1 << 20, "columns": [{"name": "a", "type": "string", "unique": true}, {"name": "b", "type": "string"}]}));
    assert_eq!(judge(&one, &rows(100_000), 1 << 16, End::Stop).1, Outcome::Pass);
    let judged = judge(&one, &short_rows(200_001), 1 << 16, End::Stop);
    let Outcome::Block(found) = judged.1 else { panic!("over the limit of what is remembered") };
    assert_eq!((found.kind, found.keyword), (ViolationKind::TooCostly, Some("unique")));
}

/// Rows of two fields, the first of which is another short text in each.
fn short_rows(rows: u32) -> String {
    let digits: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    (0..rows)
        .map(|row| {
            let digit = |power: u32| digits[(row / 62_u32.pow(power) % 62) as usize];
            format!("{}{}{},\n", digit(2), digit(1), digit(0))
        })
        .collect()
}

#[test]
fn columns_have_types_by_name() {
    let typed = |kind: &str| contract(json!({"header": false, "columns": [{"name": "a", "type": kind}]}));
    for (kind, good, bad, keyword) in [
        ("string", "x", "", ""),
        ("integer", "-7", "7.5", "type"),
        ("number", "1e3", "1e", "type"),
        ("boolean", "false", "no", "type"),
        ("date", "2026-11-29", "2026-11-31", "format"),
        ("date-time", "2026-11-29T17:00:00Z", "2026-11-29 17:00", "format"),
    ] {
        assert_eq!(judge(&typed(kind), good, 1, End::Stop), (good.to_owned(), Outcome::Pass, 0), "{kind}");
        if !keyword.is_empty() {
            assert_eq!(violation(&typed(kind), bad).keyword, Some(keyword), "{kind}");
        }
    }
    let loose = CsvContract::compile_with(
        &json!({"header": false, "columns": [{"name": "a", "type": "date"}, {"name": "b", "type": "integer"}]}),
        false,
    );
    assert_eq!(judge(&loose.clone().unwrap(), "someday,1\n", 1, End::Stop).1, Outcome::Pass);
    assert_eq!(violation(&loose.unwrap(), "someday,x\n").keyword, Some("type"));
}

#[test]
fn what_is_no_contract_is_refused() {
    let code = |document: Value| CsvContract::compile(&document).unwrap_err().code();
    let column = json!({"name": "a", "schema": {"type": "string"}});
    assert_eq!(code(json!({})), "csv_contract_form");
    assert_eq!(code(json!({"columns": [column], "colums": 1})), "csv_contract_form");
    assert_eq!(code(json!({"columns": []})), "csv_contract_columns");
    assert_eq!(code(json!({"columns": [column, column]})), "csv_contract_columns");
    for delimiter in ["", ",,", "\"", "a", "1", "é", "\n", "-"] {
        assert_eq!(
            code(json!({"columns": [column], "delimiter": delimiter})),
            "csv_contract_delimiter",
            "{delimiter:?}"
        );
    }
    for column in [
        json!({"name": "a", "schema": {"type": "array"}}),
        json!({"name": "a", "schema": {}}),
        json!({"name": "a", "type": "text"}),
        json!({"name": "a"}),
        json!({"name": "a", "type": "string", "schema": {"type": "string"}}),
    ] {
        assert_eq!(code(json!({"columns": [column]})), "csv_contract_type", "{column}");
    }
    for sizes in [
        json!({"rows_min": 2, "rows_max": 1}),
        json!({"record_bytes_max": 0}),
        json!({"record_bytes_max": (1 << 20) + 1}),
    ] {
        let mut document = json!({"columns": [column]});
        document.as_object_mut().unwrap().extend(sizes.as_object().unwrap().clone());
        assert_eq!(code(document), "csv_contract_sizes");
    }
    assert_eq!(code(json!({"columns": [{"name": "a\nb", "type": "string"}]})), "csv_contract_columns");
    assert_eq!(
        code(json!({"columns": [{"name": "a", "schema": {"type": "string", "pattern": "("}}]})),
        "schema_invalid"
    );
}
