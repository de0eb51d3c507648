use super::*;
use crate::exchange::gateway::engine;

const POLICY: &str = r#"
version: 1
mode: enforce
detectors:
  patterns:
    - { id: codename, literal: "Project Nightjar", class: restricted, score: 1.0 }
rules:
  - { id: secrets, phase: request, when: 'findings.exists(f, f.class == "secret")', action: redact }
  - { id: codename, phase: request, when: 'findings.exists(f, f.class == "restricted")', action: block }
  - { id: back, phase: response, when: 'findings.exists(f, f.class == "secret")', action: block }
  - { id: calls, phase: tool_call, when: 'findings.exists(f, f.class == "restricted")', action: block }
"#;

const KEY: &str = "AKIAZ7Q2M4X9T1B6K3WD";

fn scan(policy: &str, channel: Channel, input: &str) -> (Vec<Value>, Result<(), LineError>) {
    let policy = Policy::parse(policy, "policy.yaml", &|_| Err("no files".to_owned())).unwrap();
    let engine = engine(&policy).unwrap();
    let mut out = Vec::new();
    let result = Scanner::new(policy, engine, channel, 0).scan(input.as_bytes(), &mut out);
    let lines = String::from_utf8(out).unwrap();
    (lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), result)
}

fn one(channel: Channel, text: &str) -> Value {
    let line = json!({"id": 1, "text": text}).to_string();
    scan(POLICY, channel, &line).0.remove(0)
}

#[test]
fn each_line_is_answered_in_order_with_findings_and_action() {
    let input = format!(
        "{}\n{}\n{}\n",
        json!({"id": "a", "text": format!("my key is {KEY}."), "more": [1]}),
        json!({"id": 2, "text": "nothing to see"}),
        json!({"id": null, "text": "about Project Nightjar"}),
    );
    let (lines, result) = scan(POLICY, Channel::User, &input);
    result.unwrap();
    let expected = json!({
        "id": "a",
        "findings": [{
            "detector": "secrets.aws_access_key_id", "class": "secret", "score": 0.98, "channel": "user",
            "place": {"pointer": "/text", "offset": 10, "length": 20}, "owasp": "LLM02:2026", "atlas": "AML.T0057",
        }],
        "action": "redact",
    });
    assert_eq!(lines[0], expected);
    assert_eq!(lines[1], json!({"id": 2, "findings": [], "action": "allow"}));
    assert_eq!((&lines[2]["id"], &lines[2]["action"]), (&Value::Null, &json!("block")));
}

#[test]
fn a_channel_is_judged_by_the_rules_of_its_direction() {
    assert_eq!(one(Channel::ToolResult, KEY)["action"], "redact");
    assert_eq!(one(Channel::Content, KEY)["action"], "block");
    assert_eq!(one(Channel::Content, "Project Nightjar")["action"], "allow");
    assert_eq!(one(Channel::ToolArguments, r#"{"q":"Project\u0020Nightjar"}"#)["action"], "block");
    assert_eq!(one(Channel::User, r#"{"q":"Project\u0020Nightjar"}"#)["findings"], json!([]));
}

#[test]
fn the_action_is_what_is_decided_even_where_nothing_is_applied() {
    let observing = POLICY.replace("mode: enforce", "mode: observe");
    let line = json!({"id": 1, "text": KEY}).to_string();
    assert_eq!(scan(&observing, Channel::User, &line).0[0]["action"], "redact");
}

#[test]
fn a_rule_that_needs_no_finding_fires_without_one() {
    let policy = "version: 1\nmode: enforce\nrules:\n  - { id: all, phase: request, action: block }\n";
    assert_eq!(scan(policy, Channel::User, r#"{"id":1,"text":""}"#).0[0]["action"], "block");
}

#[test]
fn what_came_before_a_bad_line_stands() {
    let (lines, result) =
        scan(POLICY, Channel::User, "{\"id\":1,\"text\":\"a\"}\n{\"id\":2}\n{\"id\":3,\"text\":\"c\"}\n");
    assert_eq!(lines.len(), 1);
    assert!(result.unwrap_err().to_string().contains("line 2: no member `text`"));
}

#[test]
fn a_text_of_many_findings_is_listed_in_part_and_counted_in_full() {
    let line = json!({"id": 1, "text": format!("{KEY} ").repeat(600)}).to_string();
    let answer = scan(POLICY, Channel::User, &line).0.remove(0);
    assert_eq!(answer["findings"].as_array().unwrap().len(), crate::exchange::judge::FINDINGS_MAX);
    assert_eq!((&answer["findings_total"], &answer["action"]), (&json!(600), &json!("redact")));
}

#[test]
fn every_channel_can_be_named() {
    for channel in CHANNELS {
        assert_eq!(CHANNELS.iter().filter(|other| other.as_str() == channel.as_str()).count(), 1);
    }
}
