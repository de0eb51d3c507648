//! Requests of both surfaces, and what their errors look like to a client.

use bytes::Bytes;
use clyra_simulator::{Scripted, Simulator, directive_line};
use serde_json::{Value, json};

use crate::client::{Answer, post};

/// The two endpoints that Clyra inspects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Surface {
    Chat,
    Messages,
}

impl Surface {
    pub const BOTH: [Surface; 2] = [Surface::Chat, Surface::Messages];

    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
        }
    }

    /// Its name in receipts and events.
    pub fn id(self) -> &'static str {
        match self {
            Self::Chat => "openai.chat",
            Self::Messages => "anthropic.messages",
        }
    }

    /// The event that ends a stream in good order.
    pub fn terminal(self) -> &'static str {
        match self {
            Self::Chat => "data: [DONE]\n\n",
            Self::Messages => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        }
    }

    /// A request that tells the simulator what to answer.
    pub fn ask(self, stream: bool, directive: &Value) -> Vec<u8> {
        self.request(stream, &format!("Tell me.\n{}", directive_line(directive))).to_string().into_bytes()
    }

    /// A request with this prompt.
    pub fn request(self, stream: bool, prompt: &str) -> Value {
        let mut body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]});
        if self == Self::Messages {
            body["max_tokens"] = json!(100);
        }
        body
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
    let direct = post(simulator.addr(), surface.path(), &[], surface.ask(stream, directive)).await;
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
        Surface::Chat => {
            assert_eq!(text("/error/code"), text("/clyra/code"), "{body}");
            assert!(value["error"]["param"].is_null(), "{body}");
        }
        Surface::Messages => {
            assert_eq!(text("/type"), "error", "{body}");
            assert_eq!(text("/request_id"), text("/clyra/request_id"), "{body}");
        }
    }
    let detectors = value.pointer("/clyra/detectors").and_then(Value::as_array);
    let refusal = Refusal {
        code: text("/clyra/code"),
        kind: text("/error/type"),
        message: text("/error/message"),
        rule: value.pointer("/clyra/rule").and_then(Value::as_str).map(str::to_owned),
        reason: text("/clyra/reason"),
        request_id: text("/clyra/request_id"),
        detectors: detectors.into_iter().flatten().map(|d| d.as_str().unwrap().to_owned()).collect(),
    };
    for part in [&refusal.reason, &refusal.request_id, &refusal.code, &refusal.kind] {
        assert!(refusal.message.contains(part.as_str()), "SDKs print only the message, and it lacks {part:?}: {body}");
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
    let at = body.rfind("event: error\ndata: ").unwrap_or_else(|| panic!("no error event: {body}"));
    let (before, event) = body.split_at(at);
    let data = event.strip_prefix("event: error\ndata: ").unwrap();
    let data = data.strip_suffix("\n\n").unwrap_or_else(|| panic!("the error event is not the last thing: {body}"));
    assert!(before.is_empty() || before.ends_with("\n\n") || before.ends_with("\r\n\r\n"), "inside an event: {body}");
    let refusal = refusal(surface, data);
    assert_eq!(refusal.request_id, answer.header("x-clyra-request-id"), "{body}");
    (before.to_owned(), refusal)
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
