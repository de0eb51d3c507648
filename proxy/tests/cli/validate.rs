//! `clyra validate`.

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
fn a_violation_is_shown_with_its_place_and_without_its_text() {
    let dir = dir();
    let ran = clyra(dir.path(), &["validate", "--schema", "s.json", "--json"], b"{\"total\": \"hunter2\"}").is(1);
    let expected =
        json!({"verdict": "violation", "offset": 10, "pointer": "/total", "keyword": "type", "early": false});
    assert_eq!(ran.json(), expected);
    let ran = clyra(dir.path(), &["validate", "--schema", "s.json"], b"{\"total\": \"hunter2\"}").is(1);
    assert!(ran.stdout.starts_with("violation: byte 10: "), "{ran:?}");
    assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"), "{ran:?}");
}

#[test]
fn a_document_that_went_wrong_is_not_read_further() {
    let dir = dir();
    let endless = [&b"{\"total\": nope"[..], &vec![b' '; 8 << 20]].concat();
    let verdict = clyra(dir.path(), &["validate", "--schema", "s.json", "--json"], &endless).is(1).json();
    assert_eq!(
        (&verdict["offset"], &verdict["early"], &verdict["keyword"]),
        (&json!(11), &json!(true), &json!("syntax"))
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
    let wrong = json!({"id": 2, "schema": {"type": "integer"}, "document": "[7", "chunk": 1});
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
    assert!(ran.stderr.starts_with("violation: byte 15: ") && !ran.stderr.contains("hunter2"), "{ran:?}");
    let json = run(&["--json"], "id,note\nhunter2,=b\n").is(1).json();
    assert_eq!((&json["text"], &json["edits"], &json["offset"]), (&json!(null), &json!([]), &json!(8)));
    let dir = self::dir();
    let ran = clyra(dir.path(), &["validate", "--schema", "s.json", "--repair"], b"{\"total\": 3}\n").is(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("{\"total\": 3}\n", "pass, 0 edits\n"));
}
