//! `clyra scan`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::{clyra, temp};

const POLICY: &str = "version: 1
mode: enforce
rules:
  - { id: no-secrets, phase: request, when: 'findings.exists(f, f.class == \"secret\")', action: redact }
";

const KEY: &str = "AKIAZ7Q2M4X9T1B6K3WD";

#[test]
fn traffic_is_judged_line_by_line() {
    let dir = temp();
    std::fs::write(dir.path().join("policy.yaml"), POLICY).unwrap();
    let input = format!("{}\n{}\n", json!({"id": 1, "text": format!("use {KEY}")}), json!({"id": "two", "text": "hi"}));
    let lines = clyra(dir.path(), &["scan", "--policy", "policy.yaml"], input.as_bytes()).is(0).json_lines();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["id"], &lines[0]["action"]), (&json!(1), &json!("redact")));
    assert_eq!(lines[0]["findings"][0]["place"], json!({"pointer": "/text", "offset": 4, "length": 20}));
    assert_eq!(lines[1], json!({"id": "two", "findings": [], "action": "allow"}));
}

#[test]
fn without_a_policy_everything_is_found_and_nothing_acted_upon() {
    let input = format!("{}\n", json!({"id": 1, "text": KEY}));
    let line = &clyra(temp().path(), &["scan", "--channel", "assistant"], input.as_bytes()).is(0).json_lines()[0];
    assert_eq!((&line["action"], &line["findings"][0]["channel"]), (&json!("allow"), &json!("assistant")));
}

#[test]
fn a_bad_line_ends_it_with_its_number() {
    let ran =
        clyra(temp().path(), &["scan"], b"{\"id\":1,\"text\":\"a\"}\nnot json\n{\"id\":3,\"text\":\"c\"}\n").is(2);
    assert_eq!(ran.json_lines().len(), 1);
    assert!(ran.stderr.contains("stdin, line 2"), "{ran:?}");
}

#[test]
fn usage_that_is_wrong_is_status_2() {
    let dir = temp();
    assert!(clyra(dir.path(), &["scan", "--channel", "usr"], b"").is(2).stderr.contains("tool_result"));
    assert!(clyra(dir.path(), &["scan", "--policy", "none.yaml"], b"").is(2).stderr.contains("none.yaml"));
}

#[test]
fn an_answer_does_not_wait_for_the_next_line() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_clyra"))
        .arg("scan")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for id in 0..3 {
        writeln!(stdin, "{}", json!({"id": id, "text": "x"})).unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("{{\"id\":{id},")), "{line}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_clyra"))
        .arg("scan")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    drop(child.stdout.take());
    // It may be gone before everything is written: that is the point.
    let _ = stdin.write_all("{\"id\":1,\"text\":\"x\"}\n".repeat(10_000).as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
