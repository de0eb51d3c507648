//! Requests of all surfaces, and what their errors look like to a client.

use bytes::Bytes;
use clyra_simulator::{Scripted, Simulator, directive_line};
use serde_json::{Value, json};

use crate::client::{Answer, post};

/// The endpoints that Clyra inspects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Surface {
    Chat,
    Responses,
    Messages,
    Gemini,
}

impl Surface {
    /// The oldest surfaces, for tests of what is the same for all.
    pub const BOTH: [Surface; 2] = [Surface::Chat, Surface::Messages];
    pub const ALL: [Surface; 4] = [Surface::Chat, Surface::Responses, Surface::Messages, Surface::Gemini];

    /// Where a stream is asked for.
    pub fn path(self) -> &'static str {
        self.at(true)
    }

    pub fn at(self, stream: bool) -> &'static str {
        match (self, stream) {
            (Self::Chat, _) => "/v1/chat/completions",
            (Self::Responses, _) => "/v1/responses",
            (Self::Messages, _) => "/v1/messages",
            (Self::Gemini, false) => "/v1beta/models/m:generateContent",
            (Self::Gemini, true) => "/v1beta/models/m:streamGenerateContent?alt=sse",
        }
    }

    /// Its name in receipts and events.
    pub fn id(self) -> &'static str {
        match self {
            Self::Chat => "openai.chat",
            Self::Responses => "openai.responses",
            Self::Messages => "anthropic.messages",
            Self::Gemini => "gemini.generate",
        }
    }

    /// The event that ends a stream in good order.
    pub fn terminal(self) -> &'static str {
        match self {
            Self::Chat => "data: [DONE]\n\n",
            Self::Responses => {
                "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"model\":\"m-1\",\"status\":\"completed\",\"output\":[]}}\n\n"
            }
            Self::Messages => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            Self::Gemini => {
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"modelVersion\":\"m-1\"}\r\n\r\n"
            }
        }
    }

    /// How many events stand behind the text in [`Self::events`].
    pub fn closing(self) -> usize {
        match self {
            Self::Chat => 2,
            Self::Responses => 4,
            Self::Messages => 3,
            Self::Gemini => 1,
        }
    }

    /// How many events the simulator sends before the text.
    pub fn opening(self) -> usize {
        match self {
            Self::Chat => 1,
            Self::Responses => 4,
            Self::Messages => 3,
            Self::Gemini => 0,
        }
    }

    /// A request that tells the simulator what to answer.
    pub fn ask(self, stream: bool, directive: &Value) -> Vec<u8> {
        self.request(stream, &format!("Tell me.\n{}", directive_line(directive))).to_string().into_bytes()
    }

    /// A request with this prompt.
    pub fn request(self, stream: bool, prompt: &str) -> Value {
        let messages = json!([{"role": "user", "content": prompt}]);
        match self {
            Self::Chat => json!({"model": "m", "stream": stream, "messages": messages}),
            Self::Responses => json!({"model": "m", "stream": stream, "input": messages}),
            Self::Messages => json!({"model": "m", "stream": stream, "messages": messages, "max_tokens": 100}),
            Self::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": prompt}]}]}),
        }
    }

    /// Events of this text, one piece each, as the provider frames them: the opening, the pieces, and the end.
    pub fn events(self, pieces: &[&str]) -> Vec<String> {
        let named = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
        let chunk = |delta: Value, reason: Option<&str>| {
            let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
            let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
                "choices": [choice]});
            format!("data: {chunk}\n\n")
        };
        match self {
            Self::Chat => std::iter::once(chunk(json!({"role": "assistant", "content": ""}), None))
                .chain(pieces.iter().map(|piece| chunk(json!({"content": piece}), None)))
                .chain([chunk(json!({}), Some("stop")), self.terminal().to_owned()])
                .collect(),
            Self::Responses => {
                let response = json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress",
                    "model": "m-1", "output": []});
                let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
                let item =
                    |parts: Value| json!({"id": "msg_1", "type": "message", "role": "assistant", "content": parts});
                let text = pieces.concat();
                let place = |kind: &str, member: &str, value: Value| {
                    json!({"type": format!("response.{kind}"), "item_id": "msg_1", "output_index": 0, "content_index": 0,
                        member: value})
                };
                let of_item = |kind: &str, item: Value| json!({"type": format!("response.output_item.{kind}"), "output_index": 0, "item": item});
                [
                    json!({"type": "response.created", "response": response}),
                    of_item("added", item(json!([]))),
                    place("content_part.added", "part", part("")),
                ]
                .into_iter()
                .chain(pieces.iter().map(|piece| place("output_text.delta", "delta", json!(piece))))
                .chain([
                    place("output_text.done", "text", json!(text)),
                    place("content_part.done", "part", part(&text)),
                    of_item("done", item(json!([part(&text)]))),
                ])
                .enumerate()
                .map(|(number, mut event)| {
                    event["sequence_number"] = json!(number);
                    named(event)
                })
                .chain([self.terminal().to_owned()])
                .collect()
            }
            Self::Gemini => {
                let chunk = |piece: &&str| {
                    let candidate = json!({"content": {"parts": [{"text": piece}], "role": "model"}, "index": 0});
                    format!("data: {}\r\n\r\n", json!({"candidates": [candidate], "modelVersion": "m-1"}))
                };
                pieces.iter().map(chunk).chain([self.terminal().to_owned()]).collect()
            }
            Self::Messages => {
                let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": [],
                    "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}});
                let block = json!({"type": "text", "text": ""});
                let delta = |piece: &&str| {
                    let delta = json!({"type": "text_delta", "text": piece});
                    named(json!({"type": "content_block_delta", "index": 0, "delta": delta}))
                };
                let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                    "usage": {"output_tokens": 9}});
                [
                    json!({"type": "message_start", "message": message}),
                    json!({"type": "content_block_start", "index": 0, "content_block": block}),
                ]
                .into_iter()
                .map(named)
                .chain(pieces.iter().map(delta))
                .chain([named(json!({"type": "content_block_stop", "index": 0})), named(end)])
                .chain([self.terminal().to_owned()])
                .collect()
            }
        }
    }
}

/// Has the simulator answer the next request with exactly what it answers to this directive, and gives those bytes.
pub async fn replay(simulator: &Simulator, surface: Surface, stream: bool, directive: &Value) -> Vec<u8> {
    let direct = post(simulator.addr(), surface.at(stream), &[], surface.ask(stream, directive)).await;
    assert_eq!(direct.status, 200, "{}", direct.text());
    let headers = vec![("content-type".to_owned(), direct.header("content-type").to_owned())];
    simulator.script(Scripted { headers, chunks: vec![Bytes::from(direct.body())], ..Scripted::default() });
    direct.body()
}

/// An error that Clyra made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: String,
    pub kind: String,
    pub message: String,
    pub rule: Option<String>,
    pub reason: String,
    pub request_id: String,
    pub detectors: Vec<String>,
}

/// Reads an error that must be Clyra's own, in the shape that the surface's SDKs raise an exception on.
pub fn refusal(surface: Surface, body: &str) -> Refusal {
    let value: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("no JSON ({error}): {body}"));
    let text = |pointer: &str| -> String {
        let found = value.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no text at {pointer}: {body}")).to_owned()
    };
    match surface {
        Surface::Chat | Surface::Responses => {
            assert_eq!(text("/error/code"), text("/clyra/code"), "{body}");
            assert!(value["error"]["param"].is_null(), "{body}");
        }
        Surface::Gemini => {
            assert!(body.starts_with("{\"error\":{\"code\":"), "SDKs know it by its beginning: {body}");
            assert!(value["error"]["code"].as_u64().is_some_and(|code| code >= 400), "{body}");
            assert_eq!(value["error"]["details"], json!([]), "{body}");
        }
        Surface::Messages => {
            assert_eq!(text("/type"), "error", "{body}");
            assert_eq!(text("/request_id"), text("/clyra/request_id"), "{body}");
        }
    }
    let detectors = value.pointer("/clyra/detectors").and_then(Value::as_array);
    let refusal = Refusal {
        code: text("/clyra/code"),
        kind: text(if surface == Surface::Gemini { "/error/status" } else { "/error/type" }),
        message: text("/error/message"),
        rule: value.pointer("/clyra/rule").and_then(Value::as_str).map(str::to_owned),
        reason: text("/clyra/reason"),
        request_id: text("/clyra/request_id"),
        detectors: detectors.into_iter().flatten().map(|d| d.as_str().unwrap().to_owned()).collect(),
    };
    // Routers know the words of OpenAI, whoever's error it is.
    let kind = if surface == Surface::Gemini { "error" } else { refusal.kind.as_str() };
    for part in [refusal.reason.as_str(), &refusal.request_id, &refusal.code, kind] {
        assert!(refusal.message.contains(part), "SDKs print only the message, and it lacks {part:?}: {body}");
    }
    refusal
}

/// Reads an answer that must be Clyra's own error, with its headers.
pub fn refused(surface: Surface, status: u16, code: &str, answer: &Answer) -> Refusal {
    let body = answer.text();
    assert_eq!(answer.status.as_u16(), status, "{body}");
    assert!(answer.complete, "the error was cut off: {body}");
    let refusal = refusal(surface, &body);
    assert_eq!(refusal.code, code, "{body}");
    assert_eq!(refusal.request_id, answer.header("x-clyra-request-id"), "{body}");
    assert_eq!(answer.header("content-type"), "application/json");
    let retry = matches!(status, 408 | 502..=504) && code != "upstream_unreadable";
    assert_eq!(answer.header("x-should-retry"), if retry { "true" } else { "false" }, "{code}");
    assert_eq!(answer.headers.contains_key("retry-after"), status == 503, "{code}");
    refusal
}

/// Reads a stream that must end in Clyra's own error event; gives what stands before it, and the error.
pub fn cut_short(surface: Surface, answer: &Answer) -> (String, Refusal) {
    let body = answer.text();
    assert_eq!(answer.status.as_u16(), 200, "{body}");
    assert!(answer.complete, "the message was cut off instead of ended: {body}");
    let (begin, end) = match surface {
        Surface::Gemini => ("data: ", "\r\n\r\n"),
        _ => ("event: error\ndata: ", "\n\n"),
    };
    let at = body.rfind(begin).unwrap_or_else(|| panic!("no error event: {body}"));
    let (before, event) = body.split_at(at);
    let data = event.strip_prefix(begin).unwrap();
    let data = data.strip_suffix(end).unwrap_or_else(|| panic!("the error event is not the last thing: {body}"));
    if surface == Surface::Responses {
        numbered(before, data);
    }
    assert!(before.is_empty() || before.ends_with("\n\n") || before.ends_with("\r\n\r\n"), "inside an event: {body}");
    let refusal = refusal(surface, data);
    assert_eq!(refusal.request_id, answer.header("x-clyra-request-id"), "{body}");
    (before.to_owned(), refusal)
}

/// The error of responses is an event of its own kind, and goes on counting where the stream stopped.
fn numbered(before: &str, data: &str) {
    let read = |data: &str| serde_json::from_str::<Value>(data).unwrap_or_default();
    let numbers = before.lines().filter_map(|line| read(line.strip_prefix("data: ")?)["sequence_number"].as_u64());
    let next = numbers.max().map_or(0, |last| last + 1);
    let event = read(data);
    assert_eq!((&event["type"], event["sequence_number"].as_u64()), (&json!("error"), Some(next)), "{data}");
    for member in ["code", "message", "param"] {
        assert_eq!(event[member], event["error"][member], "{data}");
    }
}

/// Reads an answer that must have been blocked with this code, before or in the middle of its stream; gives what had left.
pub fn stopped(surface: Surface, code: &str, answer: &Answer) -> (String, Refusal) {
    if answer.status == 200 {
        let (before, refusal) = cut_short(surface, answer);
        assert_eq!(refusal.code, code, "{}", answer.text());
        return (before, refusal);
    }
    (String::new(), refused(surface, 400, code, answer))
}
