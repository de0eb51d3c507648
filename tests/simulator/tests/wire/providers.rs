//! Ollama, Bedrock and Cohere, and what OpenAI has beside chat.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Crc;

use super::*;

const OLLAMA: &str = "/api/chat";
const OLLAMA_GENERATE: &str = "/api/generate";
const CONVERSE: &str = "/model/simulated.claude-v1%3A0/converse";
const INVOKE: &str = "/model/simulated.claude-v1%3A0/invoke";
const COHERE: &str = "/v2/chat";
const COMPLETIONS: &str = "/v1/completions";

const SAID: &str = "Füchse 🦊 sind rot";
const ARGUMENTS: &str = r#"{"zitat":"Füchse 🦊"}"#;

/// The same directive cut into pieces in three ways.
fn cuts(directive: &Value) -> impl Iterator<Item = Value> {
    [json!({"split": 1}), json!({"split_at": []}), json!({"split_at": [7, 8]})].into_iter().map(move |split| {
        let mut cut = directive.clone();
        cut.as_object_mut().unwrap().append(split.clone().as_object_mut().unwrap());
        cut
    })
}

/// The answer to a prompt in the member `prompt`.
async fn complete(simulator: &Simulator, path: &str, directive: &Value, more: Value) -> Response<Incoming> {
    let mut body = json!({"model": "m", "prompt": directive_line(directive)});
    body.as_object_mut().unwrap().append(more.clone().as_object_mut().unwrap());
    send(simulator, post(path, &body)).await
}

async fn value(response: Response<Incoming>) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

async fn lines(response: Response<Incoming>) -> Vec<Value> {
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let lines = text(response).await;
    assert!(lines.ends_with('\n'));
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[derive(Debug)]
struct Message {
    kind: String,
    name: String,
    payload: Value,
}

/// Reads an event stream message by message; checksums must be right.
async fn messages(response: Response<Incoming>) -> Vec<Message> {
    assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let (mut rest, mut messages) = (&bytes[..], vec![]);
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let checksum = |bytes: &[u8]| {
        let mut crc = Crc::new();
        crc.update(bytes);
        crc.sum()
    };
    while !rest.is_empty() {
        let (message, after) = rest.split_at(number(&rest[..4]) as usize);
        rest = after;
        assert_eq!(checksum(&message[..8]), number(&message[8..12]));
        let (body, end) = message.split_at(message.len() - 4);
        assert_eq!(checksum(body), number(end));
        let (mut headers, payload) = body[12..].split_at(number(&message[4..8]) as usize);
        let mut of = std::collections::HashMap::new();
        while let [length, more @ ..] = headers {
            let (name, more) = more.split_at(usize::from(*length));
            let value_length = usize::from(u16::from_be_bytes([more[1], more[2]]));
            let (value, more) = more[3..].split_at(value_length);
            of.insert(String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned());
            headers = more;
        }
        let kind = of[":message-type"].clone();
        messages.push(Message {
            name: of[&format!(":{kind}-type")].clone(),
            kind,
            payload: serde_json::from_slice(payload).unwrap(),
        });
    }
    messages
}

fn payloads(messages: &[Message]) -> Vec<Value> {
    messages.iter().map(|message| message.payload.clone()).collect()
}

#[tokio::test]
async fn ollama_answers_whole_and_in_lines() {
    let simulator = simulator().await;
    let directive = json!({"content": SAID, "thinking": SAID, "tool": [{"name": "f", "arguments": ARGUMENTS}]});
    let mut body = prompt(&directive, false);
    let whole = value(send(&simulator, post(OLLAMA, &body)).await).await;
    assert_eq!((&whole["message"]["content"], &whole["message"]["thinking"]), (&json!(SAID), &json!(SAID)));
    let function = json!({"index": 0, "name": "f", "arguments": {"zitat": "Füchse 🦊"}});
    assert_eq!(whole["message"]["tool_calls"][0]["function"], function);
    assert_eq!((&whole["done"], &whole["done_reason"]), (&json!(true), &json!("stop")));
    assert!(whole["eval_count"].as_u64().unwrap() > 0);
    for cut in cuts(&directive) {
        body = prompt(&cut, false);
        // It streams unless it is asked not to.
        body.as_object_mut().unwrap().remove("stream");
        let lines = lines(send(&simulator, post(OLLAMA, &body)).await).await;
        assert_eq!(gathered(&lines, "/message/content"), SAID, "{cut}");
        assert_eq!(gathered(&lines, "/message/thinking"), SAID);
        let calls: Vec<_> = lines.iter().filter_map(|line| line.pointer("/message/tool_calls/0/function")).collect();
        assert_eq!(calls, [&function]);
        let done: Vec<_> = lines.iter().map(|line| line["done"] == true).collect();
        assert!(*done.last().unwrap() && done.iter().filter(|done| **done).count() == 1, "{done:?}");
        assert_eq!(lines.last().unwrap()["eval_count"], whole["eval_count"]);
    }
}

#[tokio::test]
async fn ollama_generates_whole_and_in_lines() {
    let simulator = simulator().await;
    let directive = json!({"content": SAID, "thinking": SAID, "split": 1, "logprobs": true});
    let whole = value(complete(&simulator, OLLAMA_GENERATE, &directive, json!({"stream": false})).await).await;
    assert_eq!((&whole["response"], &whole["thinking"]), (&json!(SAID), &json!(SAID)));
    let pieces = lines(complete(&simulator, OLLAMA_GENERATE, &directive, json!({})).await).await;
    assert_eq!((gathered(&pieces, "/response"), gathered(&pieces, "/thinking")), (SAID.into(), SAID.into()));
    assert_eq!(gathered(&pieces, "/logprobs/0/token"), SAID);
    let failed = json!({"content": "a", "error_event": true});
    let failed = lines(complete(&simulator, OLLAMA_GENERATE, &failed, json!({})).await).await;
    assert!(failed.last().unwrap()["error"].is_string());
    let system = json!({"stream": false, "system": "rules"});
    let echoed = value(complete(&simulator, OLLAMA_GENERATE, &json!({"echo_system": true}), system).await).await;
    assert_eq!(echoed["response"], "rules");
}

#[tokio::test]
async fn converse_answers_whole_and_in_messages() {
    let simulator = simulator().await;
    let directive = json!({"content": SAID, "thinking": SAID, "tool": [{"name": "f", "arguments": ARGUMENTS}]});
    let body =
        |directive: &Value| json!({"messages": [{"role": "user", "content": [{"text": directive_line(directive)}]}]});
    let whole = value(send(&simulator, post(CONVERSE, &body(&directive))).await).await;
    let blocks = &whole["output"]["message"]["content"];
    assert_eq!(blocks[0]["reasoningContent"]["reasoningText"]["text"], SAID);
    assert_eq!(blocks[1]["text"], SAID);
    assert_eq!(
        (&blocks[2]["toolUse"]["name"], &blocks[2]["toolUse"]["input"]),
        (&json!("f"), &json!({"zitat": "Füchse 🦊"}))
    );
    assert_eq!(whole["stopReason"], "tool_use");
    for cut in cuts(&directive) {
        let response = send(&simulator, post(&format!("{CONVERSE}-stream"), &body(&cut))).await;
        let messages = messages(response).await;
        assert!(messages.iter().all(|message| message.kind == "event"));
        let payloads = payloads(&messages);
        assert_eq!(gathered(&payloads, "/delta/reasoningContent/text"), SAID, "{cut}");
        assert_eq!(gathered(&payloads, "/delta/text"), SAID);
        assert_eq!(gathered(&payloads, "/delta/toolUse/input"), ARGUMENTS);
        let names: Vec<_> = messages.iter().map(|message| message.name.as_str()).collect();
        assert_eq!((names[0], &names[names.len() - 2..]), ("messageStart", &["messageStop", "metadata"][..]));
        for (name, times) in [("contentBlockStart", 1), ("contentBlockStop", 3)] {
            assert_eq!(names.iter().filter(|other| **other == name).count(), times, "{name}");
        }
        assert_eq!(payloads.last().unwrap()["usage"]["outputTokens"], whole["usage"]["outputTokens"]);
    }
    let failed = body(&json!({"content": "a", "error_event": true}));
    let failed = messages(send(&simulator, post(&format!("{CONVERSE}-stream"), &failed)).await).await;
    let last = failed.last().unwrap();
    assert_eq!((last.kind.as_str(), last.name.as_str()), ("exception", "modelStreamErrorException"));
}

#[tokio::test]
async fn invoke_answers_whole_and_wraps_the_events_of_the_model() {
    let simulator = simulator().await;
    let directive = json!({"content": SAID, "thinking": SAID, "tool": [{"name": "f", "arguments": ARGUMENTS}]});
    let whole = plain(&simulator, INVOKE, directive.clone()).await;
    assert_eq!(whole["content"][1]["text"], SAID);
    assert_eq!(whole["stop_reason"], "tool_use");
    for cut in cuts(&directive) {
        let response = ask(&simulator, &format!("{INVOKE}-with-response-stream"), cut, false).await;
        let messages = messages(response).await;
        assert!(messages.iter().all(|message| message.name == "chunk"));
        let unwrap = |message: &Message| -> Value {
            serde_json::from_slice(&STANDARD.decode(message.payload["bytes"].as_str().unwrap()).unwrap()).unwrap()
        };
        let events: Vec<Value> = messages.iter().map(unwrap).collect();
        assert_eq!(gathered(&events, "/delta/thinking"), SAID);
        assert_eq!(gathered(&events, "/delta/text"), SAID);
        assert_eq!(gathered(&events, "/delta/partial_json"), ARGUMENTS);
        assert_eq!(
            (&events[0]["type"], &events.last().unwrap()["type"]),
            (&json!("message_start"), &json!("message_stop"))
        );
    }
    let path = format!("{INVOKE}-with-response-stream");
    let failed = messages(ask(&simulator, &path, json!({"content": "a", "error_event": true}), false).await).await;
    assert_eq!(failed.last().unwrap().kind, "exception");
    assert!(failed.iter().all(|message| message.kind == "exception" || message.name == "chunk"));
}

#[tokio::test]
async fn cohere_answers_whole_and_in_events() {
    let simulator = simulator().await;
    let directive = json!({"content": SAID, "thinking": SAID, "reasoning": SAID, "logprobs": true,
        "tool": [{"name": "f", "arguments": ARGUMENTS}]});
    let whole = plain(&simulator, COHERE, directive.clone()).await;
    let message = &whole["message"];
    assert_eq!((&message["content"][0]["thinking"], &message["content"][1]["text"]), (&json!(SAID), &json!(SAID)));
    assert_eq!(message["tool_plan"], SAID);
    assert_eq!(message["tool_calls"][0]["function"], json!({"name": "f", "arguments": ARGUMENTS}));
    assert_eq!(whole["finish_reason"], "TOOL_CALL");
    for cut in cuts(&directive) {
        let events = streamed(&simulator, COHERE, cut).await;
        assert_eq!(gathered(&events, "/delta/message/content/thinking"), SAID);
        assert_eq!(gathered(&events, "/delta/message/content/text"), SAID);
        assert_eq!(gathered(&events, "/delta/message/tool_plan"), SAID);
        assert_eq!(gathered(&events, "/delta/message/tool_calls/function/arguments"), ARGUMENTS);
        assert_eq!(gathered(&events, "/logprobs/text"), SAID);
        assert_eq!((&events[0]["type"], events.last().unwrap()), (&json!("message-start"), &json!("[DONE]")));
        let delta = &events[events.len() - 2]["delta"];
        assert_eq!(delta["finish_reason"], "TOOL_CALL");
        assert_eq!(delta["usage"]["tokens"]["output_tokens"], whole["usage"]["tokens"]["output_tokens"]);
    }
    let failed = streamed(&simulator, COHERE, json!({"error_event": true})).await;
    assert_eq!(failed.last().unwrap()["delta"]["finish_reason"], "ERROR");
}

#[tokio::test]
async fn completions_are_the_same_plain_and_streamed() {
    let simulator = simulator().await;
    let directive = json!({"choices": [{"content": SAID}, {"content": "b", "finish_reason": "length"}],
        "split": 1, "logprobs": true});
    let whole = value(complete(&simulator, COMPLETIONS, &directive, json!({})).await).await;
    assert_eq!((&whole["choices"][0]["text"], &whole["choices"][1]["finish_reason"]), (&json!(SAID), &json!("length")));
    let streaming = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = events(&text(complete(&simulator, COMPLETIONS, &directive, streaming).await).await);
    let first: Vec<Value> =
        events.iter().filter(|event| event.pointer("/choices/0/index") == Some(&json!(0))).cloned().collect();
    assert_eq!(gathered(&first, "/choices/0/text"), SAID);
    assert_eq!(gathered(&first, "/choices/0/logprobs/tokens/0"), SAID);
    assert_eq!(events.last().unwrap(), "[DONE]");
    let counted = &events[events.len() - 2]["usage"]["completion_tokens"];
    assert_eq!(counted, &whole["usage"]["completion_tokens"]);
}

#[tokio::test]
async fn moderations_flag_nothing_and_vectors_have_each_shape() {
    let simulator = simulator().await;
    let of = async |path: &str, body: Value| value(send(&simulator, post(path, &body)).await).await;
    let moderated = of("/v1/moderations", json!({"input": ["a", "b"]})).await;
    assert_eq!(moderated["results"].as_array().unwrap().len(), 2);
    assert_eq!(moderated["results"][0]["flagged"], false);
    let embedded = of("/api/embed", json!({"input": ["one", "three"]})).await;
    assert_eq!(embedded["embeddings"].as_array().unwrap().len(), 2);
    let one = of("/api/embeddings", json!({"prompt": "one"})).await;
    assert_eq!(one["embedding"], embedded["embeddings"][0]);
}

#[tokio::test]
async fn errors_of_each_provider_have_its_shape() {
    let simulator = simulator().await;
    let directive = json!({"status": 429, "content": "Why"});
    for (path, pointer) in [(OLLAMA, "/error"), (CONVERSE, "/message"), (INVOKE, "/message"), (COHERE, "/message")] {
        let response = ask(&simulator, path, directive.clone(), false).await;
        assert_eq!(response.status(), 429);
        let kind = response.headers().get("x-amzn-errortype").map(|kind| kind.to_str().unwrap().to_owned());
        assert_eq!(kind.as_deref(), path.starts_with("/model/").then_some("ThrottlingException"));
        assert_eq!(value(response).await.pointer(pointer).unwrap(), "Why");
    }
    let response = complete(&simulator, COMPLETIONS, &directive, json!({})).await;
    assert_eq!(value(response).await["error"]["type"], "requests");
    for (path, directive, named) in [
        (OLLAMA, json!({"refusal": "x"}), "refusal"),
        (OLLAMA, json!({"tool": [{"name": "t", "arguments": "{"}]}), "tool 0"),
        (CONVERSE, json!({"logprobs": true}), "logprobs"),
        (COHERE, json!({"choices": [{}]}), "choices"),
        (COHERE, json!({"error_event": true}), "error_event"),
    ] {
        let mut body = prompt(&directive, false);
        body["stream"] = json!(false);
        let response = send(&simulator, post(path, &body)).await;
        assert_eq!(response.status(), 400);
        let message = text(response).await;
        assert!(message.contains(named), "{message}");
    }
}
