//! What the lock promises, document by document.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice)]

use std::sync::Arc;

use clyra_schemas::{
    Coercion, Contract, ContractError, ContractSource, End, Limits, Lock, Mode, Outcome, Release, RepairClass,
    RepairPolicy, Step, Violation, ViolationKind,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn contract(schema: &Value) -> Arc<Contract> {
    Contract::compile(schema, None, ContractSource::Policy, &Limits::default()).unwrap()
}

/// Feeds `text` in pieces and returns the verdict, with what was released.
fn run(contract: &Arc<Contract>, text: &str, size: usize, end: End) -> (Outcome, String) {
    let mut lock = Lock::new(contract.clone(), Mode::Buffer, RepairPolicy::NONE);
    let mut release = Release::default();
    let mut piece = String::new();
    for c in text.chars() {
        piece.push(c);
        if piece.len() >= size {
            release.push(&piece);
            lock.feed(&std::mem::take(&mut piece));
            assert_eq!(lock.settled(), 0, "buffer mode releases nothing before the end");
        }
    }
    release.push(&piece);
    lock.feed(&piece);
    let outcome = lock.finish(end);
    assert_eq!(lock.finish(end), outcome, "a second end changes nothing");
    let out = release.take(lock.take_edits(), lock.settled());
    (outcome, out)
}

fn violation(schema: &Value, text: &str) -> Violation {
    let contract = contract(schema);
    let (outcome, released) = run(&contract, text, text.len().max(1), End::Stop);
    assert_eq!(released, "");
    let (bytewise, _) = run(&contract, text, 1, End::Stop);
    assert_eq!(outcome, bytewise, "{text}");
    match outcome {
        Outcome::Block(violation) => violation,
        other => unreachable!("{text} was let through: {other:?}"),
    }
}

fn syntax(text: &str) -> (ViolationKind, u64) {
    let violation = violation(&json!(true), text);
    (violation.kind, violation.at)
}

#[test]
fn what_passes_is_released_byte_for_byte() {
    let contract = contract(&json!({ "type": "object", "properties": { "n": { "type": "integer" } } }));
    let text = " { \"n\" : 1.0 ,\n\t\"é\\u0041😀\": [ ] }\r\n";
    for size in [1, 2, 5, 100] {
        assert_eq!(run(&contract, text, size, End::Stop), (Outcome::Pass, text.to_owned()));
    }
}

#[test]
fn the_first_wrong_byte_is_named() {
    use ViolationKind::{ByteOrderMark, DuplicateName, Empty, Incomplete, Number, Syntax, TrailingBytes};
    for (text, expected) in [
        (r#"{"a": 1,}"#, (Syntax, 8)),
        (r#"{"a" 1}"#, (Syntax, 5)),
        ("[1 2]", (Syntax, 3)),
        ("[1}", (Syntax, 2)),
        ("nul1", (Syntax, 3)),
        ("Sure! {}", (Syntax, 0)),
        ("```json\n{}\n```", (Syntax, 0)),
        ("[01]", (Syntax, 2)),
        ("[1.]", (Syntax, 3)),
        ("\"a\tb\"", (Syntax, 2)),
        (r#""\x""#, (Syntax, 2)),
        (r#""\ud83d!""#, (Syntax, 7)),
        (r#""\ude00""#, (Syntax, 6)),
        ("{} x", (TrailingBytes, 3)),
        ("{}{}", (TrailingBytes, 2)),
        ("1 2", (TrailingBytes, 2)),
        ("\u{feff}{}", (ByteOrderMark, 0)),
        (r#"{"a": {"b": 1, "\u0062": 2}}"#, (DuplicateName, 15)),
        (r#"{"a": "#, (Incomplete, 6)),
        ("\"abc", (Incomplete, 4)),
        ("-", (Syntax, 1)),
        ("tru", (Incomplete, 3)),
        ("", (Empty, 0)),
        (" \n", (Empty, 2)),
        ("[1,\n 1e999]", (Number, 9)),
    ] {
        assert_eq!(syntax(text), expected, "{text:?}");
    }
}

#[test]
fn a_syntax_error_is_found_while_the_text_comes() {
    let mut lock = Lock::new(contract(&json!(true)), Mode::Buffer, RepairPolicy::NONE);
    assert_eq!(lock.feed("{\"a\": ["), Step::Hold { bytes: 7 });
    let Step::Violation(found) = lock.feed("1, }") else { unreachable!() };
    assert_eq!((found.kind, found.at, found.early), (ViolationKind::Syntax, 10, true));
    assert!(matches!(lock.feed("]}"), Step::Violation(_)), "once wrong, always wrong");
    assert!(matches!(lock.finish(End::Stop), Outcome::Block(_)));
    assert_eq!(lock.settled(), 0);
}

#[test]
fn the_end_of_the_root_is_announced() {
    let mut lock = Lock::new(contract(&json!(true)), Mode::Buffer, RepairPolicy::NONE);
    assert_eq!(lock.feed("[1]"), Step::Complete);
    assert_eq!(lock.feed("\n"), Step::Complete);
    let mut lock = Lock::new(contract(&json!(true)), Mode::Buffer, RepairPolicy::NONE);
    assert_eq!(lock.feed("12"), Step::Hold { bytes: 2 }, "another digit may come");
}

#[test]
fn a_refused_value_is_located_by_offset_pointer_and_keyword() {
    let schema = json!({
        "type": "object",
        "properties": { "items": { "type": "array", "items": { "properties": { "price": { "minimum": 0 } }, "required": ["price"] } } },
        "additionalProperties": { "type": "string", "maxLength": 3 }
    });
    for (text, at, pointer, keyword) in [
        (r#"[]"#, 0, "", "type"),
        (r#"{"items": [{"price": 1}, {"price": -1}]}"#, 35, "/items/1/price", "minimum"),
        (r#"{"items": [{"price": 1}, {}]}"#, 25, "/items/1", "required"),
        (r#"{"0": "long"}"#, 6, "/*", "maxLength"),
    ] {
        let found = violation(&schema, text);
        let seen = (found.kind, found.at, found.instance_path.as_str(), found.keyword, found.early);
        assert_eq!(seen, (ViolationKind::Schema, at, pointer, Some(keyword), true), "{text}");
    }
    assert_eq!(violation(&schema, "[]").schema_path, "/type");
    assert_eq!(violation(&json!({ "properties": { "a": false } }), r#"{"a": 1}"#).keyword, Some("false"));
}

#[test]
fn a_violation_shows_no_text_of_the_document() {
    let schema = json!({ "additionalProperties": { "enum": ["x"] }, "propertyNames": { "maxLength": 4 } });
    for text in [r#"{"hunter2": "x"}"#, r#"{"pass": "hunter2"}"#, r#"{"pass": "hunter2""#, r#"{"a": hunter2}"#] {
        let found = violation(&schema, text);
        for shown in [format!("{found:?}"), found.to_string()] {
            assert!(!shown.contains("hunter2") && !shown.contains("pass"), "{shown}");
        }
    }
}

#[test]
fn an_answer_that_was_cut_off_never_passes_half() {
    let contract = contract(&json!(true));
    for end in [End::Length, End::ContentFilter, End::Refusal, End::UpstreamError, End::Cancelled] {
        for text in ["{\"a\": 1", "12", "", "\"abc"] {
            let (outcome, released) = run(&contract, text, 3, end);
            let Outcome::Block(found) = outcome else { unreachable!("{end:?} {text}") };
            assert_eq!((found.kind, released.as_str()), (ViolationKind::Interrupted, ""), "{end:?} {text}");
        }
        assert_eq!(run(&contract, "{\"a\": 1}", 3, end).0, Outcome::Pass, "nothing of it is missing");
    }
}

#[test]
fn no_text_at_all() {
    let schema = json!({ "type": "object", "required": ["a"] });
    let with = |source, schema: &Value| Contract::compile(schema, None, source, &Limits::default()).unwrap();
    let tool = with(ContractSource::ToolParameters, &json!({ "type": "object" }));
    assert_eq!(run(&tool, "", 1, End::ToolCalls), (Outcome::Pass, String::new()), "empty arguments are {{}}");
    let strict = with(ContractSource::ToolParameters, &schema);
    let Outcome::Block(found) = run(&strict, "", 1, End::ToolCalls).0 else { unreachable!() };
    assert_eq!(found.keyword, Some("required"));
    let format = with(ContractSource::ResponseFormat, &schema);
    assert_eq!(run(&format, "", 1, End::ToolCalls).0, Outcome::Pass, "an answer of tool calls has no content");
    assert!(matches!(run(&format, "", 1, End::Stop).0, Outcome::Block(_)));
}

#[test]
fn every_limit_of_a_document_blocks() {
    let limits =
        Limits { doc_bytes: 64, depth: 4, whitespace_bytes: 8, number_bytes: 10, work: 20, ..Limits::default() };
    let contract = Contract::compile(&json!({ "items": true }), None, ContractSource::Policy, &limits).unwrap();
    for (text, kind, at) in [
        (format!("\"{}\"", "x".repeat(80)), ViolationKind::TooLarge, 64),
        ("[[[[[".to_owned(), ViolationKind::TooDeep, 4),
        (format!("[{}1]", " ".repeat(9)), ViolationKind::TooMuchWhitespace, 9),
        ("[12345678901]".to_owned(), ViolationKind::Number, 11),
        (format!("[{}1]", "1,".repeat(20)), ViolationKind::TooCostly, 0),
    ] {
        for size in [1, 100] {
            let Outcome::Block(found) = run(&contract, &text, size, End::Stop).0 else { unreachable!("{text}") };
            assert_eq!((found.kind, found.at), (kind, at), "{text}");
        }
    }
    assert_eq!(
        run(&contract, &format!("\"{}\"", "x".repeat(62)), 7, End::Stop).0,
        Outcome::Pass,
        "the limit itself is allowed"
    );
}

#[test]
fn formats_are_checked_and_patterns_are_linear() {
    let contract =
        contract(&json!({ "properties": { "mail": { "format": "email" }, "p": { "pattern": "^(x+x+)+y$" } } }));
    assert!(matches!(run(&contract, r#"{"mail": "nobody"}"#, 4, End::Stop).0, Outcome::Block(_)));
    assert_eq!(run(&contract, r#"{"mail": "a@example.com"}"#, 4, End::Stop).0, Outcome::Pass);
    let evil = format!(r#"{{"p": "{}"}}"#, "x".repeat(100_000));
    assert!(matches!(run(&contract, &evil, 1_000, End::Stop).0, Outcome::Block(_)));
}

fn refused(schema: &Value, source: ContractSource) -> ContractError {
    Contract::compile(schema, None, source, &Limits::default()).unwrap_err()
}

#[test]
fn a_schema_that_cannot_be_used_says_why() {
    use ContractSource::{Policy, ResponseFormat};
    for (schema, source, code) in [
        (json!({ "type": "strnig" }), Policy, "schema_invalid"),
        (json!({ "pattern": "(" }), Policy, "schema_invalid"),
        (json!({ "pattern": "^(?=a)b" }), Policy, "schema_invalid"),
        (json!({ "pattern": "(\\pL{1,500}){1,100}" }), Policy, "schema_invalid"),
        (json!({ "$ref": "#/$defs/nowhere" }), Policy, "schema_invalid"),
        (json!({ "$ref": "https://example.com/schema.json" }), Policy, "schema_invalid"),
        (json!({ "$ref": "file:///etc/passwd" }), Policy, "schema_invalid"),
        (json!({ "$ref": "file:///etc/passwd" }), ResponseFormat, "schema_reference"),
        (json!({ "$ref": "#/$defs/nowhere" }), ResponseFormat, "schema_reference"),
        (json!({ "$defs": { "a": { "$anchor": "b" } }, "$ref": "#b" }), ResponseFormat, "schema_reference"),
        (
            json!({ "properties": { "a": { "$id": "https://example.com/", "$ref": "#/x" } } }),
            ResponseFormat,
            "schema_reference",
        ),
        (json!({ "$dynamicRef": "#a" }), ResponseFormat, "schema_reference"),
        (json!({ "$schema": "https://example.com/dialect" }), Policy, "schema_dialect"),
        (json!({ "enum": vec![0; 30_000] }), Policy, "schema_too_many_values"),
        (json!({ "description": "x".repeat(300_000) }), Policy, "schema_too_large"),
    ] {
        assert_eq!(refused(&schema, source).code(), code, "{}", schema.to_string().get(..60).unwrap_or("short"));
    }
    let error = refused(&json!({ "properties": { "a": { "type": "strnig" } } }), Policy);
    assert_eq!(error.to_string(), "the schema is not valid at \"/properties/a/type\" (anyOf)");
}

#[test]
fn a_property_may_have_the_name_of_a_keyword() {
    let schema = json!({
        "$id": "https://example.com/order",
        "properties": { "$id": { "type": "string" }, "$ref": { "type": "string" }, "id": { "type": "integer" }, "enum": { "$ref": "#/$defs/e" } },
        "$defs": { "e": { "enum": [{ "$ref": "#/nowhere" }] } }
    });
    Contract::compile(&schema, None, ContractSource::ToolParameters, &Limits::default()).unwrap();
}

/// `levels` definitions that each refer twice to the next one.
fn fanning_out(levels: usize, keyword: &str) -> Value {
    let mut definitions = serde_json::Map::new();
    for level in 0..levels {
        let next = json!({ "$ref": format!("#/$defs/d{}", level + 1) });
        definitions.insert(format!("d{level}"), json!({ keyword: [next.clone(), next] }));
    }
    definitions.insert(format!("d{levels}"), json!({ "type": "string" }));
    json!({ "$ref": "#/$defs/d0", "$defs": definitions })
}

#[test]
fn schemas_made_to_be_slow_are_refused_or_bounded() {
    for keyword in ["allOf", "anyOf", "oneOf"] {
        assert_eq!(refused(&fanning_out(30, keyword), ContractSource::Policy).code(), "schema_too_complex");
        let found = violation(&fanning_out(12, keyword), "1");
        assert_eq!(found.kind, ViolationKind::Schema);
    }
    assert_eq!(refused(&fanning_out(200, "not"), ContractSource::Policy).code(), "schema_too_deep");

    // Each level asks two alternatives about the same child: finding the place would take 3 to the 120th steps.
    let child = json!({ "properties": { "c": { "$ref": "#/$defs/n" } }, "required": ["c"] });
    let schema = json!({ "$ref": "#/$defs/n", "$defs": { "n": { "oneOf": [{ "type": "integer" }, child, { "allOf": [child, { "required": ["d"] }] }] } } });
    let deep = format!("{}\"x\"{}", "{\"c\": ".repeat(100), "}".repeat(100));
    let found = violation(&schema, &deep);
    assert_eq!((found.kind, found.keyword, found.at), (ViolationKind::Schema, Some("oneOf"), 0));
    let found = violation(&schema, r#"{"c": "x"}"#);
    assert_eq!(found.keyword, Some("oneOf"));

    for loops in [json!({ "$ref": "#" }), json!({ "allOf": [{ "$ref": "#" }], "anyOf": [{ "$ref": "#" }] })] {
        let contract = contract(&loops);
        assert_eq!(run(&contract, "{\"a\": [1]}", 3, End::Stop).0, Outcome::Pass);
    }
}

#[test]
fn the_deepest_schema_and_document_fit_a_small_stack() {
    let check = || {
        // A chain of references as long as is allowed, and a recursion as deep as is allowed.
        let mut definitions = serde_json::Map::new();
        for level in 0..60 {
            definitions
                .insert(format!("d{level}"), json!({ "allOf": [{ "$ref": format!("#/$defs/d{}", level + 1) }] }));
        }
        definitions.insert("d60".into(), json!({ "type": "array" }));
        let chain = json!({ "$ref": "#/$defs/d0", "$defs": definitions });
        assert_eq!(run(&contract(&chain), "[]", 1, End::Stop).0, Outcome::Pass);

        let tree = json!({ "anyOf": [{ "type": "integer" }, { "allOf": [{ "items": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] } }] }] });
        let deep = format!("{}1{}", "[".repeat(127), "]".repeat(127));
        assert_eq!(run(&contract(&tree), &deep, 9, End::Stop).0, Outcome::Pass);

        // Eight subschemas to a level is the most that fits with the deepest document; nine are refused, not tried.
        for (extra, fits) in [(4, true), (5, false)] {
            let around = |inner, _| json!({ "allOf": [inner] });
            let inner = (0..extra).fold(json!({ "items": { "$ref": "#" } }), around);
            let found = run(&contract(&json!({ "anyOf": [inner, false] })), &deep, 9, End::Stop).0;
            assert_eq!(found == Outcome::Pass, fits, "{extra}: {found:?}");
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(check).unwrap().join().unwrap();
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300_f64..1e300).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_json_text_passes_whole_or_in_pieces(value in any_json(), pretty in any::<bool>(), size in 1..9_usize) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let contract = contract(&json!(true));
        prop_assert_eq!(run(&contract, &text, size, End::Stop), (Outcome::Pass, text));
    }

    #[test]
    fn damaged_json_is_judged_as_the_reader_judges_it(value in any_json(), at in any::<prop::sample::Index>(), byte in "[\\x00-\\x7f]", size in 1..9_usize) {
        let mut text = value.to_string();
        let at = (0..=at.index(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap();
        let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        text.replace_range(at..end, &byte);
        let contract = contract(&json!(true));
        let whole = run(&contract, &text, usize::MAX, End::Stop);
        prop_assert_eq!(&run(&contract, &text, size, End::Stop), &whole);
        match (serde_json::from_str::<Value>(&text), whole.0) {
            (Ok(_), Outcome::Pass) | (Err(_), Outcome::Block(_)) => {}
            // Two members of one name are the one thing in which the lock is the stricter.
            (Ok(_), Outcome::Block(found)) => prop_assert_eq!(found.kind, ViolationKind::DuplicateName),
            (reader, outcome) => prop_assert!(false, "{reader:?} {outcome:?} {text}"),
        }
    }

    #[test]
    fn arbitrary_text_is_judged_the_same_in_any_pieces(text in "[\\[\\]{}:,\"a\\\\u0-9eE.+ \n-]{0,40}", size in 1..6_usize) {
        let contract = contract(&json!({ "type": ["object", "array", "number"], "maxItems": 2 }));
        prop_assert_eq!(run(&contract, &text, size, End::Stop), run(&contract, &text, usize::MAX, End::Stop));
    }
}

/// Feeds damaged text in pieces to a lock that may mend all of it; what left, or the violation.
fn mended(schema: &Value, text: &str, size: usize, mode: Mode, source: ContractSource) -> Result<String, Violation> {
    let contract = Contract::compile(schema, None, source, &Limits::default()).unwrap();
    let mut lock = Lock::new(contract, mode, RepairPolicy::all());
    let (mut release, mut out) = (Release::default(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(size.min(rest.len())));
        rest = after;
        release.push(piece);
        lock.feed(piece);
        out.push_str(&release.take(lock.take_edits(), lock.settled()));
        assert!(serde_json::from_str::<Value>(&out).is_err(), "{out} left before the verdict on {text}");
    }
    let outcome = lock.finish(End::Stop);
    out.push_str(&release.take(lock.take_edits(), lock.settled()));
    match outcome {
        Outcome::Block(violation) => Err(violation),
        _ => Ok(out),
    }
}

#[test]
fn damage_is_mended_in_what_has_not_left() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" }, "s": { "type": "string" } }, "required": ["n"] });
    for (text, expected) in [
        ("```json\n{\"n\": 1}\n```", "{\"n\": 1}"),
        ("\u{feff}{'n': 1, 's': 'it\\'s',}", "{\"n\": 1, \"s\": \"it's\"}"),
        ("{\"s\": \"a\\d\", \"n\": 2", "{\"s\": \"a\\\\d\", \"n\": 2}"),
        ("{\"n\": 3 /* three */}", "{\"n\": 3 }"),
    ] {
        for size in [1, 3, 1_000] {
            for mode in [Mode::Buffer, Mode::Verified, Mode::Cutoff] {
                let out = mended(&schema, text, size, mode, ContractSource::Policy).unwrap();
                let values = [out.as_str(), expected].map(|text| serde_json::from_str::<Value>(text).unwrap());
                assert_eq!(values[0], values[1], "{text} in pieces of {size}, {mode:?}: {out}");
            }
        }
    }
}

#[test]
fn what_is_mended_must_still_keep_its_schema() {
    let schema = json!({ "properties": { "n": { "type": "integer" } } });
    for mode in [Mode::Buffer, Mode::Verified] {
        let found = mended(&schema, "```\n{'n': 'x'}\n```", 1, mode, ContractSource::Policy).unwrap_err();
        assert_eq!((found.keyword, found.at), (Some("type"), 10), "the place in the text as it came");
    }
}

#[test]
fn arguments_of_a_tool_are_never_completed() {
    let schema = json!({ "type": "object" });
    let cut = "{\"command\": \"rm\"";
    assert_eq!(mended(&schema, cut, 4, Mode::Buffer, ContractSource::Policy).unwrap(), "{\"command\": \"rm\"}");
    let found = mended(&schema, cut, 4, Mode::Buffer, ContractSource::ToolParameters).unwrap_err();
    assert_eq!(found.kind, ViolationKind::Incomplete);
}

#[test]
fn everything_that_is_wrong_with_a_document_is_told_without_its_text() {
    let schema = json!({ "properties": { "a": { "type": "integer" }, "b": { "maxLength": 2 } }, "required": ["c"] });
    let contract = contract(&schema);
    let mut found: Vec<_> = contract
        .violations(r#"{"a": "secret", "b": "secret"}"#, 5)
        .into_iter()
        .map(|violation| (violation.instance_path, violation.keyword.unwrap(), violation.at))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(String::new(), "required", 0), ("/a".into(), "type", 6), ("/b".into(), "maxLength", 21)]);
    assert_eq!(contract.violations(r#"{"a": "x", "b": "xxx"}"#, 1).len(), 1);
    assert!(contract.violations(r#"{"c": 1}"#, 5).is_empty() && contract.violations("{", 5).is_empty());
}

#[test]
fn a_scalar_of_the_wrong_kind_changes_if_it_can_only_mean_one_other() {
    let schema = json!({
        "properties": {
            "n": { "type": "integer", "maximum": 100 },
            "b": { "type": "boolean" },
            "l": { "type": "array", "items": { "type": "string" } },
            "either": { "anyOf": [{ "type": "number" }, { "type": "array" }] }
        }
    });
    let contract = contract(&schema);
    let coerced = |text: &str, size: usize, mode: Mode| {
        let repair = RepairPolicy::of([RepairClass::Quotes]).coercing(Coercion::ALL);
        let mut lock = Lock::new(contract.clone(), mode, repair);
        let (mut release, mut out, mut classes) = (Release::default(), String::new(), Vec::new());
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            release.push(piece);
            lock.feed(piece);
            let edits = lock.take_edits();
            classes.extend(edits.iter().map(|edit| edit.class));
            out.push_str(&release.take(edits, lock.settled()));
        }
        let outcome = lock.finish(End::Stop);
        let edits = lock.take_edits();
        classes.extend(edits.iter().map(|edit| edit.class));
        out.push_str(&release.take(edits, lock.settled()));
        match outcome {
            Outcome::Block(violation) => Err((violation.keyword, violation.at)),
            _ => Ok((out, classes)),
        }
    };
    for size in [1, 3, 100] {
        for mode in [Mode::Buffer, Mode::Verified, Mode::Cutoff] {
            let run = |text: &str| coerced(text, size, mode);
            let text = r#"{"n": "42", "b": "true", "l": "a", "x": "7"}"#;
            let (out, classes) = run(text).unwrap();
            assert_eq!(out, r#"{"n": 42, "b": true, "l": ["a"], "x": "7"}"#);
            assert_eq!(classes, ["numbers", "booleans", "single_to_list"]);
            let (out, classes) = run("{'n': '42', \"l\": \"a\"}").unwrap();
            assert_eq!(
                (out.as_str(), classes.len()),
                (r#"{"n": 42, "l": ["a"]}"#, 4),
                "quotes inside are one edit with it"
            );
            assert_eq!(run(r#"{"n": "420"}"#), Err((Some("type"), 6)), "the number is too large");
            assert_eq!(run(r#"{"n": "4.5"}"#), Err((Some("type"), 6)));
            assert_eq!(run(r#"{"n": "x"}"#), Err((Some("type"), 6)));
            assert_eq!(run(r#"{"l": {}}"#), Err((Some("type"), 6)), "no scalar");
            assert_eq!(run(r#"{"either": "4"}"#), Err((Some("anyOf"), 11)), "two readings");
        }
    }
}

/// What is wrong with a document comes before what stands behind it, however the text was cut.
#[test]
fn a_document_that_ends_and_goes_on_is_judged_first() {
    let contract = contract(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "prefixItems": [{"const": "foo"}],
        "not": {"not": {"prefixItems": [true, {"const": "bar"}]}},
        "unevaluatedItems": false
    }));
    for (text, kind) in [
        (r#"["foo","bar"]x"#, ViolationKind::Schema),
        ("[\"foo\",\"bar\"] \n x", ViolationKind::Schema),
        (r#"["foo","bar"]"#, ViolationKind::Schema),
        // A number that no reader can take.
        ("[\n\"foo\",1e+9000] x", ViolationKind::Number),
    ] {
        let (whole, _) = run(&contract, text, text.len(), End::Stop);
        let Outcome::Block(violation) = &whole else { panic!("{text}: {whole:?}") };
        assert_eq!(violation.kind, kind, "{text}");
        for size in 1..text.len() {
            assert_eq!(run(&contract, text, size, End::Stop).0, whole, "{text} in pieces of {size}");
        }
    }
}

/// Found by a fuzzer: a closer too many is left out, sooner or later; where the document ends does not depend on that.
#[test]
fn what_is_left_out_behind_a_document_is_no_part_of_it() {
    // Decided by the authority, at the end.
    let schema = json!({"not": {"not": {"required": ["b"]}}});
    for (text, found_at) in [("{}}", 2), ("{} }", 2), ("```json\n{}\n```", 10), ("{\"a\":[1,],}", 11), ("{\"a\":[1", 7)]
    {
        for size in 1..=text.len() {
            let found = mended(&schema, text, size, Mode::Verified, ContractSource::Policy).unwrap_err();
            assert_eq!((found.kind, found.found_at), (ViolationKind::Schema, found_at), "{text} in pieces of {size}");
        }
    }
}
