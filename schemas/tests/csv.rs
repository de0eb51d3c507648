//! CSV: strict syntax, typed columns, release record by record, whatever the chunking.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

use std::path::PathBuf;
use std::sync::Arc;

use clyra_schemas::{
    CsvContract, CsvLock, Edit, End, Mode, Outcome, Release, RepairPolicy, Step, Violation, ViolationKind,
};
use proptest::prelude::*;
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
                assert_eq!(lock.finish(end), Outcome::Block(violation.clone()), "a verdict that changed");
                outcome = Some(Outcome::Block(violation));
                break;
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
fn limits_end_in_a_refusal() {
    let small = contract(
        json!({"header": false, "record_bytes_max": 8, "columns": [{"name": "a", "schema": {"type": "string"}}]}),
    );
    let found = violation(&small, "\"123456789\"\r\n");
    assert_eq!((found.kind, found.at), (ViolationKind::TooLarge, 8));
    assert_eq!(judge(&small, "123456\r\n123456\r\n", 3, End::Stop).1, Outcome::Pass);
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
    assert_eq!(code(json!({"columns": [{"name": "a", "schema": {"type": "array"}}]})), "csv_contract_type");
    assert_eq!(
        code(json!({"columns": [{"name": "a", "schema": {"type": "string", "pattern": "("}}]})),
        "schema_invalid"
    );
}

/// Where the shared suites are; `None` after saying so.
fn suites() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let root = PathBuf::from(std::env::var("CLYRA_SHARED_DATA").unwrap_or_else(|_| beside.to_owned())).join("suites");
    if root.is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none(), "CI must have the shared data");
    println!("SKIPPED: the shared suites are not here");
    None
}

/// csv-spectrum: every file has as many rows as the JSON beside it, and all but one keep RFC 4180.
#[test]
fn the_files_of_csv_spectrum_pass_as_rfc_4180_has_it() {
    let Some(root) = suites() else { return };
    let mut files = 0;
    for entry in std::fs::read_dir(root.join("csv-spectrum/csvs")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let json = std::fs::read(root.join(format!("csv-spectrum/json/{name}.json"))).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        // One of them has its only row without the list around it.
        let rows = json.as_array().map_or(1, Vec::len);
        let header = text.lines().next().unwrap();
        let columns: Vec<Value> =
            header.split(',').map(|name| json!({"name": name, "schema": {"type": "string"}})).collect();
        let contract = contract(json!({"columns": columns, "formulas": "off", "rows_min": rows, "rows_max": rows}));
        if name == "location_coordinates" {
            // Feet and inches: a quote in an unquoted field (RFC 4180 §2.5), which readers take in different ways.
            let quote = text.find('"').unwrap() as u64;
            let found = violation(&contract, &text);
            assert_eq!((found.kind, found.at), (ViolationKind::CsvSyntax, quote));
            files += 1;
            continue;
        }
        for piece in [1, 5, text.len()] {
            assert_eq!(judge(&contract, &text, piece, End::Stop), (text.clone(), Outcome::Pass, 0), "{name}");
        }
        files += 1;
    }
    assert_eq!(files, 12);
}

proptest! {
    /// Whatever a strict writer writes passes unchanged, at every chunking, and a reader finds the same fields in it.
    #[test]
    fn what_a_writer_writes_passes(
        rows in prop::collection::vec(prop::collection::vec("[ -~éü\t\n\r]{0,6}", 3), 0..6),
        piece in 1usize..9,
    ) {
        let mut writer = csv::WriterBuilder::new().has_headers(false).terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        prop_assert_eq!(judge(&contract(texts(3)), &text, piece, End::Stop), (text.clone(), Outcome::Pass, 0));
    }

    /// The verdict and what is released do not depend on the chunking, and what is released is always whole records.
    #[test]
    fn any_chunking_gives_the_same(text in "[a,\"\r\n=é]{0,24}", piece in 1usize..9, formulas in prop::sample::select(vec!["prefix", "off"])) {
        let mut document = texts(2);
        document["formulas"] = json!(formulas);
        let contract = contract(document);
        let whole = judge(&contract, &text, usize::MAX, End::Stop);
        prop_assert_eq!(judge(&contract, &text, piece, End::Stop), whole.clone());
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(whole.0.as_bytes());
        for record in reader.records() {
            prop_assert_eq!(record.unwrap().len(), 2);
        }
        if formulas == "off" {
            prop_assert!(text.starts_with(&whole.0));
        }
    }
}
