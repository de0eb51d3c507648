//! The exchanges of the demonstration: good ones and bad ones, each with what should happen to it.

use clyra_simulator::directive_line;
use serde_json::{Value, json};

/// One exchange to show.
pub(super) struct Scene {
    pub(super) title: &'static str,
    /// What the application sends, in a person's words.
    pub(super) sent: &'static str,
    pub(super) path: &'static str,
    pub(super) body: Value,
    /// The decision that a working firewall makes here.
    pub(super) expect: &'static str,
}

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

fn chat(text: &str, more: &Value) -> Value {
    let mut body = json!({"model": "simulated-gpt", "messages": [{"role": "user", "content": text}]});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

/// A prompt that makes the simulated provider answer as told. The directive is encoded, so that what is forbidden does not
/// stand in the request.
fn told(text: &str, directive: &Value) -> String {
    format!("{text}\n{}", directive_line(directive))
}

pub(super) fn scenes() -> Vec<Scene> {
    // Put together here, so that no scanner of source code takes it for a leaked key.
    let key = ["AKIA", "IOSFODNN7", "QUICKST"].concat();
    let leak = json!({"content": "The launch of Project Nightjar is on Friday.", "split": 4});
    let shell = json!({"tool": [{"name": "run_shell", "arguments": "{\"command\":\"rm -rf /\"}"}]});
    let schema = json!({"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]});
    let format =
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "invoice", "schema": schema}}});
    let broken = json!({"content": "{\"total\": \"about forty\"}"});
    let messages = json!({
        "model": "simulated-claude", "max_tokens": 100, "stream": true,
        "messages": [{"role": "user", "content": told("Clean up the server.", &shell)}],
    });
    vec![
        Scene {
            title: "An ordinary question",
            sent: "What is a sidecar?",
            path: CHAT,
            body: chat("What is a sidecar?", &json!({})),
            expect: "allow",
        },
        Scene {
            title: "A key in the prompt",
            sent: "Debug this: AWS_KEY=AKIA…",
            path: CHAT,
            body: chat(&format!("Debug this: AWS_KEY={key}"), &json!({})),
            expect: "redact",
        },
        Scene {
            title: "A forbidden name in the prompt",
            sent: "Summarise Project Nightjar.",
            path: CHAT,
            body: chat("Summarise Project Nightjar.", &json!({})),
            expect: "block",
        },
        Scene {
            title: "The model says the forbidden name, streaming",
            sent: "When is the launch?",
            path: CHAT,
            body: chat(&told("When is the launch?", &leak), &json!({"stream": true})),
            expect: "block",
        },
        Scene {
            title: "The model calls a forbidden tool (Anthropic, streaming)",
            sent: "Clean up the server.",
            path: MESSAGES,
            body: messages,
            expect: "block",
        },
        Scene {
            title: "The model breaks the JSON schema that was asked for",
            sent: "Total of the invoice, as JSON.",
            path: CHAT,
            body: chat(&told("Total of the invoice, as JSON.", &broken), &format),
            expect: "block",
        },
    ]
}
