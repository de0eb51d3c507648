//! Answers: tool calls, schemas, repeated text, errors, and what passes although it cannot be read.

use std::time::Duration;

use bytes::Bytes;
use clyra_simulator::{Options, Scripted, Simulator};
use clyra_tests::ask::{Surface, cut_short, refused, replay, stopped};
use clyra_tests::client::{Answer, open, post};
use clyra_tests::journal::{of_exchange, receipts};
use clyra_tests::puppet::Puppet;
use clyra_tests::sidecar::Sidecar;
use clyra_tests::texts::texts;
use serde_json::{Value, json};

const LITERAL: &str = "Project Nightjar";

const HEAD: &str = "version: 1
mode: enforce
defaults: { budget_ms: { request: 60000 } }
detectors:
  patterns:
    - { id: codename, literal: \"Project Nightjar\", class: restricted, score: 0.9 }
";

fn redacting() -> String {
    format!(
        "{HEAD}rules:\n  - id: no-codename\n    phase: response\n    when: findings.exists(f, f.class == \"restricted\")\n    \
         action: redact\n"
    )
}

const TOOLS: &str = "rules:
  - { id: no-shell, phase: tool_call, when: 'tool.name == \"shell\"', action: block, reason: No shell. }
  - id: small-refunds
    phase: tool_call
    when: tool.name == \"refund\" && (!has(tool.args.amount) || tool.args.amount > 500)
    action: block
    reason: Refunds over 500 are made by people.
";

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_call_leaves_only_when_it_is_allowed() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&format!("{HEAD}{TOOLS}"), &simulator.url()).await;
    let call = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
    let allowed = [
        json!([call("refund", "{\"amount\": 100, \"note\": \"caf\u{e9}\"}")]),
        json!([call("refund", "{\"amount\":500}"), call("lookup", "{}")]),
    ];
    let blocked = [
        (json!([call("shell", "{\"command\":\"secret-argument\"}")]), "no-shell", 0),
        (json!([call("refund", "{\"amount\":501,\"to\":\"secret-argument\"}")]), "small-refunds", 0),
        (json!([call("refund", "{\"sum\":1,\"to\":\"secret-argument\"}")]), "small-refunds", 0),
        // A rule that cannot be answered blocks.
        (json!([call("refund", "{\"amount\":{\"of\":1},\"to\":\"secret-argument\"}")]), "small-refunds", 0),
        (
            json!([call("lookup", "{\"a\":1}"), call("refund", "{\"amount\":900,\"to\":\"secret-argument\"}")]),
            "small-refunds",
            1,
        ),
    ];
    for surface in Surface::ALL {
        for stream in [false, true] {
            for calls in &allowed {
                let directive = json!({"content": "Let me see.", "tool": calls});
                let direct = replay(&simulator, surface, stream, &directive).await;
                let body = surface.request(stream, "x").to_string().into_bytes();
                let answer = post(sidecar.address, surface.at(stream), &[], body).await;
                assert_eq!(answer.body(), direct, "{}", answer.text());
                assert_eq!(answer.header("x-clyra-decision"), "allow");
            }
            for (calls, rule, position) in &blocked {
                let directive = json!({"content": "Let me see.", "tool": calls, "split": 3});
                let answer = post(sidecar.address, surface.at(stream), &[], surface.ask(stream, &directive)).await;
                let (before, refusal) = stopped(surface, "content_policy_violation", &answer);
                assert_eq!(refusal.rule.as_deref(), Some(*rule), "{calls}");
                let shown = texts(&before);
                assert!(!before.contains("secret"), "{before}");
                // The text before the calls has left; of the call in question, nothing.
                assert_eq!(shown.get("content/0").map(String::as_str), stream.then_some("Let me see."), "{before}");
                let place = match surface {
                    Surface::Chat => format!("0/{position}"),
                    Surface::Gemini => "0".to_owned(),
                    _ => (position + 1).to_string(),
                };
                let of_call = shown.get(&format!("tool_arguments/{place}")).map_or("", String::as_str);
                // Gemini's calls stand one behind the other in one candidate.
                let earlier = if surface == Surface::Gemini && *position == 1 && stream { "{\"a\":1}" } else { "" };
                assert_eq!(of_call, earlier, "{shown:?}");
                let (_, outcome) = sidecar.pair(answer.request_id());
                assert_eq!((&outcome["verdict"], &outcome["policy"]["decision"]), (&json!("blocked"), &json!("block")));
            }
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// Arguments that are no JSON, or that two readers read differently, are no arguments: rules about them have no answer.
#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_can_be_read_in_two_ways_are_blocked() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&format!("{HEAD}{TOOLS}"), &simulator.url()).await;
    for arguments in
        ["", "{\"amount\":1", "{\"amount\":1} {}", "{\"amount\":900,\"amount\":1}", "{\"amount\":NaN}", "[]"]
    {
        for (surface, stream) in [(Surface::Chat, false), (Surface::Chat, true), (Surface::Messages, true)] {
            let directive = json!({"content": null, "tool": [{"name": "refund", "arguments": arguments}]});
            let answer = post(sidecar.address, surface.path(), &[], surface.ask(stream, &directive)).await;
            let (_, refusal) = stopped(surface, "content_policy_violation", &answer);
            assert_eq!(refusal.rule.as_deref(), Some("small-refunds"), "{arguments}");
        }
    }
    // Interleaved by their index, as parallel calls come.
    let piece = |index: usize, name: Option<&str>, arguments: &str| {
        let mut call = json!({"index": index, "function": {"arguments": arguments}});
        if let Some(name) = name {
            call["function"]["name"] = json!(name);
        }
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}))
    };
    let events = [
        piece(0, Some("lookup"), ""),
        piece(1, Some("refund"), "{\"am"),
        piece(0, None, "{\"a\":"),
        piece(1, None, "ount\":9"),
        piece(0, None, "1}"),
        piece(1, None, "00}"),
        "data: [DONE]\n\n".to_owned(),
    ];
    simulator.script(Scripted::sse(events.into_iter().map(Bytes::from).collect()));
    let body = Surface::Chat.request(true, "x").to_string().into_bytes();
    let answer = post(sidecar.address, Surface::Chat.path(), &[], body).await;
    let (before, refusal) = stopped(Surface::Chat, "content_policy_violation", &answer);
    assert_eq!(refusal.rule.as_deref(), Some("small-refunds"));
    assert!(!before.contains("ount"), "{before}");
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// One event or one document after another is the same call: without arguments, with arguments as a value, custom, legacy,
/// unnumbered, or one among hundreds.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_call_however_it_is_written() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&format!("{HEAD}{TOOLS}"), &simulator.url()).await;
    let shell = |more: Value| {
        let mut function = json!({"name": "shell"});
        function.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": function}]})
    };
    let many: Vec<Value> = (0..300)
        .map(|n| json!({"index": n, "function": {"name": if n < 299 { "lookup" } else { "shell" }, "arguments": "{}"}}))
        .collect();
    let chat = [
        vec![shell(json!({}))],
        vec![shell(json!({"arguments": null}))],
        vec![shell(json!({"arguments": ""}))],
        vec![shell(json!({"arguments": {"command": "ls"}}))],
        vec![json!({"tool_calls": [{"index": 0, "type": "custom", "custom": {"name": "shell", "input": "ls"}}]})],
        vec![json!({"function_call": {"name": "shell"}})],
        vec![json!({"tool_calls": [{"function": {"name": "refund", "arguments": {"amount": 900}}}]})],
        vec![
            json!({"tool_calls": [{"index": 0, "function": {"name": "shell", "arguments": "{}"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"name": "lookup", "arguments": "{}"}}]}),
        ],
        vec![
            json!({"tool_calls": [{"index": 0, "function": {"name": "sh"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"name": "ell", "arguments": "{}"}}]}),
        ],
        vec![json!({"tool_calls": many})],
    ];
    for (number, deltas) in chat.iter().enumerate() {
        let events: Vec<String> = deltas
            .iter()
            .map(|delta| format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta}]})))
            .chain(["data: [DONE]\n\n".to_owned()])
            .collect();
        simulator.script(Scripted::sse(vec![Bytes::from(events.concat())]));
        let body = Surface::Chat.request(true, "x").to_string().into_bytes();
        let streamed = post(sidecar.address, Surface::Chat.path(), &[], body).await;
        assert_ne!(streamed.status, 200, "{number}: {}", streamed.text());
        assert!(!streamed.text().contains("\"tool_calls\""), "{number}: {}", streamed.text());
        if deltas.len() == 1 {
            let plain = json!({"choices": [{"index": 0, "message": deltas[0]}]});
            simulator.script(Scripted::json(200, plain.to_string()));
            let body = Surface::Chat.request(false, "x").to_string().into_bytes();
            let plain = post(sidecar.address, Surface::Chat.path(), &[], body).await;
            assert_ne!(plain.status, 200, "{number}: {}", plain.text());
        }
    }
    let start = |block: Value| json!({"type": "content_block_start", "index": 0, "content_block": block});
    let stop = || json!({"type": "content_block_stop", "index": 0});
    let delta = |json: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": json}});
    let tool = |name: &str, input: Value| json!({"type": "tool_use", "id": "1", "name": name, "input": input});
    let messages = [
        vec![start(tool("shell", json!({}))), stop()],
        vec![start(tool("shell", json!({})))],
        vec![start(json!({"type": "tool_use", "id": "1", "name": "shell"})), stop()],
        vec![start(tool("refund", json!({"amount": 900}))), stop()],
        vec![start(tool("refund", json!({"amount": 900}))), delta("{\"amount\":1}"), stop()],
        vec![start(tool("refund", json!({"amount": 1}))), delta("{\"amount\":900}"), stop()],
        vec![start(tool("lookup", json!({}))), stop(), start(tool("shell", json!({}))), stop()],
    ];
    for (number, events) in messages.iter().enumerate() {
        let framed = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
        let stream: String = events.iter().chain([&json!({"type": "message_stop"})]).map(framed).collect();
        simulator.script(Scripted::sse(vec![Bytes::from(stream)]));
        let body = Surface::Messages.request(true, "x").to_string().into_bytes();
        let answer = post(sidecar.address, Surface::Messages.path(), &[], body).await;
        let (before, refusal) = stopped(Surface::Messages, "content_policy_violation", &answer);
        assert!(["no-shell", "small-refunds"].contains(&refusal.rule.as_deref().unwrap()), "{number}");
        assert!(!before.contains("shell") && !before.contains("refund"), "{number}: {before}");
    }
    for block in [json!({"type": "tool_use", "id": "1", "name": "shell"}), tool("refund", json!({"amount": 900}))] {
        simulator.script(Scripted::json(200, json!({"content": [block]}).to_string()));
        let body = Surface::Messages.request(false, "x").to_string().into_bytes();
        refused(
            Surface::Messages,
            400,
            "content_policy_violation",
            &post(sidecar.address, "/v1/messages", &[], body).await,
        );
    }
    // The empty object that a block begins with is not its arguments.
    let allowed = [start(tool("refund", json!({}))), delta(""), delta("{\"amount\""), delta(":1}"), stop()];
    let framed = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    let stream: String = allowed.iter().chain([&json!({"type": "message_stop"})]).map(framed).collect();
    simulator.script(Scripted::sse(vec![Bytes::from(stream.clone())]));
    let body = Surface::Messages.request(true, "x").to_string().into_bytes();
    assert_eq!(post(sidecar.address, "/v1/messages", &[], body).await.text(), stream);
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// Arguments that come as a value instead of text are redacted in place all the same.
#[tokio::test(flavor = "multi_thread")]
async fn arguments_as_a_value_are_redacted_in_place() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&redacting(), &simulator.url()).await;
    let arguments = r#"{"\u00e9\u00e9\u00e9":"caf\u00e9 @@ \ud83e\udd89", "n":1.0}"#;
    for (stream, template) in [
        (
            true,
            r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":ARGS}}]}}]}"#,
        ),
        (
            false,
            r#"{"choices":[{"index":0,"message":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":ARGS}}]}}]}"#,
        ),
    ] {
        let template = template.replace("ARGS", arguments) + if stream { "\n\ndata: [DONE]\n\n" } else { "" };
        let original = template.replace("@@", "Project\\u0020Nightjar");
        simulator.script(if stream {
            Scripted::sse(vec![Bytes::from(original)])
        } else {
            Scripted::json(200, original)
        });
        let body = Surface::Chat.request(stream, "x").to_string().into_bytes();
        let answer = post(sidecar.address, Surface::Chat.path(), &[], body).await;
        assert_eq!(answer.text(), template.replace("@@", "[REDACTED:restricted]"));
    }
    sidecar.stop().await;
    simulator.stop().await;
}

/// What a redaction leaves of an answer is held to the schema as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_redaction_breaks_no_schema() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let policy = HEAD.replace("literal: \"Project Nightjar\"", "regex: '[1-6]{6}'")
        + "schemas:\n  - { id: lock, schema: from_request }\nrules:\n  - id: no-numbers\n    phase: response\n    when: findings.exists(f, f.class == \"restricted\")\n    action: redact\n";
    let sidecar = Sidecar::start(&policy, &simulator.url()).await;
    let object = |of: &str| format!("{{\"type\":\"object\",\"properties\":{{\"n\":{of}}},\"required\":[\"n\"]}}");
    for surface in Surface::ALL {
        for stream in [false, true] {
            for (schema, content, kept) in [
                (r#"{"type":"string"}"#, "{\"n\":\"No. 123456.\"}", Some("{\"n\":\"No. [REDACTED:restricted].\"}")),
                (r#"{"type":"integer"}"#, "{\"n\":123456}", None),
                (r#"{"type":"string","maxLength":9}"#, "{\"n\":\"123456\"}", None),
                (r#"{"type":"string","pattern":"^[0-9]+$"}"#, "{\"n\":\"123456\"}", None),
            ] {
                let directive = json!({"content": content, "split": 4});
                let body = asking(surface, stream, &directive, &object(schema));
                let answer = post(sidecar.address, surface.at(stream), &[], body).await;
                match kept {
                    Some(kept) => assert_eq!(texts(&answer.text())["content/0"], kept),
                    None => {
                        // Outside of a string nothing can be taken out of JSON; inside, what is left may break the schema.
                        let outside = content == "{\"n\":123456}";
                        let code = if outside { "content_policy_violation" } else { "schema_violation" };
                        let (before, refusal) = stopped(surface, code, &answer);
                        assert_eq!(refusal.rule.as_deref(), Some("lock").filter(|_| !outside));
                        assert!(!before.contains("REDACTED") && !before.contains("123"), "{before}");
                    }
                }
            }
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

const INTEGER: &str =
    r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}"#;

/// A request that asks for an answer of this schema.
fn asking(surface: Surface, stream: bool, directive: &Value, schema: &str) -> Vec<u8> {
    let mut body: Value = serde_json::from_slice(&surface.ask(stream, directive)).unwrap();
    let schema: Value = serde_json::from_str(schema).unwrap();
    match surface {
        Surface::Chat => {
            body["response_format"] =
                json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}});
        }
        Surface::Responses => {
            body["text"] = json!({"format": {"type": "json_schema", "name": "n", "strict": true, "schema": schema}});
        }
        Surface::Gemini => {
            body["generationConfig"] = json!({"responseMimeType": "application/json", "responseJsonSchema": schema});
        }
        Surface::Messages => body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}}),
    }
    body.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_keeps_to_its_schema_or_does_not_leave() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let asked = format!("{HEAD}schemas:\n  - {{ id: lock, schema: from_request }}\n");
    let filed = format!("{HEAD}schemas:\n  - {{ id: lock, schema: n.schema.json, match: 'request.model == \"m\"' }}\n");
    let recorded_only = format!("{HEAD}schemas:\n  - {{ id: lock, schema: from_request, on_violation: allow }}\n");
    let files = [("n.schema.json", INTEGER)];
    let asked = Sidecar::start(&asked, &simulator.url()).await;
    let filed = Sidecar::start_with(&filed, &simulator.url(), &files, |_| {}).await;
    let recorded_only = Sidecar::start(&recorded_only, &simulator.url()).await;
    let valid = ["{\"n\":1}", " {\n  \"n\" : -7e0 }\n"];
    let invalid = [
        ("{\"n\":\"secret\"}", "type", "/n"),
        ("{\"n\":1,\"x\":\"secret\"}", "additionalProperties", ""),
        ("{}", "required", ""),
        ("[\"secret\"]", "type", ""),
        ("The answer is {\"n\":1}, secret", "", ""),
        ("```json\n{\"n\":1}\n```", "", ""),
        ("{\"n\":1} secret", "", ""),
        ("{\"n\":1,\"n\":2}", "", ""),
        ("{\"n\":", "", ""),
        ("", "", ""),
    ];
    for (sidecar, from_request) in [(&asked, true), (&filed, false)] {
        for surface in Surface::ALL {
            for stream in [false, true] {
                let ask = |directive: &Value| {
                    if from_request {
                        asking(surface, stream, directive, INTEGER)
                    } else {
                        surface.ask(stream, directive)
                    }
                };
                for text in valid {
                    let directive = json!({"content": text, "split": 2});
                    let answer = post(sidecar.address, surface.at(stream), &[], ask(&directive)).await;
                    assert_eq!(answer.status, 200, "{surface:?} {stream}: {}", answer.text());
                    assert_eq!(texts(&answer.text())["content/0"], text);
                    let (_, outcome) = sidecar.pair(answer.request_id());
                    let schema = &outcome["schema"];
                    assert_eq!((&schema["lock"], &schema["verdict"]), (&json!("lock"), &json!("valid")), "{outcome}");
                    assert_eq!(schema["digest"].as_str().unwrap().len(), 64);
                }
                for (text, keyword, pointer) in invalid {
                    let directive = json!({"content": text, "split": 2});
                    let answer = post(sidecar.address, surface.at(stream), &[], ask(&directive)).await;
                    let (before, refusal) = stopped(surface, "schema_violation", &answer);
                    assert_eq!(refusal.rule.as_deref(), Some("lock"), "{text:?}");
                    assert!(!answer.text().contains("secret"), "{}", answer.text());
                    assert_eq!(texts(&before).get("content/0").cloned().unwrap_or_default(), "", "{text:?}: {before}");
                    if matches!(surface, Surface::Chat | Surface::Gemini) || !stream {
                        assert_eq!(answer.status, 400, "nothing had left, so it is a real error: {text:?}");
                    }
                    let (_, outcome) = sidecar.pair(answer.request_id());
                    assert_eq!(
                        (&outcome["verdict"], &outcome["schema"]["verdict"]),
                        (&json!("blocked"), &json!("invalid"))
                    );
                    let violation = &outcome["schema"]["violation"];
                    if !keyword.is_empty() {
                        let place = (&violation["keyword"], &violation["pointer"]);
                        assert_eq!(place, (&json!(keyword), &json!(pointer)), "{text:?}");
                    }
                }
                // Cut off by the token limit: half a document is none.
                let reason = match surface {
                    Surface::Chat => "length",
                    Surface::Responses => "max_output_tokens",
                    Surface::Messages => "max_tokens",
                    Surface::Gemini => "MAX_TOKENS",
                };
                let directive = json!({"content": "{\"n\":12", "finish_reason": reason});
                let answer = post(sidecar.address, surface.at(stream), &[], ask(&directive)).await;
                stopped(surface, "schema_violation", &answer);
            }
        }
    }
    // A model that refuses, or calls a tool first, breaks no schema.
    for stream in [false, true] {
        let refusal = json!({"refusal": "I cannot help with that."});
        let answer =
            post(asked.address, Surface::Chat.path(), &[], asking(Surface::Chat, stream, &refusal, INTEGER)).await;
        assert_eq!(texts(&answer.text())["refusal/0"], "I cannot help with that.", "{}", answer.text());
        for surface in Surface::ALL {
            let tool = json!({"tool": [{"name": "lookup", "arguments": "{\"a\":1}"}]});
            let answer = post(asked.address, surface.at(stream), &[], asking(surface, stream, &tool, INTEGER)).await;
            assert!(answer.text().contains("lookup") && answer.status == 200, "{}", answer.text());
        }
    }
    // Where the policy only records, the answer leaves as it is.
    for surface in Surface::ALL {
        for stream in [false, true] {
            let body = asking(surface, stream, &json!({"content": "{\"n\":true}"}), INTEGER);
            let answer = post(recorded_only.address, surface.at(stream), &[], body).await;
            assert_eq!(texts(&answer.text())["content/0"], "{\"n\":true}", "{}", answer.text());
            let (_, outcome) = recorded_only.pair(answer.request_id());
            assert_eq!((&outcome["verdict"], &outcome["schema"]["verdict"]), (&json!("executed"), &json!("invalid")));
        }
    }
    // A schema that cannot be held to is refused, whatever the model says to it.
    for schema in [r#"{"type":"nothing"}"#, r#"{"$ref":"https://example.org/x"}"#, r#""text""#] {
        let body = asking(Surface::Chat, false, &json!({}), schema);
        refused(Surface::Chat, 400, "invalid_request", &post(asked.address, Surface::Chat.path(), &[], body).await);
    }
    for sidecar in [asked, filed, recorded_only] {
        assert!(sidecar.stop().await.verify().ok);
    }
    simulator.stop().await;
}

/// Log probabilities repeat the text token by token, with its bytes; what was taken out of the text is not left there.
#[tokio::test(flavor = "multi_thread")]
async fn redacted_text_does_not_survive_where_it_is_repeated() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&redacting(), &simulator.url()).await;
    let text = "It is Project Nightjar, as planned.";
    for stream in [false, true] {
        for split in [1, 4, 100] {
            for field in ["content", "refusal"] {
                let directive = json!({field: text, "logprobs": true, "split": split});
                let answer =
                    post(sidecar.address, Surface::Chat.path(), &[], Surface::Chat.ask(stream, &directive)).await;
                let (body, shown) = (answer.text(), texts(&answer.text()));
                assert_eq!(shown[&format!("{field}/0")], "It is [REDACTED:restricted], as planned.", "{body}");
                let documents: Vec<Value> = if stream {
                    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
                    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
                } else {
                    vec![serde_json::from_str(&body).unwrap()]
                };
                let (mut tokens, mut bytes, mut most) = (String::new(), Vec::new(), String::new());
                for token in documents.iter().flat_map(|d| {
                    d.pointer(&format!("/choices/0/logprobs/{field}")).and_then(Value::as_array).into_iter().flatten()
                }) {
                    tokens += token["token"].as_str().unwrap();
                    bytes.extend(token["bytes"].as_array().into_iter().flatten().map(|b| b.as_u64().unwrap() as u8));
                    most += &token["top_logprobs"].to_string();
                }
                for left in [&tokens, &String::from_utf8_lossy(&bytes).into_owned(), &most] {
                    assert!(!left.contains("Nightjar") && !left.contains("Project"), "{left}\n{body}");
                }
                if stream && split == 1 {
                    assert!(tokens.starts_with("It is ") && tokens.ends_with(", as planned."), "{tokens:?}");
                }
            }
        }
    }
    // Several choices, and reasoning in the three spellings; one of them says everything twice.
    for stream in [false, true] {
        let directive =
            json!({"choices": [{"content": "Nothing here."}, {"content": text}, {"reasoning": text}], "split": 3});
        let answer = post(sidecar.address, Surface::Chat.path(), &[], Surface::Chat.ask(stream, &directive)).await;
        let shown = texts(&answer.text());
        assert_eq!(shown["content/0"], "Nothing here.");
        assert_eq!(shown["content/1"], "It is [REDACTED:restricted], as planned.");
        assert_eq!(shown["reasoning/2"], "It is [REDACTED:restricted], as planned.");
        for field in ["reasoning_content", "reasoning", "reasoning_details"] {
            let directive = json!({"reasoning": text, "reasoning_field": field, "content": "Done.", "split": 3});
            let answer = post(sidecar.address, Surface::Chat.path(), &[], Surface::Chat.ask(stream, &directive)).await;
            let shown = texts(&answer.text());
            assert_eq!(shown["reasoning/0"], "It is [REDACTED:restricted], as planned.", "{field}");
            if field == "reasoning_details" {
                assert_eq!(shown["reasoning_details/0"], "It is [REDACTED:restricted], as planned.");
            }
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// The provider's own errors: status, headers and bytes as they came, in whatever shape.
#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_provider_are_its_own() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&redacting(), &simulator.url()).await;
    let bodies = [
        (
            "application/json",
            &b"{ \"error\": {\"message\":\"Slow down\",\"type\":\"requests\",\"param\":null,\"code\":\"x\"} }\n"[..],
        ),
        ("text/html", b"<html>502 Bad Gateway</html>"),
        ("text/plain", b"Unauthorized"),
        ("application/octet-stream", b"{\"error\":1,\"error\":2"),
        ("application/json", b"\xff\xfe not UTF-8"),
        ("", b""),
    ];
    for surface in Surface::BOTH {
        for (number, status) in
            [400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504, 529].into_iter().enumerate()
        {
            let (kind, body) = bodies[number % bodies.len()];
            simulator.script(Scripted {
                status,
                headers: [
                    ("content-type", kind),
                    ("retry-after", "7"),
                    ("x-ratelimit-remaining", "0"),
                    ("x-request-id", "req_9"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
                chunks: if body.is_empty() { vec![] } else { vec![Bytes::from_static(body)] },
                ..Scripted::default()
            });
            let request = surface.request(number % 2 == 0, "x").to_string().into_bytes();
            let answer = post(sidecar.address, surface.path(), &[], request).await;
            assert_eq!((answer.status.as_u16(), &answer.body()[..]), (status, body));
            let sent =
                (answer.header("content-type"), answer.header("retry-after"), answer.header("x-ratelimit-remaining"));
            assert_eq!(sent, (kind, "7", "0"));
            assert_eq!(answer.header("x-clyra-decision"), "allow");
            assert!(!answer.headers.contains_key("x-should-retry"), "whether to retry is for the provider to say");
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!(outcome["verdict"], "errored");
            assert_eq!(
                (&outcome["upstream"]["status"], &outcome["upstream"]["request_id"]),
                (&json!(status), &json!("req_9"))
            );
        }
        // An error is no way round.
        for body in ["<p>Project Nightjar</p>", "{\"error\":{\"message\":\"Project\\u0020Nightjar\"}}"] {
            simulator.script(Scripted::json(500, body));
            let request = surface.request(false, "x").to_string().into_bytes();
            let answer = post(sidecar.address, surface.path(), &[], request).await;
            refused(surface, 400, "content_policy_violation", &answer);
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_or_does_not_answer_is_a_typed_error() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let closed = {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for upstream in [closed.as_str(), "http://provider.invalid"] {
        let sidecar = Sidecar::start(&redacting(), upstream).await;
        for surface in Surface::BOTH {
            let answer = post(sidecar.address, surface.path(), &[], surface.ask(true, &json!({}))).await;
            let refusal = refused(surface, 502, "upstream_unreachable", &answer);
            assert_eq!(refusal.kind, "api_error");
            let names_it = answer.text().contains("127.0.0.1") || answer.text().contains("provider.invalid");
            assert!(!names_it, "{}", answer.text());
            let (_, outcome) = sidecar.pair(answer.request_id());
            assert_eq!(outcome["verdict"], "errored");
        }
        assert!(sidecar.stop().await.verify().ok);
    }
    let slow = |settings: &mut clyra::config::Settings| {
        settings.upstream_head_timeout = Duration::from_millis(300);
        settings.upstream_idle_timeout = Duration::from_millis(300);
    };
    let sidecar = Sidecar::start_with(&redacting(), &simulator.url(), &[], slow).await;
    for (number, surface) in Surface::BOTH.into_iter().enumerate() {
        let directive = json!({"first_delay_ms": 60_000});
        let answer = post(sidecar.address, surface.path(), &[], surface.ask(true, &directive)).await;
        refused(surface, 504, "upstream_timeout", &answer);
        assert_eq!(sidecar.pair(answer.request_id()).1["verdict"], "timeout");
        assert!(simulator.wait_cancelled(2 * number + 1, Duration::from_secs(5)).await, "the late call goes on");

        let directive = json!({"content": "one two three", "stall_after": 5});
        let answer = post(sidecar.address, surface.path(), &[], surface.ask(true, &directive)).await;
        let (before, refusal) = cut_short(surface, &answer);
        assert_eq!(refusal.code, "upstream_timeout");
        assert!(texts(&before)["content/0"].starts_with("one"));
        let (_, outcome) = sidecar.pair(answer.request_id());
        assert_eq!((&outcome["verdict"], &outcome["coverage"]["reasons"]), (&json!("timeout"), &json!(["truncated"])));
        assert!(simulator.wait_cancelled(2 * number + 2, Duration::from_secs(5)).await, "the silent call goes on");
    }
    assert!(sidecar.stop().await.verify().ok);

    // An answer that comes, but does not end.
    let brief = |settings: &mut clyra::config::Settings| settings.limits.answer_time_max = Duration::from_millis(500);
    let sidecar = Sidecar::start_with(&redacting(), &simulator.url(), &[], brief).await;
    for surface in Surface::BOTH {
        let before = simulator.cancelled();
        let directive = json!({"content": "one two three four five six", "split": 1, "delay_ms": 100});
        let answer = post(sidecar.address, surface.path(), &[], surface.ask(true, &directive)).await;
        assert_eq!(cut_short(surface, &answer).1.code, "upstream_timeout");
        assert_eq!(sidecar.pair(answer.request_id()).1["verdict"], "timeout");
        assert!(simulator.wait_cancelled(before + 1, Duration::from_secs(5)).await, "the endless call goes on");
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// What cannot be read passes only where the policy says so, on record.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_an_unknown_coding_passes_only_where_the_policy_says_so() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let enforcing = Sidecar::start(&redacting(), &simulator.url()).await;
    let observing = Sidecar::start(&redacting().replace("enforce", "observe"), &simulator.url()).await;
    let allowing = redacting().replace("defaults: {", "defaults: { on_error: allow,");
    let allowing = Sidecar::start(&allowing, &simulator.url()).await;
    for surface in Surface::BOTH {
        for stream in [false, true] {
            let headers = [("content-type", "application/json"), ("content-encoding", "x-own")];
            let headers: Vec<_> = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let script = || {
                simulator.script(Scripted {
                    headers: headers.clone(),
                    chunks: vec![LITERAL.into()],
                    ..Scripted::default()
                });
            };
            script();
            let request = || surface.request(stream, "x").to_string().into_bytes();
            let answer = post(enforcing.address, surface.path(), &[], request()).await;
            refused(surface, 502, "upstream_unreadable", &answer);
            let (_, outcome) = enforcing.pair(answer.request_id());
            assert_eq!(outcome["coverage"]["reasons"], json!(["content_encoding"]));
            for sidecar in [&observing, &allowing] {
                script();
                let answer = post(sidecar.address, surface.path(), &[], request()).await;
                assert_eq!((answer.status.as_u16(), answer.header("content-encoding")), (200, "x-own"));
                assert_eq!(answer.text(), LITERAL);
                assert!(answer.complete);
                let (_, outcome) = sidecar.pair(answer.request_id());
                // The request was read, the answer was not.
                assert_eq!(outcome["coverage"], json!({"level": "partial", "reasons": ["content_encoding"]}));
                assert!(
                    outcome["checks"].as_array().unwrap().iter().all(|check| check["outcome"] == "skipped"),
                    "{outcome}"
                );
            }
        }
    }
    for sidecar in [enforcing, observing, allowing] {
        assert!(sidecar.stop().await.verify().ok);
    }
    simulator.stop().await;
}

/// Also of an answer that nobody can read, the last byte does not leave before the outcome is on disk.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_byte_of_an_unread_answer_waits_for_its_receipt() {
    let upstream = Puppet::start().await;
    let sidecar = Sidecar::start(&redacting().replace("enforce", "observe"), &upstream.url()).await;
    let address = sidecar.address;
    let body = Surface::Chat.request(true, "x").to_string().into_bytes();
    let client = tokio::spawn(async move { open(address, Surface::Chat.path(), &[], body).await });
    let mut call = upstream.call().await;
    call.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: x-own\r\ntransfer-encoding: chunked\r\n\r\n").await;
    call.chunk(b"first").await;
    let mut client = client.await.unwrap();
    let id = client.headers["x-clyra-request-id"].to_str().unwrap().to_owned();
    let mut seen = client.piece().await.unwrap().to_vec();
    call.chunk(b"second").await;
    while seen.len() < b"firstsecon".len() {
        seen.extend_from_slice(&client.piece().await.unwrap());
    }
    assert_eq!(of_exchange(&receipts(&sidecar.data_dir()), &id).len(), 1, "the answer is not complete yet");
    // All bytes are there, but nobody knows: the provider has not ended its message.
    assert_eq!(seen, b"firstsecon");
    call.end().await;
    let last = client.piece().await.unwrap();
    assert_eq!(of_exchange(&receipts(&sidecar.data_dir()), &id).len(), 2, "the last byte came before the outcome");
    assert_eq!(last, &b"d"[..]);
    assert!(client.rest().await.complete);
    assert!(sidecar.stop().await.verify().ok);
}

/// In mode observe everything is decided and recorded, and no byte is touched in either direction.
#[tokio::test(flavor = "multi_thread")]
async fn observing_touches_nothing() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let rules = "  - { id: in, phase: request, when: 'findings.exists(f, f.class == \"restricted\")', action: block }
  - { id: out, phase: response, when: 'findings.exists(f, f.class == \"restricted\")', action: block }
schemas:
  - { id: lock, schema: from_request }
";
    let policy = format!("{HEAD}{TOOLS}{rules}").replace("enforce", "observe");
    let sidecar = Sidecar::start(&policy, &simulator.url()).await;
    for surface in Surface::BOTH {
        for stream in [false, true] {
            let cases = [
                (json!({"content": LITERAL}), json!("block"), "out"),
                (json!({"tool": [{"name": "shell", "arguments": "{\"a\":1}"}]}), json!("block"), "no-shell"),
                (json!({"content": "All is well."}), json!("allow"), ""),
            ];
            for (directive, decided, rule) in cases {
                let direct = replay(&simulator, surface, stream, &directive).await;
                let body = surface.request(stream, "x").to_string().into_bytes();
                let answer = post(sidecar.address, surface.path(), &[], body.clone()).await;
                assert_eq!(answer.body(), direct, "{}", answer.text());
                assert_eq!(simulator.requests().last().unwrap().body, body);
                assert_eq!(answer.header("x-clyra-decision"), "allow");
                let event = sidecar.event(answer.request_id()).await;
                assert_eq!((&event["decided"], &event["decision"]), (&decided, &json!("allow")), "{event}");
                assert_eq!((&event["verdict"], &event["mode"]), (&json!("executed"), &json!("observe")));
                let fired: Vec<&str> =
                    event["rules"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
                assert_eq!(fired, if rule.is_empty() { vec![] } else { vec![rule] }, "{event}");
                let (_, outcome) = sidecar.pair(answer.request_id());
                assert_eq!(outcome["policy"]["decision"], decided);
            }
            // Also what an enforcing policy could not read or hold to its schema, and what was forbidden to be asked.
            let damaged = b"data: {broken\n\ndata: [DONE]\n\n";
            simulator.script(if stream {
                Scripted::sse(vec![Bytes::from_static(damaged)])
            } else {
                Scripted::json(200, "{broken")
            });
            let body = surface.request(stream, LITERAL).to_string().into_bytes();
            let answer = post(sidecar.address, surface.path(), &[], body.clone()).await;
            assert_eq!(answer.body(), if stream { &damaged[..] } else { b"{broken" });
            assert_eq!(simulator.requests().last().unwrap().body, body);
            let event = sidecar.event(answer.request_id()).await;
            assert_eq!((&event["decided"], &event["decision"]), (&json!("block"), &json!("allow")), "{event}");
            assert_eq!(event["coverage_gaps"], json!(["unreadable"]));
            let body = asking(surface, stream, &json!({"content": "no JSON"}), INTEGER);
            let answer = post(sidecar.address, surface.path(), &[], body).await;
            assert_eq!(texts(&answer.text())["content/0"], "no JSON");
            let event = sidecar.event(answer.request_id()).await;
            assert_eq!((&event["decided"], &event["decision"]), (&json!("block"), &json!("allow")), "{event}");
        }
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// Rules that look at the answer as such, before a byte of it has left.
#[tokio::test(flavor = "multi_thread")]
async fn rules_about_the_answer_as_such_are_asked_in_time() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let rules = "rules:
  - { id: no-model, phase: response, when: 'response.model == \"simulated-gpt\"', action: block }
  - { id: no-length, phase: response, when: 'response.finish_reason == \"max_tokens\"', action: block }
";
    let sidecar = Sidecar::start(&format!("{HEAD}{rules}"), &simulator.url()).await;
    for stream in [false, true] {
        let answer = post(sidecar.address, Surface::Chat.path(), &[], Surface::Chat.ask(stream, &json!({}))).await;
        let refusal = refused(Surface::Chat, 400, "content_policy_violation", &answer);
        assert_eq!(refusal.rule.as_deref(), Some("no-model"));
        let directive = json!({"content": "one", "finish_reason": "max_tokens"});
        let body = Surface::Messages.ask(stream, &directive);
        let answer = post(sidecar.address, Surface::Messages.path(), &[], body).await;
        let (before, refusal) = stopped(Surface::Messages, "content_policy_violation", &answer);
        assert_eq!(refusal.rule.as_deref(), Some("no-length"));
        assert!(!before.contains("message_stop"), "{before}");
    }
    assert!(sidecar.stop().await.verify().ok);
    simulator.stop().await;
}

/// What an analyst reads of a finding: everything but the text.
#[tokio::test(flavor = "multi_thread")]
async fn findings_say_what_where_and_which_threat() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let sidecar = Sidecar::start(&redacting(), &simulator.url()).await;
    let aws = ["AKIA", "4N7QZ2X6", "WPLM3T9B"].concat();
    for surface in Surface::BOTH {
        for stream in [false, true] {
            let directive = json!({"content": format!("It is {LITERAL} with {aws}."), "split": 5});
            let answer =
                post(sidecar.address, surface.path(), &[("x-clyra-run-id", "r1")], surface.ask(stream, &directive))
                    .await;
            let findings = sidecar.findings(answer.request_id()).await;
            assert_eq!(findings.len(), 2, "{findings:#?}");
            for (finding, (class, detector, score, length, offset)) in findings.iter().zip([
                ("restricted", "patterns.codename", 0.9, LITERAL.len(), 6),
                ("secret", "secrets.aws_access_key_id", 0.98, aws.len(), 6 + LITERAL.len() + 6),
            ]) {
                assert_eq!((&finding["class"], &finding["detector"]), (&json!(class), &json!(detector)));
                assert_eq!((&finding["score"], &finding["channel"]), (&json!(score), &json!("content")));
                assert_eq!((&finding["owasp"], &finding["atlas"]), (&json!("LLM02:2026"), &json!("AML.T0057")));
                assert_eq!(
                    (&finding["place"]["length"], &finding["place"]["offset"]),
                    (&json!(length), &json!(offset))
                );
                assert!(finding["place"]["pointer"].as_str().unwrap().starts_with('/'), "{finding}");
                assert_eq!((&finding["surface"], &finding["direction"]), (&json!(surface.id()), &json!("response")));
                assert_eq!((&finding["run_id"], &finding["decision"]), (&json!("r1"), &json!("redact")));
            }
            let (_, outcome) = sidecar.pair(answer.request_id());
            let recorded = outcome["findings"].as_array().unwrap();
            assert_eq!(recorded.len(), 2, "{outcome}");
            assert_eq!((&recorded[0]["score_ppm"], &recorded[0]["owasp"]), (&json!(900_000), &json!("LLM02:2026")));
            let found: Vec<&str> = outcome["checks"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|check| check["outcome"] == "finding")
                .map(|check| check["id"].as_str().unwrap())
                .collect();
            assert_eq!(found.len(), 2, "{outcome}");
        }
    }
    let stopped = sidecar.stop().await;
    assert!(stopped.verify().ok);
    simulator.stop().await;
}

/// An answer larger than can be held is not shown; nor is it kept in memory.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_refused() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let small = |settings: &mut clyra::config::Settings| settings.limits.response_bytes_max = 100_000;
    let enforcing = Sidecar::start_with(&redacting(), &simulator.url(), &[], small).await;
    let observing = redacting().replace("enforce", "observe");
    let observing = Sidecar::start_with(&observing, &simulator.url(), &[], small).await;
    for surface in Surface::BOTH {
        let directive = json!({"content": "lorem ip".repeat(20_000), "write_bytes": 10_000});
        let check = |answer: &Answer| assert_eq!(answer.header("x-clyra-request-id").len(), 36);
        let answer = post(enforcing.address, surface.path(), &[], surface.ask(false, &directive)).await;
        check(&answer);
        refused(surface, 502, "upstream_unreadable", &answer);
        assert_eq!(enforcing.pair(answer.request_id()).1["coverage"]["reasons"], json!(["oversize"]));
        let answer = post(observing.address, surface.path(), &[], surface.ask(false, &directive)).await;
        check(&answer);
        assert_eq!(texts(&answer.text())["content/0"].len(), 160_000);
        assert_eq!(observing.pair(answer.request_id()).1["coverage"]["reasons"], json!(["oversize"]));
    }
    assert!(enforcing.stop().await.verify().ok);
    assert!(observing.stop().await.verify().ok);
    simulator.stop().await;
}
