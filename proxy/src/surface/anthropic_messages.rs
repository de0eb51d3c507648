//! Anthropic messages: `POST /v1/messages`.

use std::sync::LazyLock;

use super::table::{Line, When, by_role, json, media, stored, text};
use serde_json::{Value as Json, json};

use super::again::{self, Again, Streamed};
use super::ending::own_id;
use super::{
    Address, Channel, Dialect, Ending, Mark, Refusal, RequestFacts, ResponseFacts, Shown, Signal, Soft, Surface, Table,
    Usage, text_of,
};
use crate::json::Value;

pub(super) static SURFACE: Surface = Surface {
    serves: |path| path.ends_with("/v1/messages"),
    request: || &REQUEST,
    response: || &RESPONSE,
    event: |_| &EVENT,
    events: || vec![("{}".to_owned(), &EVENT)],
    request_facts,
    note_response,
    signal,
    mark,
    ending: Ending {
        error: |refusal, shown| error_event(refusal, shown).into(),
        in_ok: None,
        soft: Some(Soft { events: |refusal, shown| refusal_events(refusal, shown).into(), document: refusal_document }),
    },
    again: Some(Again { ask: again::ask_messages, address: again::same_address, stream: again_stream }),
    ..Surface::plain("anthropic.messages", Dialect::Anthropic, &["POST /v1/messages"])
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| Table::build(REQUEST_LINES, &[]));

pub(super) const REQUEST_LINES: &[Line] = {
    use Channel::{Metadata, System, ToolArguments, ToolDefinition, ToolName};
    &[
        ("system", text(System)),
        ("system.*.text", text(System)),
        ("model", text(Metadata)),
        ("stream", text(Metadata)),
        ("max_tokens", text(Metadata)),
        ("messages.*.role", text(Metadata)),
        ("messages.*.content.*.type", text(Metadata)),
        ("messages.*.content.*.id", text(Metadata)),
        ("messages.*.content", by_role()),
        ("messages.*.content.*.text", by_role()),
        ("messages.*.content.*.thinking", by_role()),
        ("messages.*.content.*.title", by_role()),
        ("messages.*.content.*.context", by_role()),
        ("messages.*.content.*.name", text(ToolName)),
        ("messages.*.content.*.input", json(ToolArguments)),
        ("messages.*.content.*.source.data", media(When::Type("base64"))),
        ("messages.*.content.*.source.file_id", stored()),
        ("messages.*.content.*.content.*.source.file_id", stored()),
        ("messages.*.content.*.file_id", stored()),
        ("container", stored()),
        ("container.id", stored()),
        ("messages.*.content.*.source.content", by_role()),
        ("messages.*.content.*.source.content.*.text", by_role()),
        ("messages.*.content.*.content", by_role()),
        ("messages.*.content.*.content.*.text", by_role()),
        ("messages.*.content.*.content.*.source.data", media(When::Type("base64"))),
        ("tools.*.name", text(ToolDefinition)),
        ("tools.*.description", text(ToolDefinition)),
        ("tools.*.input_schema", json(ToolDefinition)),
    ]
};

static RESPONSE: LazyLock<Table> = LazyLock::new(|| Table::build(RESPONSE_LINES, &[]));

pub(super) const RESPONSE_LINES: &[Line] = {
    use Channel::{Content, Metadata, Reasoning, ToolArguments, ToolName, ToolResult};
    &[
        ("id", text(Metadata)),
        ("type", text(Metadata)),
        ("role", text(Metadata)),
        ("model", text(Metadata)),
        ("stop_reason", text(Metadata)),
        ("content.*.type", text(Metadata)),
        ("content.*.id", text(Metadata)),
        ("content.*.text", text(Content)),
        ("content.*.thinking", text(Reasoning)),
        ("content.*.name", text(ToolName)),
        ("content.*.input", json(ToolArguments)),
        ("content.*.content", json(ToolResult)),
    ]
};

static EVENT: LazyLock<Table> = LazyLock::new(|| Table::build(EVENT_LINES, &["delta"]));

pub(super) const EVENT_LINES: &[Line] = {
    use Channel::{Content, Metadata, Reasoning, ToolArguments, ToolName, ToolResult};
    &[
        ("type", text(Metadata)),
        ("index", text(Metadata)),
        ("content_block.type", text(Metadata)),
        ("content_block.id", text(Metadata)),
        // What a block begins with is continued by its deltas.
        ("content_block.text", text(Content).streamed("text")),
        ("content_block.thinking", text(Reasoning).streamed("thinking")),
        ("content_block.name", text(ToolName)),
        ("content_block.input", json(ToolArguments)),
        ("content_block.content", json(ToolResult)),
        ("delta.type", text(Metadata)),
        ("delta.text", text(Content).streamed("text")),
        ("delta.thinking", text(Reasoning).streamed("thinking")),
        ("delta.partial_json", json(ToolArguments).streamed("partial_json")),
        ("delta.signature", text(Metadata)),
        ("delta.citation", json(Metadata)),
        ("delta.stop_reason", text(Metadata)),
        // A word of the request's, not of the answer's text.
        ("delta.stop_sequence", text(Metadata)),
        ("delta.stop_details", json(Metadata)),
        ("delta.container", json(Metadata)),
        ("message.content.*.text", text(Content)),
        ("message.content.*.thinking", text(Reasoning)),
    ]
};

fn request_facts(root: Value<'_>, _: Address<'_>) -> RequestFacts {
    let tools = || root.get("tools").into_iter().flat_map(|t| t.children());
    let format = root.at(&["output_config", "format"]).or_else(|| root.get("output_format"));
    let response_schema = format
        .filter(|f| f.get("type").and_then(|t| t.as_str()).as_deref() == Some("json_schema"))
        .and_then(|f| f.get("schema"))
        .map(text_of);
    let mut facts = RequestFacts {
        model: root.get("model").and_then(|m| m.as_str()).unwrap_or_default().into_owned(),
        stream: root.get("stream").and_then(|s| s.as_bool()).unwrap_or(false),
        messages: root.get("messages").map_or(0, |m| m.children().count() as u32),
        tools: tools().filter_map(|t| t.get("name")?.as_str().map(|n| n.into_owned())).collect(),
        response_schema,
        tool_results: root
            .get("messages")
            .into_iter()
            .flat_map(|messages| messages.children())
            .filter_map(|message| message.get("content"))
            .flat_map(|content| content.children())
            .filter_map(|block| Some(block.get("tool_use_id")?.as_str()?.into_owned()))
            .collect(),
        ..RequestFacts::default()
    };
    for tool in tools() {
        facts.note_tool_schema(tool.get("name"), tool.get("input_schema"));
    }
    facts
}

pub(super) fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    // A whole answer is the message; in a stream it stands inside `message_start`.
    let message = root.get("message").unwrap_or(root);
    let text =
        |name: &str| message.get(name).and_then(|v| v.as_str()).filter(|s| !s.is_empty()).map(|s| s.into_owned());
    facts.model = text("model").or(facts.model.take());
    facts.id = text("id").or(facts.id.take());
    let reason = message.get("stop_reason").or_else(|| root.at(&["delta", "stop_reason"]));
    if let Some(reason) = reason.and_then(|r| r.as_str()) {
        facts.finish_reason = Some(reason.into_owned());
    }
    let is_call = |block: &Value<'_>| block.get("type").and_then(|kind| kind.as_str()).as_deref() == Some("tool_use");
    let blocks = message.get("content").into_iter().flat_map(|content| content.children());
    for block in blocks.chain(root.get("content_block")).filter(is_call) {
        facts.note_tool_call(block.get("id"));
    }
    for usage in [message.get("usage"), root.get("usage")].into_iter().flatten() {
        let total = &mut facts.usage;
        Usage::note(&mut total.input, usage.get("input_tokens"));
        Usage::note(&mut total.output, usage.get("output_tokens"));
        Usage::note(&mut total.cached, usage.get("cache_read_input_tokens"));
    }
}

fn signal(root: Value<'_>) -> Signal {
    let index = || root.get("index").and_then(|i| i.as_u64()).map(|i| i.to_string()).unwrap_or_default();
    match root.get("type").and_then(|t| t.as_str()).as_deref() {
        Some("content_block_stop") => Signal::BlockEnd { index: index() },
        Some("message_stop") => Signal::Done,
        _ => Signal::None,
    }
}

pub(super) fn mark(root: Value<'_>) -> Mark {
    let index = || root.get("index").and_then(|i| i.as_u64()).into_iter().collect();
    match root.get("type").and_then(|t| t.as_str()).as_deref() {
        Some("message_start") => Mark { names: true, ..Mark::default() },
        Some("content_block_start") => Mark { opens: index(), ..Mark::default() },
        Some("content_block_stop") => Mark { closes: index(), ..Mark::default() },
        _ => Mark::default(),
    }
}

fn error_event(refusal: &Refusal<'_>, _: &Shown) -> String {
    event("error", &Dialect::Anthropic.error_body(refusal))
}

fn event(name: &str, data: &impl std::fmt::Display) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// The message ends as one that the model itself would not go on with.
fn refusal_events(refusal: &Refusal<'_>, shown: &Shown) -> String {
    let mut out = String::new();
    if shown.is_empty() {
        let message = message(refusal, shown, &Json::Null);
        out += &event("message_start", &json!({"type": "message_start", "message": message}));
    }
    for index in shown.still_open() {
        out += &event("content_block_stop", &json!({"type": "content_block_stop", "index": index}));
    }
    let details = json!({"type": "refusal", "category": null, "explanation": refusal.message});
    let delta = json!({
        "type": "message_delta",
        "delta": {"stop_reason": "refusal", "stop_sequence": null, "stop_details": details},
        "usage": {"output_tokens": shown.usage.output.unwrap_or(0)},
        "clyra": refusal.clyra(),
    });
    out += &event("message_delta", &delta);
    out + &event("message_stop", &json!({"type": "message_stop"}))
}

fn message(refusal: &Refusal<'_>, shown: &Shown, stop_reason: &Json) -> Json {
    json!({
        "id": own_id("msg_", refusal),
        "type": "message",
        "role": "assistant",
        "model": shown.asked_model,
        "content": [],
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    })
}

fn refusal_document(refusal: &Refusal<'_>, shown: &Shown) -> Json {
    let mut document = message(refusal, shown, &"refusal".into());
    if let Some(members) = document.as_object_mut() {
        let details = json!({"type": "refusal", "category": null, "explanation": refusal.message});
        members.insert("stop_details".into(), details);
        members.insert("clyra".into(), refusal.clyra());
    }
    document
}

/// A whole answer of one text as events.
fn again_stream(body: Json, _: Streamed) -> Option<Vec<String>> {
    let [block] = body.get("content")?.as_array()?.as_slice() else { return None };
    let text = (block.get("type")? == "text").then(|| block.get("text")?.as_str())??;
    let of = |name: &str| body.get(name).cloned().unwrap_or(Json::Null);
    let event = |name: &str, data: Json| format!("event: {name}\ndata: {data}\n\n");
    let mut message = body.clone();
    let members = message.as_object_mut()?;
    members.insert("content".into(), json!([]));
    members.insert("stop_reason".into(), Json::Null);
    members.insert("stop_sequence".into(), Json::Null);
    let usage = json!({"output_tokens": body.pointer("/usage/output_tokens").cloned().unwrap_or(0.into())});
    let end = json!({"stop_reason": of("stop_reason"), "stop_sequence": of("stop_sequence")});
    let start = json!({"type": "text", "text": ""});
    let delta = json!({"type": "text_delta", "text": text});
    Some(vec![
        event("message_start", json!({"type": "message_start", "message": message})),
        event("content_block_start", json!({"type": "content_block_start", "index": 0, "content_block": start})),
        event("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": delta})),
        event("content_block_stop", json!({"type": "content_block_stop", "index": 0})),
        event("message_delta", json!({"type": "message_delta", "delta": end, "usage": usage})),
        event("message_stop", json!({"type": "message_stop"})),
    ])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::surface::ending::tests::{asked, data, refusal};

    #[test]
    fn a_refusal_closes_open_blocks_and_the_message() {
        let kinds = |events: &str| -> Vec<String> {
            data(events, "\n").iter().map(|e| format!("{} {}", e["type"].as_str().unwrap(), e["index"])).collect()
        };
        let mut shown = asked("m");
        let events = refusal_events(&refusal(), &shown);
        assert_eq!(kinds(&events), ["message_start null", "message_delta null", "message_stop null"]);
        assert_eq!(data(&events, "\n")[1]["delta"]["stop_reason"], "refusal");

        let start = Bytes::from_static(br#"{"type":"message_start"}"#);
        shown.note(&Mark { names: true, opens: vec![0, 1], closes: vec![0], ..Mark::default() }, Some(&start));
        let events = refusal_events(&refusal(), &shown);
        assert_eq!(kinds(&events), ["content_block_stop 1", "message_delta null", "message_stop null"]);
        assert!(events.starts_with("event: content_block_stop\ndata: "));
    }
}
