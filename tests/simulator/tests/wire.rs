//! The simulator over loopback, seen by a client that knows HTTP and nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "a test fails by panicking")]

#[path = "wire/providers.rs"]
mod providers;

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use clyra_simulator::{
    CANNED_ANSWER, Options, SCRIPT_HEADER, SIMULATED_BY, SIMULATED_HEADER, ScriptEnd, Scripted, Simulator,
    directive_line,
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a test waits for what must come before it calls it missing.
const PATIENCE: Duration = Duration::from_secs(10);

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const GEMINI: &str = "/v1beta/models/m:generateContent";
const GEMINI_EVENTS: &str = "/v1beta/models/m:streamGenerateContent?alt=sse";
const GEMINI_ARRAY: &str = "/v1beta/models/m:streamGenerateContent";

async fn simulator() -> Simulator {
    Simulator::start(Options::default()).await.unwrap()
}

async fn send(simulator: &Simulator, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "simulator")
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

fn prompt(directive: &Value, stream: bool) -> Value {
    let line = directive_line(directive);
    json!({"model": "m", "stream": stream, "max_tokens": 100, "messages": [{"role": "user", "content": line}]})
}

async fn ask(simulator: &Simulator, path: &str, directive: Value, stream: bool) -> Response<Incoming> {
    send(simulator, post(path, &prompt(&directive, stream))).await
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn plain(simulator: &Simulator, path: &str, directive: Value) -> Value {
    serde_json::from_str(&text(ask(simulator, path, directive, false).await).await).unwrap()
}

/// The data of each event, parsed; `[DONE]` as a string.
fn events(stream: &str) -> Vec<Value> {
    stream
        .split("\n\n")
        .filter(|event| !event.is_empty())
        .map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap())
        .map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into()))
        .collect()
}

async fn streamed(simulator: &Simulator, path: &str, directive: Value) -> Vec<Value> {
    let response = ask(simulator, path, directive, true).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    events(&text(response).await)
}

/// All strings at `pointer` of the events, put together.
fn gathered(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer).and_then(Value::as_str)).collect()
}

#[tokio::test]
async fn says_what_it_is_on_every_answer() {
    let simulator = simulator().await;
    simulator.script_for("k", Scripted::json(201, "{}"));
    for request in [
        post(CHAT, &json!({"messages": []})),
        post(MESSAGES, &json!({"messages": []})),
        post(CHAT, &json!(null)),
        Request::get("/v1/models").body(Full::default()).unwrap(),
        Request::get("/elsewhere").body(Full::default()).unwrap(),
        Request::get("/").header(SCRIPT_HEADER, "k").body(Full::default()).unwrap(),
    ] {
        let response = send(&simulator, request).await;
        assert_eq!(response.headers()[SIMULATED_HEADER], SIMULATED_BY);
    }
}

#[tokio::test]
async fn without_a_directive_the_answer_is_harmless() {
    let simulator = simulator().await;
    let body = json!({"messages": [{"role": "user", "content": "Repeat after me: secret"}]});
    let chat: Value = serde_json::from_str(&text(send(&simulator, post(CHAT, &body)).await).await).unwrap();
    assert_eq!(chat["choices"][0]["message"]["content"], CANNED_ANSWER);
    assert_eq!(chat["choices"][0]["finish_reason"], "stop");
    assert_eq!(chat["model"], "simulated-gpt");
    let messages: Value = serde_json::from_str(&text(send(&simulator, post(MESSAGES, &body)).await).await).unwrap();
    assert_eq!(messages["content"], json!([{"type": "text", "text": CANNED_ANSWER}]));
    assert_eq!(messages["stop_reason"], "end_turn");
}

#[tokio::test]
async fn every_channel_of_chat_is_the_same_plain_and_streamed_at_any_split() {
    let simulator = simulator().await;
    let said = "Füchse 🦊 sind rot";
    let arguments = r#"{"zitat":"Füchse 🦊"}"#;
    for split in [json!({"split": 1}), json!({"split": 3}), json!({"split_at": []}), json!({"split_at": [7, 8]})] {
        let mut directive = json!({
            "content": said, "reasoning": said, "refusal": said,
            "tool": [{"name": "a", "arguments": arguments}, {"name": "b", "arguments": "not json"}],
            "function_call": {"name": "c", "arguments": arguments},
        });
        let message = plain(&simulator, CHAT, directive.clone()).await["choices"][0]["message"].clone();
        for channel in ["content", "refusal", "reasoning_content"] {
            assert_eq!(message[channel], said);
        }
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], arguments);
        assert_eq!(message["tool_calls"][1]["function"]["arguments"], "not json");
        assert_eq!(message["function_call"], json!({"name": "c", "arguments": arguments}));

        directive.as_object_mut().unwrap().append(split.clone().as_object_mut().unwrap());
        let stream = streamed(&simulator, CHAT, directive).await;
        for channel in ["content", "refusal", "reasoning_content"] {
            assert_eq!(gathered(&stream, &format!("/choices/0/delta/{channel}")), said, "{split}");
        }
        assert_eq!(gathered(&stream, "/choices/0/delta/function_call/arguments"), arguments);
        let (first, second): (Vec<Value>, Vec<Value>) = stream
            .iter()
            .filter(|event| event.pointer("/choices/0/delta/tool_calls").is_some())
            .cloned()
            .partition(|event| event["choices"][0]["delta"]["tool_calls"][0]["index"] == 0);
        let fragments = "/choices/0/delta/tool_calls/0/function/arguments";
        assert_eq!(gathered(&first, fragments), arguments);
        assert_eq!(gathered(&second, fragments), "not json");
        assert_eq!(first[0].pointer(fragments).unwrap(), "");
        assert_eq!(first[0]["choices"][0]["delta"]["tool_calls"][0]["type"], "function");
        assert_eq!(stream.last().unwrap(), "[DONE]");
        assert_eq!(stream[stream.len() - 2]["choices"][0]["finish_reason"], "tool_calls");
    }
}

#[tokio::test]
async fn every_channel_of_messages_is_the_same_plain_and_streamed_at_any_split() {
    let simulator = simulator().await;
    let said = "Füchse 🦊 sind rot";
    let arguments = r#"{"zitat":"Füchse 🦊"}"#;
    for split in [json!({"split": 1}), json!({"split_at": []}), json!({"split_at": [7, 8]})] {
        let mut directive = json!({"thinking": said, "content": said, "tool": [{"name": "a", "arguments": arguments}]});
        let message = plain(&simulator, MESSAGES, directive.clone()).await;
        let kinds: Vec<_> = message["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
        assert_eq!(kinds, ["thinking", "text", "tool_use"]);
        assert_eq!(message["content"][0]["thinking"], said);
        assert_eq!(message["content"][2]["input"], json!({"zitat": "Füchse 🦊"}));
        assert_eq!(message["stop_reason"], "tool_use");

        directive.as_object_mut().unwrap().append(split.clone().as_object_mut().unwrap());
        let stream = streamed(&simulator, MESSAGES, directive).await;
        assert_eq!(gathered(&stream, "/delta/thinking"), said, "{split}");
        assert_eq!(gathered(&stream, "/delta/text"), said);
        assert_eq!(gathered(&stream, "/delta/partial_json"), arguments);
        assert!(!gathered(&stream, "/delta/signature").is_empty());
        let starts: Vec<_> = stream
            .iter()
            .filter(|event| event["type"] == "content_block_start")
            .map(|event| (event["index"].as_u64().unwrap(), event["content_block"]["type"].as_str().unwrap()))
            .collect();
        assert_eq!(starts, [(0, "thinking"), (1, "text"), (2, "tool_use")]);
        assert_eq!(stream[0]["type"], "message_start");
        assert_eq!(stream.last().unwrap()["type"], "message_stop");
        assert_eq!(stream[stream.len() - 2]["delta"]["stop_reason"], "tool_use");
    }
}

#[tokio::test]
async fn messages_events_are_named_after_their_type() {
    let simulator = simulator().await;
    let stream = text(ask(&simulator, MESSAGES, json!({}), true).await).await;
    for event in stream.split("\n\n").filter(|event| !event.is_empty()) {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
    }
}

async fn respond(simulator: &Simulator, directive: Value, stream: bool) -> String {
    let body = json!({"model": "m", "stream": stream, "input": directive_line(&directive)});
    text(send(simulator, post(RESPONSES, &body)).await).await
}

#[tokio::test]
async fn every_channel_of_responses_is_said_again_at_every_stage() {
    let simulator = simulator().await;
    let (said, arguments) = ("Füchse 🦊 sind rot", r#"{"zitat":"Füchse 🦊"}"#);
    let call = json!({"name": "f", "arguments": arguments});
    for (directive, name, member, place) in [
        (json!({"content": said}), "output_text", "text", "content/0/text"),
        (json!({"refusal": said}), "refusal", "refusal", "content/0/refusal"),
        (json!({"reasoning": said, "content": "x"}), "reasoning_summary_text", "text", "summary/0/text"),
        (json!({"thinking": said, "content": "x"}), "reasoning_text", "text", "content/0/text"),
        (json!({"tool": [call]}), "function_call_arguments", "arguments", "arguments"),
        (json!({"function_call": call}), "custom_tool_call_input", "input", "input"),
    ] {
        let text = if name.contains("call") { arguments } else { said };
        let plain: Value = serde_json::from_str(&respond(&simulator, directive.clone(), false).await).unwrap();
        assert_eq!(plain.pointer(&format!("/output/0/{place}")), Some(&json!(text)), "{plain}");
        assert_eq!((&plain["status"], &plain["object"]), (&json!("completed"), &json!("response")));
        let mut cut = directive;
        cut["split"] = json!(1);
        let events = events(&respond(&simulator, cut, true).await);
        let first: Vec<&Value> = events.iter().filter(|event| event["output_index"] == 0).collect();
        let of =
            |kind: &str| first.iter().filter(|event| event["type"] == format!("response.{kind}")).collect::<Vec<_>>();
        let pieces: Vec<_> =
            of(&format!("{name}.delta")).iter().map(|event| event["delta"].as_str().unwrap()).collect();
        assert!(pieces.len() > 5 && pieces.concat() == text, "{pieces:?}");
        assert_eq!(of(&format!("{name}.done"))[0][member], text);
        assert_eq!(of("output_item.done")[0]["item"].pointer(&format!("/{place}")), Some(&json!(text)));
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.completed");
        assert_eq!(last.pointer(&format!("/response/output/0/{place}")), Some(&json!(text)));
        let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    }
    let cut_off = events(&respond(&simulator, json!({"finish_reason": "max_output_tokens"}), true).await);
    let last = cut_off.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.incomplete"), &json!("incomplete")));
}

#[tokio::test]
async fn gemini_answers_whole_as_events_and_as_an_array() {
    let simulator = simulator().await;
    let directive = json!({"thinking": "Hm. Na ja.", "content": "Füchse 🦊 sind rot", "split": 4,
        "tool": [{"name": "f", "arguments": "{\"a\":1}"}]});
    let body = json!({"contents": [{"parts": [{"text": directive_line(&directive)}]}]});
    let whole = text(send(&simulator, post(GEMINI, &body)).await).await;
    let whole: Value = serde_json::from_str(&whole).unwrap();
    let response = send(&simulator, post(GEMINI_EVENTS, &body)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let stream = text(response).await;
    assert!(stream.ends_with("\r\n\r\n") && !stream.replace("\r\n", "").contains('\n'), "{stream}");
    let streamed = events(&stream.replace("\r\n", "\n"));
    let response = send(&simulator, post(GEMINI_ARRAY, &body)).await;
    assert_eq!(response.headers()["content-type"], "application/json; charset=UTF-8");
    let array: Vec<Value> = serde_json::from_str(&text(response).await).unwrap();
    for pieces in [vec![whole.clone()], streamed, array] {
        let parts: Vec<&Value> =
            pieces.iter().flat_map(|piece| piece["candidates"][0]["content"]["parts"].as_array().unwrap()).collect();
        let of = |thought: bool| -> String {
            let wanted = parts.iter().filter(|part| part.get("thought").is_some() == thought);
            wanted.filter_map(|part| part["text"].as_str()).collect()
        };
        assert_eq!((of(true).as_str(), of(false).as_str()), ("Hm. Na ja.", "Füchse 🦊 sind rot"));
        let call = parts.iter().find_map(|part| part.get("functionCall")).unwrap();
        assert_eq!((&call["name"], &call["args"]), (&json!("f"), &json!({"a": 1})));
        let last = pieces.last().unwrap();
        assert_eq!(last["candidates"][0]["finishReason"], "STOP");
        assert_eq!(last["usageMetadata"], whole["usageMetadata"]);
    }
    let directive = json!({"choices": [{"content": "a"}, {"content": "b", "finish_reason": "SAFETY"}]});
    let body = json!({"contents": [{"parts": [{"text": directive_line(&directive)}]}]});
    let whole: Value = serde_json::from_str(&text(send(&simulator, post(GEMINI, &body)).await).await).unwrap();
    assert_eq!(whole["candidates"][1]["index"], 1);
    assert_eq!(whole["candidates"][1]["finishReason"], "SAFETY");
    let directive = json!({"status": 429});
    let body = json!({"contents": [{"parts": [{"text": directive_line(&directive)}]}]});
    let response = send(&simulator, post(GEMINI, &body)).await;
    assert_eq!(response.status(), 429);
    let error: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["status"]), (&json!(429), &json!("RESOURCE_EXHAUSTED")));
}

#[tokio::test]
async fn choices_are_interleaved() {
    let simulator = simulator().await;
    let directive = json!({"choices": [{"content": "one two"}, {"tool": [{"name": "t", "arguments": "{}"}]}]});
    let answer = plain(&simulator, CHAT, directive.clone()).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "one two");
    assert_eq!(answer["choices"][1]["message"]["content"], Value::Null);
    assert_eq!(answer["choices"][1]["finish_reason"], "tool_calls");
    let stream = streamed(&simulator, CHAT, directive).await;
    let order: Vec<_> =
        stream.iter().filter_map(|event| event.pointer("/choices/0/index").and_then(Value::as_u64)).collect();
    assert_eq!(order, [0, 1, 0, 1, 0, 1, 0, 1]);
}

#[tokio::test]
async fn n_choices_are_answered() {
    let simulator = simulator().await;
    let mut body = prompt(&json!({"content": "x"}), false);
    body["n"] = json!(3);
    let answer: Value = serde_json::from_str(&text(send(&simulator, post(CHAT, &body)).await).await).unwrap();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 3);
    body["n"] = json!(1_000_000);
    assert_eq!(send(&simulator, post(CHAT, &body)).await.status(), 400);
}

#[tokio::test]
async fn content_can_be_parts_and_reasoning_has_each_spelling() {
    let simulator = simulator().await;
    let stream = streamed(&simulator, CHAT, json!({"content": "ab", "split": 1, "content_parts": true})).await;
    assert_eq!(stream[1]["choices"][0]["delta"]["content"], json!([{"type": "text", "text": "a"}]));
    for (field, pointer) in [
        ("reasoning_content", "/choices/0/message/reasoning_content"),
        ("reasoning", "/choices/0/message/reasoning"),
        ("reasoning_details", "/choices/0/message/reasoning_details/0/text"),
    ] {
        let answer = plain(&simulator, CHAT, json!({"reasoning": "why", "reasoning_field": field})).await;
        assert_eq!(answer.pointer(pointer).unwrap(), "why");
    }
}

#[tokio::test]
async fn logprobs_repeat_the_text() {
    let simulator = simulator().await;
    let directive = json!({"content": "aß", "split": 1, "logprobs": true});
    let stream = streamed(&simulator, CHAT, directive.clone()).await;
    assert_eq!(gathered(&stream, "/choices/0/logprobs/content/0/token"), "aß");
    let answer = plain(&simulator, CHAT, directive).await;
    assert_eq!(answer.pointer("/choices/0/logprobs/content/1/bytes").unwrap(), &json!([0xC3, 0x9F]));
}

#[tokio::test]
async fn usage_comes_when_asked_for() {
    let simulator = simulator().await;
    let has_usage = |stream: &[Value]| stream.iter().any(|event| event["usage"].is_object());
    assert!(!has_usage(&streamed(&simulator, CHAT, json!({})).await));
    assert!(has_usage(&streamed(&simulator, CHAT, json!({"usage": true})).await));
    let mut body = prompt(&json!({}), true);
    body["stream_options"] = json!({"include_usage": true});
    let stream = events(&text(send(&simulator, post(CHAT, &body)).await).await);
    let last = &stream[stream.len() - 2];
    assert_eq!(last["choices"], json!([]));
    assert!(last["usage"]["total_tokens"].as_u64().unwrap() > 0);
    assert_eq!(plain(&simulator, CHAT, json!({"usage": false})).await.get("usage"), None);
}

#[tokio::test]
async fn errors_have_the_shape_of_their_provider() {
    let simulator = simulator().await;
    for (status, openai, anthropic) in [
        (429, "requests", "rate_limit_error"),
        (500, "server_error", "api_error"),
        (529, "server_error", "overloaded_error"),
    ] {
        for stream in [false, true] {
            let response = ask(&simulator, CHAT, json!({"status": status}), stream).await;
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().contains_key("retry-after"), status == 429);
            let body: Value = serde_json::from_str(&text(response).await).unwrap();
            assert_eq!(body["error"]["type"], openai);
            let response = ask(&simulator, MESSAGES, json!({"status": status, "content": "Why"}), stream).await;
            let id = response.headers()["request-id"].to_str().unwrap().to_owned();
            let body: Value = serde_json::from_str(&text(response).await).unwrap();
            assert_eq!(
                body,
                json!({"type": "error", "error": {"type": anthropic, "message": "Why"}, "request_id": id})
            );
        }
    }
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_its_name() {
    let simulator = simulator().await;
    for (path, directive, named) in [
        (CHAT, json!({"contents": "x"}), "`contents`"),
        (CHAT, json!({"thinking": "x"}), "thinking"),
        (CHAT, json!({"error_event": true}), "error_event"),
        (MESSAGES, json!({"refusal": "x"}), "refusal"),
        (MESSAGES, json!({"choices": [{}]}), "choices"),
        (MESSAGES, json!({"tool": [{"name": "t", "arguments": "{"}]}), "tool 0"),
    ] {
        let response = ask(&simulator, path, directive, false).await;
        assert_eq!(response.status(), 400);
        let body: Value = serde_json::from_str(&text(response).await).unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(named), "{message}");
    }
    let response = send(&simulator, Request::post("/v1/x").body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), 404);
    let body: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(body["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn echoes_give_back_what_arrived() {
    let simulator = simulator().await;
    let line = directive_line(&json!({"echo": true}));
    let body = json!({"messages": [{"role": "user", "content": format!("hello\n{line}")}]});
    let answer: Value = serde_json::from_str(&text(send(&simulator, post(CHAT, &body)).await).await).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "hello");
    let line = directive_line(&json!({"echo_reversed": true}));
    let body = json!({"messages": [{"role": "user", "content": format!("Füchse\n{line}")}]});
    let answer: Value = serde_json::from_str(&text(send(&simulator, post(CHAT, &body)).await).await).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "eshcüF");
    let line = directive_line(&json!({"echo_system": true}));
    let body = json!({"system": "rules", "messages": [{"role": "user", "content": line}]});
    let answer: Value = serde_json::from_str(&text(send(&simulator, post(MESSAGES, &body)).await).await).unwrap();
    assert_eq!(answer["content"][0]["text"], "rules");
    let line = directive_line(&json!({"echo_body": true}));
    let body = json!({"messages": [{"role": "user", "content": line}]});
    let answer: Value = serde_json::from_str(&text(send(&simulator, post(CHAT, &body)).await).await).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], body.to_string());
}

#[tokio::test]
async fn the_stream_can_be_made_unusual() {
    let simulator = simulator().await;
    let stream = text(ask(&simulator, CHAT, json!({"crlf": true, "comments": true}), true).await).await;
    assert!(stream.starts_with(": keep-alive\r\n\r\ndata: {"));
    assert!(!stream.replace("\r\n", "").contains('\n'));

    let events_of = async |directive| streamed(&simulator, CHAT, directive).await;
    assert_ne!(events_of(json!({"no_done": true})).await.last().unwrap(), "[DONE]");
    let broken = events_of(json!({"malformed_event": 1})).await;
    assert!(broken[1].is_string() && broken[0].is_object() && broken[2].is_object());
    let failed = events_of(json!({"error_event": true})).await;
    assert_eq!(failed.last().unwrap()["error"]["type"], "server_error");
    let finished = events_of(json!({"finish_reason": "length"})).await;
    assert_eq!(finished[finished.len() - 2]["choices"][0]["finish_reason"], "length");
    let failed = streamed(&simulator, MESSAGES, json!({"error_event": true})).await;
    assert_eq!(failed.last().unwrap()["error"]["type"], "overloaded_error");
}

#[tokio::test]
async fn escapes_and_half_pairs_are_written_as_directed() {
    let simulator = simulator().await;
    let stream = text(ask(&simulator, CHAT, json!({"content": "ä🦊", "ascii": true}), true).await).await;
    assert!(stream.is_ascii() && stream.contains(r#""content":"\u00e4\ud83e\udd8a""#), "{stream}");
    let directive = json!({"content": "a🦊b", "split_at": [], "split_surrogates": true});
    let stream = text(ask(&simulator, CHAT, directive, true).await).await;
    assert!(stream.contains(r#""content":"a\ud83e""#) && stream.contains(r#""content":"\udd8ab""#), "{stream}");
}

#[tokio::test]
async fn bodies_can_be_compressed() {
    let simulator = simulator().await;
    for stream in [false, true] {
        let response =
            ask(&simulator, CHAT, json!({"content": "squeezed", "split_at": [], "gzip": true}), stream).await;
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let mut decoded = String::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut decoded).unwrap();
        assert!(decoded.contains("squeezed"));
    }
}

#[tokio::test]
async fn each_compressed_event_can_be_read_when_it_comes() {
    let simulator = simulator().await;
    let directive = json!({"content": "ab", "split": 1, "gzip": true, "stall_after": 2});
    let mut body = ask(&simulator, CHAT, directive, true).await.into_body();
    let mut decoder = flate2::write::GzDecoder::new(vec![]);
    while !String::from_utf8_lossy(decoder.get_ref()).contains(r#"{"content":"a"}"#) {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        std::io::Write::write_all(&mut decoder, &frame.into_data().unwrap()).unwrap();
        std::io::Write::flush(&mut decoder).unwrap();
    }
}

/// The chunks of the chunked coding, as they were framed.
fn chunks(mut raw: &[u8]) -> Vec<Vec<u8>> {
    let mut chunks = vec![];
    loop {
        let line = raw.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return chunks;
        }
        chunks.push(raw[line + 2..line + 2 + size].to_vec());
        raw = &raw[line + 2 + size + 2..];
    }
}

async fn raw_exchange(simulator: &Simulator, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut raw = vec![];
    stream.read_to_end(&mut raw).await.unwrap();
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (String::from_utf8(raw[..end].to_vec()).unwrap(), raw[end + 4..].to_vec())
}

fn raw_request(body: &str) -> String {
    let length = body.len();
    format!("POST {CHAT} HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn writes_have_the_size_asked_for() {
    let simulator = simulator().await;
    for size in [1, 7] {
        let body = prompt(&json!({"content": "ab", "split": 1, "write_bytes": size}), true).to_string();
        let (_, raw) = raw_exchange(&simulator, &raw_request(&body)).await;
        let chunks = chunks(&raw);
        assert!(chunks.iter().all(|chunk| (1..=size).contains(&chunk.len())));
        assert_eq!(events(&String::from_utf8(chunks.concat()).unwrap()).last().unwrap(), "[DONE]");
    }
}

#[tokio::test]
async fn scripts_are_sent_as_they_are() {
    let simulator = simulator().await;
    let writes: Vec<Bytes> = ["data: a", "\n", "\ndata: b\n\n"].map(Bytes::from).into();
    simulator.script(Scripted::sse(writes.clone()));
    let (_, raw) = raw_exchange(&simulator, &raw_request("{}")).await;
    assert_eq!(chunks(&raw), writes);

    let lengthy = Scripted {
        status: 418,
        headers: vec![("content-length".into(), "3".into())],
        chunks: ["a", "bc"].map(Bytes::from).into(),
        ..Scripted::default()
    };
    simulator.script(lengthy);
    let (head, raw) = raw_exchange(&simulator, &raw_request("{}")).await;
    assert!(head.starts_with("HTTP/1.1 418") && !head.contains("chunked"), "{head}");
    assert_eq!(raw, b"abc");
}

#[tokio::test]
async fn keyed_scripts_do_not_depend_on_order() {
    let simulator = simulator().await;
    for key in ["a", "b", "c"] {
        simulator.script_for(key, Scripted::json(200, key));
    }
    for key in ["c", "a", "b"] {
        let request = Request::get("/any").header(SCRIPT_HEADER, key).body(Full::default()).unwrap();
        assert_eq!(text(send(&simulator, request).await).await, key);
    }
    let request = Request::get("/any").header(SCRIPT_HEADER, "a").body(Full::default()).unwrap();
    assert_eq!(send(&simulator, request).await.status(), 400);
}

#[tokio::test]
async fn a_cut_leaves_the_message_unfinished() {
    let simulator = simulator().await;
    for stream in [true, false] {
        let after = usize::from(stream);
        let response = ask(&simulator, CHAT, json!({"cut_after": after}), stream).await;
        assert_eq!(response.status(), 200);
        assert!(response.into_body().collect().await.is_err());
    }
    simulator.script(Scripted { end: ScriptEnd::Cut, ..Scripted::sse(vec![Bytes::from("data: a\n\n")]) });
    let (_, raw) = raw_exchange(&simulator, &raw_request("{}")).await;
    assert_eq!(raw, b"9\r\ndata: a\n\n\r\n");
    assert_eq!(simulator.cancelled(), 0);
}

#[tokio::test]
async fn clients_that_leave_are_noticed() {
    let simulator = simulator().await;
    let mut left = 0;
    for directive in [json!({"stall_after": 2}), json!({"stall_after": 0}), json!({"delay_ms": 60_000})] {
        let mut body = ask(&simulator, CHAT, directive.clone(), true).await.into_body();
        if directive["stall_after"] != 0 {
            tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        }
        assert_eq!(simulator.cancelled(), left);
        drop(body);
        left += 1;
        assert!(simulator.wait_cancelled(left, PATIENCE).await, "{directive}");
    }
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let body = prompt(&json!({"first_delay_ms": 60_000}), false).to_string();
    stream.write_all(raw_request(&body).as_bytes()).await.unwrap();
    while simulator.requests().len() < 4 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    assert!(simulator.wait_cancelled(left + 1, PATIENCE).await, "before the head");
    assert!(!simulator.wait_cancelled(left + 2, Duration::ZERO).await);
}

#[tokio::test]
async fn finished_answers_are_not_cancelled() {
    let simulator = simulator().await;
    for stream in [false, true] {
        text(ask(&simulator, CHAT, json!({}), stream).await).await;
        text(ask(&simulator, MESSAGES, json!({"write_bytes": 5}), stream).await).await;
    }
    assert_eq!(simulator.cancelled(), 0);
}

#[tokio::test]
async fn requests_are_remembered_as_they_came() {
    let simulator = simulator().await;
    let request = Request::post("/v1/chat/completions?a=b").header("x-one", "1").body(Full::from(" {} ")).unwrap();
    send(&simulator, request).await;
    let seen = simulator.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/v1/chat/completions?a=b");
    assert_eq!(seen[0].headers["x-one"], "1");
    assert_eq!(seen[0].body, " {} ");
}

#[tokio::test]
async fn embeddings_mean_the_same_in_both_encodings() {
    use base64::Engine as _;
    let simulator = simulator().await;
    let ask = async |format: &str| -> Value {
        let body = json!({"input": ["one", "three"], "encoding_format": format});
        serde_json::from_str(&text(send(&simulator, post("/v1/embeddings", &body)).await).await).unwrap()
    };
    let (numbers, encoded) = (ask("float").await, ask("base64").await);
    for index in 0..2 {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(encoded["data"][index]["embedding"].as_str().unwrap())
            .unwrap();
        let decoded: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(json!(decoded), numbers["data"][index]["embedding"]);
    }
}

#[tokio::test]
async fn stopped_it_no_longer_listens() {
    let simulator = simulator().await;
    let addr = simulator.addr();
    let mut body = ask(&simulator, CHAT, json!({"stall_after": 0}), true).await.into_body();
    simulator.stop().await;
    assert!(tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().is_err());
    assert!(TcpStream::connect(addr).await.is_err());
}
