//! `clyra validate`.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::{clyra, temp};

fn dir() -> TempDir {
    let dir = temp();
    let schema = r#"{"type":"object","properties":{"total":{"type":"number"}},"required":["total"]}"#;
    std::fs::write(dir.path().join("s.json"), schema).unwrap();
    dir
}

#[test]
fn a_document_that_keeps_the_schema_passes() {
    let dir = dir();
    let ran = clyra(dir.path(), &["validate", "--schema", "s.json"], b"{\"total\": 3}\n").is(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("pass\n", ""));
    let ran =
        clyra(dir.path(), &["validate", "--schema", "s.json", "--format", "json", "--json"], b"{\"total\": 3}").is(0);
    let expected = json!({"verdict": "pass", "offset": null, "pointer": null, "keyword": null, "early": false});
    assert_eq!(ran.json(), expected);
}

#[test]
fn a_violation_is_marked_in_its_line_for_people_only() {
    let dir = dir();
    let ran = clyra(dir.path(), &["validate", "--schema", "s.json", "--json"], b"{\"total\": \"hunter2\"}").is(1);
    let expected = json!({"verdict": "violation", "offset": 10, "pointer": "/total", "keyword": "type", "early": true});
    assert_eq!((ran.json(), ran.stderr.as_str()), (expected, ""));
    let ran = clyra(dir.path(), &["validate", "--schema", "s.json"], b"{\"total\": \"hunter2\"}").is(1);
    assert!(ran.stdout.starts_with("violation: byte 10: ") && !ran.stdout.contains("hunter2"), "{ran:?}");
    assert_eq!(ran.stderr, "  1 | {\"total\": \"hunter2\"}\n    |           ^\n");
    let ran = clyra(dir.path(), &["validate", "--schema", "s.json"], b"{\n\t\"total\": 1,\n\t\"n\": 1 2}").is(1);
    assert_eq!(ran.stderr, "  3 |     \"n\": 1 2}\n    |            ^\n");
    // The end, what is no text, and the lack of any.
    let marked = |input: &[u8]| clyra(dir.path(), &["validate", "--schema", "s.json"], input).is(1).stderr;
    assert_eq!(marked(b"{\"total\": 1"), "  1 | {\"total\": 1\n    |            ^\n");
    assert_eq!(marked(b"{\"\xff\x1b[2J"), "  1 | {\"\u{fffd}\n    |   ^\n");
    assert_eq!(marked(b""), "");
}

#[test]
fn a_mark_goes_as_far_as_what_it_marks() {
    let dir = temp();
    let schema = json!({"properties": {"items": {"items": {"properties": {"price": {"minimum": 0}}}}}});
    std::fs::write(dir.path().join("s.json"), schema.to_string()).unwrap();
    let input = "{\n  \"items\": [\n    { \"price\": -12 }\n  ]\n}\n";
    let ran = clyra(dir.path(), &["validate", "--schema", "s.json"], input.as_bytes()).is(1);
    assert!(ran.stdout.contains("value at \"/items/0/price\""), "{ran:?}");
    assert_eq!(ran.stderr, "  3 |     { \"price\": -12 }\n    |                ^^^\n");
}

#[test]
fn a_document_that_went_wrong_is_not_read_further() {
    let dir = dir();
    let endless = [&b"{\"n\": nope"[..], &vec![b' '; 8 << 20]].concat();
    let verdict = clyra(dir.path(), &["validate", "--schema", "s.json", "--json"], &endless).is(1).json();
    assert_eq!(
        (&verdict["offset"], &verdict["early"], &verdict["keyword"]),
        (&json!(7), &json!(true), &json!("syntax"))
    );
}

#[test]
fn a_schema_that_cannot_be_used_is_status_2() {
    let dir = dir();
    let bad = |text: &str| {
        std::fs::write(dir.path().join("bad.json"), text).unwrap();
        let ran = clyra(dir.path(), &["validate", "--schema", "bad.json"], b"{}").is(2);
        assert!(ran.stdout.is_empty(), "{ran:?}");
        ran.stderr
    };
    assert!(bad("{").contains("schema bad.json: not JSON: unexpected end"));
    assert!(bad(r#"{"type":"a","type":"b"}"#).contains("the same member name twice"));
    assert!(bad(r#"{"type":"objekt"}"#).contains("[schema_invalid]"));
    assert!(clyra(dir.path(), &["validate", "--schema", "none.json"], b"").is(2).stderr.contains("none.json"));
    assert!(clyra(dir.path(), &["validate"], b"").is(2).stderr.contains("--schema"));
}

#[test]
fn a_batch_ends_with_the_worst_of_its_lines() {
    let dir = dir();
    let batch = |lines: &[serde_json::Value]| {
        let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
        clyra(dir.path(), &["validate", "--batch"], input.as_bytes())
    };
    let good = json!({"id": 1, "schema": {"type": "integer"}, "document": "7"});
    let wrong = json!({"id": 2, "schema": {"type": "array"}, "document": "[7", "chunk": 1});
    let unusable = json!({"id": 3, "schema": {"type": 1}, "document": "7"});
    assert_eq!(batch(std::slice::from_ref(&good)).is(0).json_lines()[0]["verdict"], "pass");
    let lines = batch(&[good.clone(), wrong.clone(), good.clone()]).is(1).json_lines();
    assert_eq!(
        lines[1],
        json!({"id": 2, "verdict": "violation", "offset": 2, "pointer": "", "keyword": "incomplete", "early": false})
    );
    let ran = batch(&[unusable, wrong, good]).is(2);
    assert_eq!((ran.json_lines().len(), &ran.json_lines()[0]["verdict"]), (3, &json!("unreadable schema")));
    let ran =
        clyra(dir.path(), &["validate", "--batch", "--schema", "s.json"], b"{\"id\":1,\"document\":{\"total\":1}}")
            .is(0);
    assert_eq!(ran.json_lines()[0]["verdict"], "pass");
}

#[test]
fn csv_is_held_to_its_contract() {
    let dir = temp();
    let contract = json!({"columns": [
        {"name": "id", "schema": {"type": "integer"}}, {"name": "note", "schema": {"type": "string", "maxLength": 5}}]});
    std::fs::write(dir.path().join("c.json"), contract.to_string()).unwrap();
    let run = |input: &str| {
        clyra(dir.path(), &["validate", "--format", "csv", "--schema", "c.json", "--json"], input.as_bytes())
    };
    assert_eq!(run("id,note\r\n1,a\r\n").is(0).json()["verdict"], "pass");
    let wrong = run("id,note\r\n1,a\r\n2,too long\r\n").is(1);
    assert_eq!(
        wrong.json(),
        json!({"verdict": "violation", "offset": 16, "pointer": "/1/note", "keyword": "maxLength", "early": true})
    );
    assert_eq!(run("id,note\r\n1,a\"b\r\n").is(1).json()["keyword"], "csv_syntax");
    std::fs::write(dir.path().join("c.json"), "{}").unwrap();
    assert!(run("").is(2).stderr.contains("[csv_contract_form]"));
    let batch = clyra(dir.path(), &["validate", "--format", "csv", "--batch"], b"");
    assert!(batch.is(2).stderr.contains("--batch is for JSON"));
}

#[test]
fn a_document_that_passes_is_printed_as_it_would_be_released() {
    let dir = temp();
    let contract = json!({"columns": [{"name": "id", "type": "integer"}, {"name": "note", "type": "string"}]});
    std::fs::write(dir.path().join("c.json"), contract.to_string()).unwrap();
    let run = |more: &[&str], input: &str| {
        let arguments = [&["validate", "--format", "csv", "--schema", "c.json", "--repair"], more].concat();
        clyra(dir.path(), &arguments, input.as_bytes())
    };
    let ran = run(&[], "```csv\nid,note\n1,=1+1\n```\n").is(0);
    assert_eq!(ran.stdout, "id,note\n1,\"'=1+1\"\n");
    assert_eq!(ran.stderr, "pass, 3 edits\nbytes 0 to 7: fences\nbytes 17 to 21: formulas\nbytes 22 to 26: fences\n");
    let json = run(&["--json"], "id,note\n1,@a\n").is(0).json();
    assert_eq!((&json["verdict"], &json["text"]), (&json!("pass"), &json!("id,note\n1,\"'@a\"\n")));
    assert_eq!(json["edits"], json!([{"from": 10, "to": 12, "class": "formulas", "with": "\"'@a\""}]));
    let ran = run(&[], "id,note\n1,=1+1\nhunter2,b\n").is(1);
    assert_eq!(ran.stdout, "", "nothing is released of what does not pass");
    assert!(ran.stderr.starts_with("violation: byte 15: "), "{ran:?}");
    assert!(ran.stderr.ends_with("\n  3 | hunter2,b\n    | ^^^^^^^\n"), "{ran:?}");
    let json = run(&["--json"], "id,note\nhunter2,=b\n").is(1).json();
    assert_eq!((&json["text"], &json["edits"], &json["offset"]), (&json!(null), &json!([]), &json!(8)));
    let dir = self::dir();
    let ran = clyra(dir.path(), &["validate", "--schema", "s.json", "--repair"], b"{\"total\": 3}\n").is(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("{\"total\": 3}\n", "pass, 0 edits\n"));
}

#[test]
fn only_the_damage_that_is_named_is_mended() {
    let dir = dir();
    let run = |repair: &[&str], input: &str| {
        let arguments = [&["validate", "--schema", "s.json", "--repair"], repair].concat();
        clyra(dir.path(), &arguments, input.as_bytes())
    };
    let ran = run(&["fences,quotes"], "```json\n{'total': 3}\n```").is(0);
    assert_eq!((ran.stdout.trim(), ran.stderr.lines().next()), ("{\"total\": 3}", Some("pass, 4 edits")));
    let ran = run(&["fences", "--json"], "```json\n{'total': 3}\n```").is(1).json();
    assert_eq!((&ran["offset"], &ran["keyword"], &ran["text"]), (&json!(9), &json!("syntax"), &json!(null)));
    let ran = run(&["fence"], "").is(2);
    assert!(ran.stderr.contains("fences") && ran.stderr.contains("trailing_commas"), "{ran:?}");
}

#[test]
fn a_scalar_stands_for_the_one_that_it_can_mean_where_that_is_asked_for() {
    let dir = temp();
    let schema =
        json!({"properties": {"total": {"type": "number"}, "paid": {"type": "boolean"}, "tags": {"type": "array"}}});
    std::fs::write(dir.path().join("s.json"), schema.to_string()).unwrap();
    let run = |more: &[&str], input: &str| {
        clyra(dir.path(), &[&["validate", "--schema", "s.json"], more].concat(), input.as_bytes())
    };
    let (input, meant) =
        ("{\"total\": \"42\", \"paid\": \"true\", \"tags\": 1}", "{\"total\": 42, \"paid\": true, \"tags\": [1]}");
    let ran = run(&["--coerce"], input).is(0);
    assert_eq!(ran.stdout, meant);
    let edits = "pass, 3 edits\nbytes 10 to 14: numbers\nbytes 24 to 30: booleans\nbytes 40 to 41: single_to_list\n";
    assert_eq!(ran.stderr, edits);
    assert_eq!(run(&["--coerce", "numbers,booleans,single_to_list"], input).is(0).stdout, meant);
    // Only what is named, and damage only with --repair.
    assert!(run(&[], input).is(1).stdout.starts_with("violation: byte 10"));
    assert_eq!(run(&["--coerce", "numbers", "--json"], input).is(1).json()["offset"], 24);
    assert_eq!(run(&["--coerce", "numbers", "--json"], "{\"total\": \"42\",}").is(1).json()["offset"], 15);
    assert_eq!(run(&["--coerce", "--repair"], "{\"total\": \"42\",}").is(0).stdout, "{\"total\": 42}");
    assert_eq!(run(&["--coerce", "numbers", "--follow"], "{\"total\": \"42\"}").is(0).stdout, "{\"total\": 42}");
    let unknown = run(&["--coerce", "number"], "").is(2).stderr;
    assert!(unknown.contains("numbers") && unknown.contains("single_to_list"), "{unknown}");
    let csv = run(&["--format", "csv", "--coerce"], "").is(2).stderr;
    assert!(csv.contains("--coerce is for JSON documents"), "{csv}");

    let batch = |more: &[&str], line: &serde_json::Value| {
        clyra(dir.path(), &[&["validate", "--schema", "s.json", "--batch"], more].concat(), line.to_string().as_bytes())
    };
    let line = json!({"id": 1, "document": input});
    let with = |coerce: serde_json::Value| json!({"id": 1, "document": input, "chunk": 1, "coerce": coerce});
    assert_eq!(batch(&["--coerce"], &line).is(0).json()["repaired"], meant);
    assert_eq!(batch(&[], &with(json!(true))).is(0).json()["repaired"], meant);
    assert_eq!(batch(&[], &with(json!(["numbers"]))).is(1).json()["offset"], 24);
    assert_eq!(batch(&["--coerce"], &with(json!(false))).is(1).json()["offset"], 10);
    assert_eq!(batch(&["--coerce"], &with(json!(null))).is(0).json()["repaired"], meant);
    // What is said of the one says nothing of the other.
    let both = json!({"id": 1, "document": "{\"total\": \"42\",}", "repair": ["trailing_commas"]});
    assert_eq!(batch(&["--coerce"], &both).is(0).json()["repaired"], "{\"total\": 42}");
    assert_eq!(batch(&[], &both).is(1).json()["offset"], 10);
    for wrong in [json!("numbers"), json!(["number"]), json!([1]), json!(1)] {
        assert!(batch(&[], &with(wrong)).is(2).stderr.contains("line 1: `coerce` must be"));
    }
}

#[test]
fn a_line_of_a_batch_says_what_may_be_mended_in_it() {
    let dir = dir();
    let batch = |arguments: &[&str], line: &serde_json::Value| {
        let arguments = [&["validate", "--batch", "--schema", "s.json"], arguments].concat();
        clyra(dir.path(), &arguments, line.to_string().as_bytes())
    };
    let damaged = "```json\n{'total': 3,}\n```";
    let with = |repair: serde_json::Value| json!({"id": 1, "document": damaged, "chunk": 1, "repair": repair});
    let without = json!({"id": 1, "document": damaged});
    let whole = json!({"id": 1, "verdict": "pass", "offset": null, "pointer": null, "keyword": null, "early": false,
        "repaired": "\n{\"total\": 3}\n"});
    let refused = |arguments: &[&str], line: &serde_json::Value| {
        let found = batch(arguments, line).is(1).json();
        assert_eq!((&found["verdict"], found.get("repaired")), (&json!("violation"), None));
        found["offset"].as_u64().unwrap()
    };
    assert_eq!(batch(&[], &with(json!(true))).is(0).json(), whole);
    assert_eq!(batch(&[], &with(json!(["fences", "quotes", "trailing_commas"]))).is(0).json(), whole);
    assert_eq!(batch(&["--repair"], &without).is(0).json(), whole);
    assert_eq!(batch(&["--repair", "fences"], &with(json!(true))).is(0).json(), whole);
    // Offsets are those of the document as it came.
    assert_eq!(refused(&[], &without), 0);
    assert_eq!(refused(&["--repair"], &with(json!(false))), 0);
    assert_eq!(refused(&["--repair"], &with(json!([]))), 0);
    assert_eq!(refused(&["--repair", "fences"], &without), 9);
    assert_eq!(refused(&[], &with(json!(["fences", "quotes"]))), 20);
    // What is mended and refused all the same, and what needs no mending.
    assert_eq!(refused(&["--repair"], &json!({"id": 1, "document": "```\n{'total': 'x'}\n```"})), 14);
    let sound = json!({"id": 1, "document": "{\"total\": 3}", "repair": true});
    assert_eq!(batch(&[], &sound).is(0).json().get("repaired"), None);
    for wrong in [json!("fences"), json!(["fence"]), json!([1]), json!(1)] {
        assert!(batch(&[], &with(wrong)).is(2).stderr.contains("line 1: `repair` must be"));
    }
}

#[test]
fn formats_are_asserted_unless_they_are_not_meant() {
    let dir = temp();
    std::fs::write(dir.path().join("s.json"), r#"{"format": "date"}"#).unwrap();
    let run = |more: &[&str], input: &str| {
        clyra(dir.path(), &[&["validate", "--schema", "s.json"], more].concat(), input.as_bytes())
    };
    run(&[], r#""today""#).is(1);
    run(&["--no-formats"], r#""today""#).is(0);
    let line = json!({"schema": {"format": "date"}, "document": "\"today\""}).to_string();
    run(&["--batch"], &line).is(1);
    run(&["--batch", "--no-formats"], &line).is(0);
    let contract = json!({"columns": [{"name": "day", "type": "date"}]});
    std::fs::write(dir.path().join("s.json"), contract.to_string()).unwrap();
    run(&["--format", "csv"], "day\ntoday\n").is(1);
    run(&["--format", "csv", "--no-formats"], "day\ntoday\n").is(0);
}

const FOLLOWED: &str = r#"{"properties":{"id":{"pattern":"^[0-9]+$"},"note":{"type":"string"},"n":{"maximum":9}}}"#;

#[test]
fn what_may_leave_is_shown_and_what_is_held_is_not() {
    let dir = temp();
    std::fs::write(dir.path().join("s.json"), FOLLOWED).unwrap();
    let run = |more: &[&str], input: &str| {
        clyra(dir.path(), &[&["validate", "--schema", "s.json", "--follow"], more].concat(), input.as_bytes())
    };
    let good = "{\"id\": \"12\", \"note\": \"a\"}\n";
    for mode in ["buffer", "verified", "cutoff"] {
        let ran = run(&["--mode", mode], good).is(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.lines().last()), (good, Some("pass, 0 edits")), "{mode}");
    }
    let ran = run(&[], "{\"id\": \"12\", \"note\": \"ab\", \"n\": 10, \"id\"").is(1);
    assert_eq!(ran.stdout, "{\"id\": \"12\", \"note\": \"ab\", \"n\": ", "the number is out of bounds");
    let notes: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(notes[0], "held: 8 bytes from byte 32 on");
    assert!(notes[1].starts_with("violation: byte 32: ") && notes[1].contains("`maximum`"), "{notes:?}");
    assert_eq!(notes[2], "  1 | {\"id\": \"12\", \"note\": \"ab\", \"n\": 10, \"id\"");
    assert_eq!(notes[3], "    |                                 ^^");
    assert_eq!(notes[4..], ["cut at byte 32: 8 bytes behind it did not leave"]);
    assert_eq!(run(&["--mode", "buffer"], "{\"n\": 10}").is(1).stdout, "");
    // The last bracket waits for the verdict on the whole, and a pattern for the end of its string.
    let cut = "{\"note\": \"ab\", \"id\": \"1x";
    assert_eq!(run(&[], cut).is(1).stdout, "{\"note\": \"ab\", \"id\": ");
    assert_eq!(run(&["--mode", "cutoff"], cut).is(1).stdout, "{\"note\": \"ab\", \"id\": \"1");
    let mended = run(&["--repair"], "```json\n{'note': 'a',}\n```").is(0);
    assert_eq!(mended.stdout.trim(), "{\"note\": \"a\"}");
    assert!(mended.stderr.contains("\nbytes 0 to 7: fences\n"), "{mended:?}");
    for wrong in [&["--batch"][..], &["--mode", "observe"]] {
        assert!(run(wrong, "").is(2).stderr.starts_with("error: "));
    }
    let arguments = ["validate", "--schema", "s.json", "--mode", "cutoff"];
    assert!(clyra(dir.path(), &arguments, b"").is(2).stderr.contains("--follow"));
}

/// A producer that waits for each part to be shown before it says the next: neither side may wait for more.
#[test]
fn a_slow_stream_is_shown_as_it_comes() {
    let dir = temp();
    std::fs::write(dir.path().join("s.json"), FOLLOWED).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_clyra"))
        .args(["validate", "--schema", "s.json", "--follow"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let steps = [
        ("{\"note\": \"a", "{\"note\": \"a"),
        ("b\", \"id\": \"1", "b\", \"id\": "),
        ("2\", ", "\"12\", "),
        ("\"n\": 10", ""),
    ];
    for (said, expected) in steps {
        stdin.write_all(said.as_bytes()).unwrap();
        let mut shown = vec![0; expected.len()];
        stdout.read_exact(&mut shown).unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), expected);
    }
    stdin.write_all(b"}").unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    // It ends by itself, although the producer has not.
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("\"n\": ", Some(1)));
    drop(stdin);
}

#[test]
fn steps_can_be_read_by_machines() {
    let dir = temp();
    std::fs::write(dir.path().join("s.json"), FOLLOWED).unwrap();
    let run =
        |input: &[u8]| clyra(dir.path(), &["validate", "--schema", "s.json", "--follow", "--json", "--repair"], input);
    let ran = run(b"{'note': 'a'}").is(0);
    assert_eq!(ran.stderr, "");
    let lines = ran.json_lines();
    let (verdict, steps) = lines.split_last().unwrap();
    let text: String = steps.iter().map(|step| step["text"].as_str().unwrap()).collect();
    assert_eq!((text.as_str(), &steps.last().unwrap()["held"]), ("{\"note\": \"a\"}", &json!(0)));
    assert_eq!((&verdict["verdict"], verdict["edits"].as_array().map(Vec::len)), (&json!("pass"), Some(4)));
    let lines = run(b"{\"n\": 10}").is(1).json_lines();
    assert_eq!(lines[0], json!({"text": "{\"n\": ", "held": 3}));
    let violation = json!({"verdict": "violation", "offset": 6, "pointer": "/n", "keyword": "maximum", "early": true,
        "edits": []});
    assert_eq!(lines[1..], [violation]);
}

#[test]
fn csv_is_shown_record_by_record() {
    let dir = temp();
    let contract = json!({"columns": [{"name": "id", "type": "integer"}, {"name": "note", "type": "string"}]});
    std::fs::write(dir.path().join("c.json"), contract.to_string()).unwrap();
    let arguments = ["validate", "--format", "csv", "--schema", "c.json", "--follow"];
    let ran = clyra(dir.path(), &arguments, b"id,note\n1,=a\n2,b\nx,c\n").is(1);
    assert_eq!(ran.stdout, "id,note\n1,\"'=a\"\n2,b\n");
    assert!(ran.stderr.ends_with("cut at byte 17: 4 bytes behind it did not leave\n"), "{ran:?}");
}
