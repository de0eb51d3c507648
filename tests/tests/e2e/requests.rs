//! Requests on their way out: what is refused before it is looked at, what is taken out of which place, and which headers
//! travel.

use std::collections::BTreeMap;

use bytes::Bytes;
use clyra_simulator::{Options, SeenRequest, Simulator};
use clyra_tests::ask::{Surface, refused};
use clyra_tests::client::{get, post, post_chunked};
use clyra_tests::sidecar::Sidecar;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const LITERAL: &str = "Project Nightjar";
const MASK: &str = "[REDACTED:restricted]";
/// What tells one request from another at the provider.
const CASE: &str = "x-case";

fn policy(action: &str) -> String {
    format!(
        "version: 1
mode: enforce
defaults: {{ budget_ms: {{ request: 60000 }} }}
detectors:
  patterns:
    - {{ id: codename, literal: \"{LITERAL}\", class: restricted, score: 1.0 }}
rules:
  - id: no-codename
    phase: request
    when: findings.exists(f, f.class in [\"restricted\", \"secret\"])
    action: {action}
    reason: The code name stays inside.
"
    )
}

fn seen(simulator: &Simulator) -> BTreeMap<String, SeenRequest> {
    let name = |request: &SeenRequest| request.headers.get(CASE).map(|v| v.to_str().unwrap().to_owned());
    simulator.requests().into_iter().filter_map(|request| Some((name(&request)?, request))).collect()
}

fn nested(depth: usize) -> Vec<u8> {
    // The outermost object is the first level.
    let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
    format!("{{\"model\":\"m\",\"messages\":[],\"x\":{open}{close}}}").into_bytes()
}

/// What two JSON readers could understand differently, or one could choke on, never comes to the policy.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_strict_json_is_refused_before_policy() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("redact"), &simulator.url()).await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an empty body", b"".to_vec()),
        ("only white space", b" \r\n\t".to_vec()),
        ("no JSON", b"model=m&messages=x".to_vec()),
        ("a member twice", br#"{"model":"m","messages":[],"model":"n"}"#.to_vec()),
        ("a member twice, once escaped", br#"{"model":"m","messages":[],"mod\u0065l":"n"}"#.to_vec()),
        (
            "a member twice, deep",
            br#"{"model":"m","messages":[{"role":"user","content":"a","role":"system"}]}"#.to_vec(),
        ),
        (
            "a member twice among many",
            format!("{{{},\"k3\":1}}", (0..20).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",")).into(),
        ),
        ("a byte order mark", b"\xef\xbb\xbf{\"model\":\"m\",\"messages\":[]}".to_vec()),
        ("UTF-16", "{\"model\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("NaN", br#"{"model":"m","messages":[],"top_p":NaN}"#.to_vec()),
        ("Infinity", br#"{"model":"m","messages":[],"top_p":-Infinity}"#.to_vec()),
        ("a number with a leading zero", br#"{"model":"m","messages":[],"n":01}"#.to_vec()),
        ("a number with a plus", br#"{"model":"m","messages":[],"n":+1}"#.to_vec()),
        ("trailing bytes", br#"{"model":"m","messages":[]} x"#.to_vec()),
        ("two documents", br#"{"model":"m","messages":[]}{"model":"m","messages":[]}"#.to_vec()),
        ("a NUL behind", b"{\"model\":\"m\",\"messages\":[]}\0".to_vec()),
        ("a trailing comma", br#"{"model":"m","messages":[],}"#.to_vec()),
        ("a comment", br#"{"model":"m",/* x */"messages":[]}"#.to_vec()),
        ("single quotes", b"{'model':'m','messages':[]}".to_vec()),
        ("an unfinished document", br#"{"model":"m","messages":["#.to_vec()),
        ("a raw line feed in a string", b"{\"model\":\"a\nb\",\"messages\":[]}".to_vec()),
        ("a broken escape", br#"{"model":"\x41","messages":[]}"#.to_vec()),
        ("half an escape", br#"{"model":"\u12","messages":[]}"#.to_vec()),
        ("bytes that are no UTF-8", b"{\"model\":\"\xff\xfe\",\"messages\":[]}".to_vec()),
        ("an overlong slash", b"{\"model\":\"\xc0\xaf\",\"messages\":[]}".to_vec()),
        ("a surrogate in UTF-8", b"{\"model\":\"\xed\xa0\x80\",\"messages\":[]}".to_vec()),
        ("129 levels", nested(129)),
        ("a hundred thousand levels", nested(100_000)),
    ];
    let mut ids = Vec::new();
    for surface in Surface::BOTH {
        for (name, body) in &cases {
            let answer = post(sidecar.address, surface.path(), &[(CASE, "refused")], body.clone()).await;
            let refusal = refused(surface, 400, "invalid_request", &answer);
            assert_eq!(refusal.kind, "invalid_request_error", "{name}");
            assert!(refusal.reason.contains("strict JSON") && refusal.reason.len() < 200, "{name}: {}", refusal.reason);
            assert!(refusal.rule.is_none(), "{name}");
            ids.push((*name, answer.request_id().to_owned()));
        }
        // The simulator's own reader stops short of that.
        let answer = post(sidecar.address, surface.path(), &[(CASE, "128 levels")], nested(128)).await;
        assert_eq!(answer.header("x-simulated-provider"), "clyra-simulator", "{}", answer.text());
    }
    let seen = seen(&simulator);
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["128 levels"]);
    for (name, id) in ids {
        let (attempt, outcome) = sidecar.pair(&id);
        assert_eq!(outcome["verdict"], "errored", "{name}");
        assert_eq!(attempt["coverage"], json!({"level": "none", "reasons": ["unreadable"]}), "{name}");
        let event = sidecar.event(&id).await;
        assert_eq!((&event["code"], &event["status"]), (&json!("invalid_request"), &json!(400)), "{name}");
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// A request in which `@@` stands for the text, with quirks around it that must survive.
struct Case {
    name: &'static str,
    surface: Surface,
    template: String,
    channel: &'static str,
    pointer: &'static str,
    /// The text stands in a JSON document inside a JSON string.
    twice: bool,
}

fn case(
    surface: Surface,
    (name, template, channel, pointer): (&'static str, &str, &'static str, &'static str),
) -> Case {
    Case { name, surface, template: template.to_owned(), channel, pointer, twice: template.contains("\\\"@@\\\"") }
}

/// Every place of a request that holds text.
fn cases() -> Vec<Case> {
    let chat = [
        (
            "system",
            r#"{"model":"m","messages":[{"role":"system","content":"Mind @@ \u00e9"},{"role":"user","content":"x"}]}"#,
            "system",
            "/messages/0/content",
        ),
        (
            "developer parts",
            r#"{"messages":[{"role":"developer","content":[{"type":"text","text":"@@"}]}],"model":"m"}"#,
            "system",
            "/messages/0/content/0/text",
        ),
        (
            "user",
            r#" {"model" : "m", "messages" : [ {"role":"user","content":"a \/ @@ \ud83e\udd89 é\n"} ] , "temperature":1e0} "#,
            "user",
            "/messages/0/content",
        ),
        (
            "user, content before role",
            r#"{"model":"m","messages":[{"content":"@@","role":"user"}]}"#,
            "user",
            "/messages/0/content",
        ),
        (
            "user parts",
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"@@ b"}]}]}"#,
            "user",
            "/messages/0/content/1/text",
        ),
        (
            "a part nobody knows",
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"later","later":{"deep":["@@"]}}]}]}"#,
            "metadata",
            "/messages/0/content/0/later",
        ),
        (
            "the name of a user",
            r#"{"model":"m","messages":[{"role":"user","name":"@@","content":"x"}]}"#,
            "metadata",
            "/messages/0/name",
        ),
        (
            "assistant",
            r#"{"model":"m","messages":[{"role":"assistant","content":"@@"},{"role":"user","content":"x"}]}"#,
            "assistant",
            "/messages/0/content",
        ),
        (
            "an earlier refusal",
            r#"{"model":"m","messages":[{"role":"assistant","content":null,"refusal":"@@"}]}"#,
            "refusal",
            "/messages/0/refusal",
        ),
        (
            "earlier reasoning",
            r#"{"model":"m","messages":[{"role":"assistant","content":"","reasoning_content":"@@"}]}"#,
            "reasoning",
            "/messages/0/reasoning_content",
        ),
        (
            "arguments of an earlier call",
            r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"note\":\"@@\",\"n\": 1}"}}]}]}"#,
            "tool_arguments",
            "/messages/0/tool_calls/0/function/arguments",
        ),
        (
            "a legacy call",
            r#"{"model":"m","messages":[{"role":"assistant","function_call":{"name":"f","arguments":"{\"note\":\"@@\"}"}}]}"#,
            "function_call",
            "/messages/0/function_call/arguments",
        ),
        (
            "a tool result",
            r#"{"model":"m","messages":[{"role":"tool","tool_call_id":"1","content":"@@"}]}"#,
            "tool_result",
            "/messages/0/content",
        ),
        (
            "parts of a tool result",
            r#"{"model":"m","messages":[{"role":"tool","tool_call_id":"1","content":[{"type":"text","text":"@@"}]}]}"#,
            "tool_result",
            "/messages/0/content/0/text",
        ),
        (
            "a function result",
            r#"{"model":"m","messages":[{"role":"function","name":"f","content":"@@"}]}"#,
            "tool_result",
            "/messages/0/content",
        ),
        (
            "a role nobody knows",
            r#"{"model":"m","messages":[{"role":"oracle","content":"@@"}]}"#,
            "user",
            "/messages/0/content",
        ),
        (
            "the description of a tool",
            r#"{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"f","description":"@@","parameters":{}}}]}"#,
            "tool_definition",
            "/tools/0/function/description",
        ),
        (
            "the parameters of a tool",
            r#"{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"a":{"description":"@@","default":1.0}}}}}]}"#,
            "tool_definition",
            "/tools/0/function/parameters",
        ),
        (
            "a legacy function",
            r#"{"model":"m","messages":[],"functions":[{"name":"f","description":"@@"}]}"#,
            "tool_definition",
            "/functions/0/description",
        ),
        (
            "a format's schema",
            r#"{"model":"m","messages":[],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"description":"@@"}}}}"#,
            "metadata",
            "/response_format",
        ),
        ("metadata", r#"{"model":"m","messages":[],"metadata":{"k":"@@"}}"#, "metadata", "/metadata"),
        ("a name in metadata", r#"{"model":"m","messages":[],"metadata":{"a":1, "@@":1 }}"#, "metadata", "/metadata"),
        ("the user field", r#"{"model":"m","messages":[],"user":"@@"}"#, "metadata", "/user"),
        ("stop sequences", r#"{"model":"m","messages":[],"stop":["a","@@"]}"#, "metadata", "/stop"),
        (
            "a prediction",
            r#"{"model":"m","messages":[],"prediction":{"type":"content","content":"@@"}}"#,
            "metadata",
            "/prediction",
        ),
        ("a member nobody knows", r#"{"model":"m","messages":[],"later":"@@"}"#, "metadata", "/later"),
    ];
    let messages = [
        (
            "system",
            r#"{"model":"m","max_tokens":9,"system":"@@","messages":[{"role":"user","content":"x"}]}"#,
            "system",
            "/system",
        ),
        (
            "system blocks",
            r#"{"model":"m","max_tokens":9,"system":[{"type":"text","text":"a @@","cache_control":{"type":"ephemeral"}}],"messages":[]}"#,
            "system",
            "/system/0/text",
        ),
        (
            "user",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"\t@@"}]}"#,
            "user",
            "/messages/0/content",
        ),
        (
            "user blocks",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"@@"}]}]}"#,
            "user",
            "/messages/0/content/0/text",
        ),
        (
            "assistant",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"text","text":"@@"}]}]}"#,
            "assistant",
            "/messages/0/content/0/text",
        ),
        (
            "earlier thinking",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"@@","signature":"s"}]}]}"#,
            "reasoning",
            "/messages/0/content/0/thinking",
        ),
        (
            "the input of an earlier call",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{"a":{"b":["@@ x",1.50]}}}]}]}"#,
            "tool_arguments",
            "/messages/0/content/0/input",
        ),
        (
            "a tool result",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"@@"}]}]}"#,
            "tool_result",
            "/messages/0/content/0/content",
        ),
        (
            "blocks of a tool result",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"x"},{"type":"text","text":"@@"}]}]}]}"#,
            "tool_result",
            "/messages/0/content/0/content/1/text",
        ),
        (
            "a text document",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","title":"t","source":{"type":"text","media_type":"text/plain","data":"@@"}}]}]}"#,
            "user",
            "/messages/0/content/0/source/data",
        ),
        (
            "the context of a document",
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","context":"@@","source":{"type":"text","data":"x"}}]}]}"#,
            "user",
            "/messages/0/content/0/context",
        ),
        (
            "the description of a tool",
            r#"{"model":"m","max_tokens":9,"messages":[],"tools":[{"name":"f","description":"@@","input_schema":{}}]}"#,
            "tool_definition",
            "/tools/0/description",
        ),
        (
            "the schema of a tool",
            r#"{"model":"m","max_tokens":9,"messages":[],"tools":[{"name":"f","input_schema":{"properties":{"@@":{}}}}]}"#,
            "tool_definition",
            "/tools/0/input_schema",
        ),
        (
            "metadata",
            r#"{"model":"m","max_tokens":9,"messages":[],"metadata":{"user_id":"@@"}}"#,
            "metadata",
            "/metadata",
        ),
        (
            "a member nobody knows",
            r#"{"model":"m","max_tokens":9,"messages":[],"later":{"@@":[]}}"#,
            "metadata",
            "/later",
        ),
    ];
    let chat = chat.into_iter().map(|row| case(Surface::Chat, row));
    chat.chain(messages.into_iter().map(|row| case(Surface::Messages, row))).collect()
}

/// The text as it is spelled; every one of them reads the same.
fn spellings(case: &Case) -> Vec<&'static str> {
    let mut spellings = vec![LITERAL, "\\u0050roject\\u0020Night\\u006Aar"];
    if case.twice {
        spellings.extend(["Project\\\\u0020Night\\\\u006aar", "\\u0050roject\\u005cu0020Nightjar"]);
    }
    spellings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redaction_changes_its_span_and_no_other_byte() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("redact"), &simulator.url()).await;
    let mut running = JoinSet::new();
    for case in cases() {
        for (number, spelling) in spellings(&case).into_iter().enumerate() {
            let (address, name) = (sidecar.address, format!("{:?}, {}, {number}", case.surface, case.name));
            let (body, wanted) = (case.template.replace("@@", spelling), case.template.replace("@@", MASK));
            let (path, place) = (case.surface.path(), (case.channel, case.pointer));
            running.spawn(async move {
                let answer = post(address, path, &[(CASE, &name)], body.into_bytes()).await;
                (name, wanted, place, answer)
            });
        }
    }
    let mut done = Vec::new();
    while let Some(one) = running.join_next().await {
        done.push(one.unwrap());
    }
    let seen = seen(&simulator);
    let mut faults = Vec::new();
    for (name, wanted, (channel, pointer), answer) in &done {
        let Some(request) = seen.get(name) else {
            faults.push(format!("{name}: not forwarded: {} {}", answer.status, answer.text()));
            continue;
        };
        let forwarded = String::from_utf8_lossy(&request.body).into_owned();
        if forwarded != *wanted {
            faults.push(format!("{name}:\n  forwarded {forwarded}\n  instead of {wanted}"));
        }
        serde_json::from_str::<Value>(&forwarded).unwrap();
        if answer.header("x-clyra-decision") != "redact" {
            faults.push(format!("{name}: {}", answer.header("x-clyra-decision")));
        }
        let findings = sidecar.findings(answer.request_id()).await;
        let [finding] = findings.as_slice() else {
            faults.push(format!("{name}: {} findings", findings.len()));
            continue;
        };
        let place = finding["place"]["pointer"].as_str().unwrap();
        if finding["channel"] != *channel || place != *pointer || finding["direction"] != "request" {
            faults.push(format!("{name}: found in {} at {place}", finding["channel"]));
        }
        let (_, outcome) = sidecar.pair(answer.request_id());
        assert!(outcome["verdict"] == "redacted" || answer.status == 400, "{name}: {outcome}");
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), done.len(), faults.join("\n"));
    println!("{} requests redacted in place", done.len());
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_request_never_reaches_the_provider() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("block"), &simulator.url()).await;
    let mut running = JoinSet::new();
    for case in cases() {
        for spelling in spellings(&case) {
            let (address, surface) = (sidecar.address, case.surface);
            let body = case.template.replace("@@", spelling).into_bytes();
            running.spawn(async move { (case.name, surface, post(address, surface.path(), &[], body).await) });
        }
    }
    let mut ids = Vec::new();
    while let Some(done) = running.join_next().await {
        let (name, surface, answer) = done.unwrap();
        let refusal = refused(surface, 400, "content_policy_violation", &answer);
        assert_eq!(refusal.rule.as_deref(), Some("no-codename"), "{name}");
        assert_eq!(refusal.detectors, ["patterns.codename"], "{name}");
        assert!(!answer.text().contains("Nightjar"), "{}", answer.text());
        assert_eq!(answer.header("x-clyra-decision"), "block");
        ids.push(answer.request_id().to_owned());
    }
    assert!(simulator.requests().is_empty());
    for id in &ids {
        let (attempt, outcome) = sidecar.pair(id);
        assert_eq!((&outcome["verdict"], &outcome["policy"]["decision"]), (&json!("blocked"), &json!("block")));
        assert_eq!(attempt["policy"]["rules"], json!([{"action": "block", "id": "no-codename"}]));
        assert!(outcome.get("upstream").is_none() && outcome.get("response").is_none(), "{outcome}");
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// A redaction that would make one object have two members of a name, or that would cut through the structure, is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_redaction_that_cannot_be_made_stops_the_request() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let through = policy("redact").replace(&format!("literal: \"{LITERAL}\""), "regex: 'Nightjar\"[,:]\"x'");
    let across = Sidecar::start(&through, &simulator.url()).await;
    let twice = Sidecar::start(&policy("redact"), &simulator.url()).await;
    let two_names = br#"{"model":"m","messages":[],"metadata":{"Project Nightjar":1,"Project\u0020Nightjar ":2,"Project Nightjar  ":1}}"#;
    let same_names = br#"{"model":"m","messages":[],"metadata":{"Project Nightjar":1,"[REDACTED:restricted]":2}}"#;
    let structure = br#"{"model":"m","messages":[],"metadata":{"a":["Nightjar","x"]}}"#;
    let answer = post(twice.address, "/v1/chat/completions", &[], two_names.to_vec()).await;
    assert_eq!(answer.status, 200, "names that stay different: {}", answer.text());
    assert_eq!(simulator.requests().len(), 1);
    for (sidecar, body) in [(&twice, same_names.to_vec()), (&across, structure.to_vec())] {
        let answer = post(sidecar.address, "/v1/chat/completions", &[], body).await;
        refused(Surface::Chat, 400, "content_policy_violation", &answer);
        assert!(!answer.text().contains("Nightjar"), "{}", answer.text());
        assert_eq!(sidecar.pair(answer.request_id()).1["verdict"], "blocked");
        assert_eq!(simulator.requests().len(), 1, "it was forwarded");
    }
    twice.stop().await;
    across.stop().await;
    simulator.stop().await;
}

/// The built-in detectors on their way out; and the literal of a key is nowhere on disk afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_taken_out_and_leave_no_trace() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("redact"), &simulator.url()).await;
    // Put together here, so that no key stands in the source.
    let aws = ["AKIA", "4N7QZ2X6", "WPLM3T9B"].concat();
    let github = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    let openai = format!("sk-proj-{}", "x9Y8z7W6v5U4".repeat(2));
    let anthropic = format!("sk-ant-{}", "q1R2s3T4u5V6".repeat(2));
    for surface in Surface::BOTH {
        for (number, key) in [&aws, &github, &openai, &anthropic].into_iter().enumerate() {
            let name = format!("{surface:?} {number}");
            let body = surface.request(false, &format!("My key is {key}, keep it.")).to_string();
            let answer = post(sidecar.address, surface.path(), &[(CASE, &name)], body.clone().into_bytes()).await;
            assert_eq!((answer.status.as_u16(), answer.header("x-clyra-decision")), (200, "redact"), "{name}");
            let forwarded = seen(&simulator)[&name].body.clone();
            assert_eq!(String::from_utf8_lossy(&forwarded), body.replace(key.as_str(), "[REDACTED:secret]"));
            let findings = sidecar.findings(answer.request_id()).await;
            assert_eq!((findings.len(), &findings[0]["class"]), (1, &json!("secret")), "{findings:?}");
        }
    }
    // Also where it stands in the place of a name that goes on record.
    let text = LITERAL;
    let requests = [
        json!({"model": aws, "messages": []}),
        json!({"model": "m", "messages": [], "tools": [{"type": "function", "function": {"name": aws}}]}),
        json!({"model": "m", "messages": [], aws.as_str(): 1}),
        json!({"model": "m", "messages": [], aws.as_str(): {"a": text}}),
        json!({"model": "m", "messages": [{"role": "user", "content": "x", aws.as_str(): text}]}),
        json!({"model": "m", "messages": [], "metadata": {aws.as_str(): {"deep": [aws, text]}}}),
        json!({"model": "m", "messages": [{"role": "user", "content": text.repeat(600)}], "model2": 1, "tools": [{"name": aws}]}),
    ];
    let answers = [
        json!({"model": aws, "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}], "content": []}),
        json!({"model": "m", "stop_reason": aws, "content": [], "choices": [{"finish_reason": aws}]}),
        json!({"model": "m", "content": [{"type": "text", aws.as_str(): text}], "choices": [{"message": {aws.as_str(): text}}]}),
        json!({"type": "message_start", "message": {"model": aws}, aws.as_str(): aws}),
    ];
    for surface in Surface::BOTH {
        for request in &requests {
            post(sidecar.address, surface.path(), &[], request.to_string().into_bytes()).await;
        }
        for answer in &answers {
            let stream = format!("data: {answer}\n\n");
            simulator.script(clyra_simulator::Scripted::json(200, answer.to_string()));
            post(sidecar.address, surface.path(), &[], surface.request(false, "x").to_string().into()).await;
            simulator.script(clyra_simulator::Scripted::sse(vec![Bytes::from(stream)]));
            post(sidecar.address, surface.path(), &[], surface.request(true, "x").to_string().into()).await;
        }
    }
    let metrics = get(sidecar.admin, "/metrics").await.text();
    let stopped = sidecar.stop().await;
    for key in [&aws, &github, &openai, &anthropic] {
        assert!(!metrics.contains(key.as_str()));
        for file in files(&stopped.data_dir()) {
            let bytes = std::fs::read(&file).unwrap();
            let at = bytes.windows(key.len()).position(|window| window == key.as_bytes());
            let around =
                at.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + 50).min(bytes.len())]));
            assert!(at.is_none(), "{} holds the key: …{}…", file.display(), around.unwrap());
        }
    }
    simulator.stop().await;
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn media_is_forwarded_and_declared_as_a_gap() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("redact"), &simulator.url()).await;
    let image = "data:image/png;base64,iVBORw0KGgo=";
    let cases = [
        (
            Surface::Chat,
            json!([{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": image}}]),
            true,
        ),
        (Surface::Chat, json!([{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]), true),
        (Surface::Chat, json!([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]), false),
        (
            Surface::Messages,
            json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]),
            true,
        ),
        (Surface::Messages, json!([{"type": "text", "text": "See"}]), false),
    ];
    for (number, (surface, content, media)) in cases.into_iter().enumerate() {
        let mut body = surface.request(false, "");
        body["messages"][0]["content"] = content;
        let (name, body) = (number.to_string(), body.to_string());
        let answer = post(sidecar.address, surface.path(), &[(CASE, &name)], body.clone().into_bytes()).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-clyra-decision")), (200, "allow"), "{body}");
        assert_eq!(seen(&simulator)[&name].body, body.as_bytes());
        let (attempt, outcome) = sidecar.pair(answer.request_id());
        let wanted = if media {
            json!({"level": "partial", "reasons": ["media_not_inspected"]})
        } else {
            json!({"level": "full"})
        };
        assert_eq!((&attempt["coverage"], &outcome["coverage"]), (&wanted, &wanted), "{body}");
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// Bodies up to the limit are read, inspected to their last byte and forwarded as they came.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_and_larger_ones_do_not() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("block"), &simulator.url()).await;
    let (path, surface) = (Surface::Chat.path(), Surface::Chat);
    let of = |bytes: usize, end: &str| {
        let empty = surface.request(false, end).to_string();
        surface.request(false, &("lorem ip".repeat((bytes - empty.len()) / 8) + end)).to_string().into_bytes()
    };
    for megabytes in [1, 31] {
        let (body, name) = (of(megabytes << 20, ""), megabytes.to_string());
        let answer = post(sidecar.address, path, &[(CASE, &name)], body.clone()).await;
        assert_eq!(answer.status, 200, "{megabytes} MB: {}", answer.text());
        assert!(seen(&simulator)[&name].body == body, "{megabytes} MB were changed");
        let (attempt, _) = sidecar.pair(answer.request_id());
        assert_eq!(attempt["request"]["bytes"], body.len() as u64);
        assert_eq!(attempt["coverage"]["level"], "full");
    }
    let answer = post(sidecar.address, path, &[], of(4 << 20, LITERAL)).await;
    assert_eq!(refused(surface, 400, "content_policy_violation", &answer).rule.as_deref(), Some("no-codename"));

    let large = of(33 << 20, "");
    let chunks = large.chunks(1 << 20).map(Bytes::copy_from_slice).collect();
    let answers = [
        (Surface::Chat, post(sidecar.address, path, &[], large.clone()).await),
        (Surface::Messages, post(sidecar.address, Surface::Messages.path(), &[], large).await),
        (Surface::Chat, post_chunked(sidecar.address, path, chunks).await),
    ];
    for (surface, answer) in &answers {
        let refusal = refused(*surface, 413, "request_too_large", answer);
        assert!(refusal.reason.contains("33554432"), "{}", refusal.reason);
        assert_eq!(sidecar.pair(answer.request_id()).1["verdict"], "errored");
    }
    // A body without an announced length that is just large.
    let chunks = of(3 << 20, "").chunks(100_000).map(Bytes::copy_from_slice).collect();
    assert_eq!(post_chunked(sidecar.address, path, chunks).await.status, 200);
    assert_eq!(simulator.requests().len(), 3);
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_an_unknown_coding_passes_only_where_the_policy_says_so() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let blocking = Sidecar::start(&policy("block"), &simulator.url()).await;
    let allowing = policy("block").replace("defaults: {", "defaults: { on_error: allow,");
    let allowing = Sidecar::start(&allowing, &simulator.url()).await;
    for surface in Surface::BOTH {
        // Nobody knows this coding, so the bytes do not matter.
        let body = surface.request(false, LITERAL).to_string().into_bytes();
        let headers = [("content-encoding", "x-own"), (CASE, "encoded")];
        let answer = post(blocking.address, surface.path(), &headers, body.clone()).await;
        refused(surface, 400, "invalid_request", &answer);
        assert_eq!(
            blocking.pair(answer.request_id()).1["coverage"],
            json!({"level": "none", "reasons": ["content_encoding"]})
        );
        assert!(!simulator.requests().iter().any(|r| r.path == surface.path()));

        let answer = post(allowing.address, surface.path(), &headers, body.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let request = &seen(&simulator)["encoded"];
        assert_eq!((&request.body[..], &request.headers["content-encoding"]), (&body[..], &"x-own".parse().unwrap()));
        let reasons = allowing.pair(answer.request_id()).1["coverage"]["reasons"].clone();
        assert_eq!(reasons, json!(["content_encoding"]));
    }
    blocking.stop().await;
    allowing.stop().await;
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_travel_from_end_to_end_and_no_further() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("redact"), &simulator.url()).await;
    let headers = [
        (CASE, "headers"),
        ("authorization", "Bearer sk-of-the-client"),
        ("x-api-key", "key-of-the-client"),
        ("openai-organization", "org"),
        ("anthropic-beta", "one"),
        ("anthropic-beta", "two"),
        ("user-agent", "sdk/1.0"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("accept-encoding", "br"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic eA=="),
        ("x-clyra-run-id", "run-7"),
        ("x-clyra-app", "shop"),
        ("x-clyra-job-id", "job-1"),
        ("x-clyra-service-id", "service-2"),
        ("x-clyra-pipeline-id", "pipeline-3"),
        ("X-Clyra-Anything", "x"),
    ];
    let body = Surface::Chat.request(false, "x").to_string().into_bytes();
    let answer = post(sidecar.address, "/v1/chat/completions?api-version=1&x=%2F", &headers, body.clone()).await;
    assert_eq!(answer.status, 200);
    let request = &seen(&simulator)["headers"];
    assert_eq!(request.path, "/v1/chat/completions?api-version=1&x=%2F");
    let value = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(value("authorization"), Some("Bearer sk-of-the-client"));
    assert_eq!(value("x-api-key"), Some("key-of-the-client"));
    assert_eq!(value("openai-organization"), Some("org"));
    assert_eq!(value("user-agent"), Some("sdk/1.0"));
    assert_eq!(value("traceparent"), Some(headers[7].1));
    assert_eq!(request.headers.get_all("anthropic-beta").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(value("host"), Some(simulator.addr().to_string().as_str()));
    assert_eq!(value("content-length"), Some(body.len().to_string().as_str()));
    for name in ["x-hop", "keep-alive", "te", "proxy-authorization", "transfer-encoding"] {
        assert_eq!(value(name), None, "{name}");
    }
    assert!(value("accept-encoding").is_none_or(|coding| coding == "identity"), "{:?}", value("accept-encoding"));
    let own: Vec<_> = request.headers.keys().filter(|name| name.as_str().contains("clyra")).collect();
    assert!(own.is_empty(), "{own:?}");

    // What the client says of itself is on record.
    let (attempt, outcome) = sidecar.pair(answer.request_id());
    let automation = json!({"job_id": "job-1", "pipeline_id": "pipeline-3", "service_id": "service-2"});
    for receipt in [&attempt, &outcome] {
        assert_eq!(receipt["caller"]["automation"], automation);
        assert_eq!((&receipt["caller"]["app"], &receipt["caller"]["sdk"]), (&json!("shop"), &json!("sdk/1.0")));
        assert_eq!(receipt["run"]["id"], "run-7");
    }
    let event = sidecar.event(answer.request_id()).await;
    assert_eq!((&event["run_id"], &event["app"], &event["job_id"]), (&json!("run-7"), &json!("shop"), &json!("job-1")));

    // Without a run of its own, the trace is the run.
    let answer = post(sidecar.address, "/v1/chat/completions", &headers[7..8], body).await;
    assert_eq!(sidecar.event(answer.request_id()).await["run_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_which_exchange_and_policy_it_was() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("block"), &simulator.url()).await;
    let status: Value = serde_json::from_str(&get(sidecar.admin, "/api/v1/status").await.text()).unwrap();
    let hash = status["policy"]["hash"].as_str().unwrap();
    assert_eq!(hash.len(), 64);
    let mut ids = Vec::new();
    for surface in Surface::BOTH {
        let spoof = clyra_simulator::Scripted {
            headers: ["request-id", "decision", "policy", "receipt", "other"]
                .map(|name| (format!("x-clyra-{name}"), "spoofed".to_owned()))
                .into_iter()
                .chain([("content-type".into(), "application/json".into()), ("x-provider".into(), "kept".into())])
                .collect(),
            chunks: vec![Bytes::from_static(b"{}")],
            ..Default::default()
        };
        simulator.script(spoof);
        let spoofed = post(sidecar.address, surface.path(), &[], surface.request(false, "x").to_string().into()).await;
        assert_eq!((spoofed.text().as_str(), spoofed.header("x-provider")), ("{}", "kept"));
        assert!(!format!("{:?}", spoofed.headers).contains("spoofed"), "{:?}", spoofed.headers);
        let answers = [
            spoofed,
            post(sidecar.address, surface.path(), &[], surface.ask(true, &json!({}))).await,
            post(sidecar.address, surface.path(), &[], surface.ask(false, &json!({"status": 429}))).await,
            post(sidecar.address, surface.path(), &[], b"{".to_vec()).await,
            post(sidecar.address, surface.path(), &[], surface.request(false, LITERAL).to_string().into()).await,
        ];
        for answer in &answers {
            assert_eq!(answer.header("x-clyra-policy"), &hash[..12]);
            assert!(["allow", "block"].contains(&answer.header("x-clyra-decision")));
            let id = answer.request_id();
            let form: Vec<usize> = id.split('-').map(str::len).collect();
            assert!(
                form == [8, 4, 4, 4, 12] && id.as_bytes()[14] == b'7' && b"89ab".contains(&id.as_bytes()[19]),
                "{id}"
            );
            assert!(!answer.header("x-clyra-receipt").is_empty());
            ids.push(id.to_owned());
        }
    }
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count);
    let stopped = sidecar.stop().await;
    for id in ids {
        assert_eq!(clyra_tests::journal::pair(&stopped.receipts(), &id).1["policy"]["hash"], hash);
    }
    simulator.stop().await;
}

/// A request that cannot be inspected in its time, or has more texts than are looked at, is not inspected: the policy says
/// what becomes of it, and the receipt that it was so.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_inspected_in_time_is_not_forwarded() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let hurried = policy("block").replace("request: 60000", "request: 1");
    let blocking = Sidecar::start(&hurried, &simulator.url()).await;
    let allowing = hurried.replace("defaults: {", "defaults: { on_timeout: allow,");
    let allowing = Sidecar::start(&allowing, &simulator.url()).await;
    let surface = Surface::Chat;
    let body = surface.request(false, &"lorem ip".repeat(1 << 20)).to_string().into_bytes();
    let answer = post(blocking.address, surface.path(), &[], body.clone()).await;
    refused(surface, 503, "clyra_unavailable", &answer);
    assert!(simulator.requests().is_empty());
    let (attempt, outcome) = blocking.pair(answer.request_id());
    assert_eq!(outcome["verdict"], "errored");
    assert_eq!(attempt["coverage"], json!({"level": "none", "reasons": ["detector_timeout"]}));
    assert!(attempt["checks"].as_array().unwrap().iter().all(|check| check["outcome"] == "timeout"), "{attempt}");

    let answer = post(allowing.address, surface.path(), &[], body.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(simulator.requests()[0].body == body);
    let (_, outcome) = allowing.pair(answer.request_id());
    assert_eq!(outcome["coverage"]["reasons"], json!(["detector_timeout"]));
    // The same of an answer: it is Clyra that failed, not the provider.
    let long = json!({"content": "lorem ip".repeat(1 << 20)});
    let answer = post(blocking.address, surface.path(), &[], surface.request(false, "x").to_string().into()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    simulator.script(clyra_simulator::Scripted::json(200, long.to_string()));
    let answer = post(blocking.address, surface.path(), &[], surface.request(false, "x").to_string().into()).await;
    refused(surface, 503, "clyra_unavailable", &answer);

    let roomy = Sidecar::start(&policy("block"), &simulator.url()).await;
    let messages = vec![json!({"role": "user", "content": "a"}); 100_001];
    let many = json!({"model": "m", "messages": messages}).to_string().into_bytes();
    let answer = post(roomy.address, surface.path(), &[], many).await;
    refused(surface, 400, "invalid_request", &answer);
    assert_eq!(roomy.pair(answer.request_id()).0["coverage"]["reasons"], json!(["oversize"]));
    for sidecar in [blocking, allowing, roomy] {
        assert!(sidecar.stop().await.verify().ok);
    }
    simulator.stop().await;
}

/// However often a text stands in a request, it is taken out everywhere, and the record of it stays of a readable size.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_findings_are_all_taken_out() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("redact"), &simulator.url()).await;
    let text = format!("{LITERAL}, ").repeat(1_000);
    for surface in Surface::BOTH {
        let body = surface.request(false, &text).to_string();
        let answer = post(sidecar.address, surface.path(), &[], body.clone().into_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let forwarded = simulator.requests().pop().unwrap().body;
        assert_eq!(String::from_utf8_lossy(&forwarded), body.replace(LITERAL, MASK));
        let event = sidecar.event(answer.request_id()).await;
        assert_eq!((&event["findings"], &event["redactions"]), (&json!(1_000), &json!(1_000)));
        let (attempt, _) = sidecar.pair(answer.request_id());
        let listed = attempt["findings"].as_array().unwrap().len();
        assert!((1..=512).contains(&listed), "{listed} findings in one receipt");
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// Names are the client's to choose, and long ones do not make long records.
#[tokio::test(flavor = "multi_thread")]
async fn long_names_do_not_make_long_records() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&policy("redact"), &simulator.url()).await;
    let long = "n".repeat(1 << 20);
    let tools: Vec<Value> = (0..500).map(|n| json!({"name": format!("{n}{}", &long[..1000])})).collect();
    let requests = [
        json!({"model": long, "messages": []}),
        json!({"model": "m", "messages": [], "functions": tools, "tools": [{"function": {"name": long}}]}),
        json!({"model": "m", "messages": [], long.as_str(): {"a": LITERAL}, "later": LITERAL}),
        json!({"model": "m", "messages": [], "metadata": {long.as_str(): LITERAL}}),
    ];
    for request in &requests {
        let answer = post(sidecar.address, "/v1/chat/completions", &[], request.to_string().into_bytes()).await;
        assert_eq!(answer.header("x-simulated-provider"), "clyra-simulator", "{}", answer.text());
        sidecar.event(answer.request_id()).await;
    }
    let longest = json!({"model": long, "choices": [{"finish_reason": long, long.as_str(): LITERAL}]});
    simulator.script(clyra_simulator::Scripted::json(200, longest.to_string()));
    let body = Surface::Chat.request(false, "x").to_string().into_bytes();
    let answer = post(sidecar.address, "/v1/chat/completions", &[("user-agent", &long[..10_000])], body).await;
    assert_eq!(answer.status, 200);
    let stopped = sidecar.stop().await;
    for line in stopped.events() {
        let bytes = line.to_string().len();
        assert!(bytes < 8_192, "a line of {bytes} bytes");
    }
    for receipt in stopped.receipts() {
        let bytes = receipt.to_string().len();
        assert!(bytes < 70_000, "a receipt of {bytes} bytes");
    }
    assert!(stopped.verify().ok);
    simulator.stop().await;
}
