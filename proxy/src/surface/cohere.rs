//! Cohere: chat of version 2 (plain and as server-sent events) and of version 1 (plain), embeddings and reranking.

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::json;

use super::path::ends;
use super::table::{Tokens, When, by_role, json, media, text};
use super::{
    Address, Channel, Dialect, Ending, Mark, Refusal, RequestFacts, ResponseFacts, Shown, Signal, Surface, Table,
    Usage, common, text_of,
};
use crate::json::Value;

pub(super) static CHAT: Surface = Surface {
    serves: |path| ends(path, &[&["v2", "chat"], &["v1", "chat"]]),
    request: || &REQUEST,
    response: || &RESPONSE,
    event: |_| &EVENT,
    events: || vec![("{}".to_owned(), &EVENT)],
    request_facts,
    note_response,
    signal,
    mark,
    ending: Ending { error: error_event, in_ok: None, soft: None },
    ..Surface::plain("cohere.chat", Dialect::Cohere, &["POST /v2/chat", "POST /v1/chat"])
};

pub(super) static EMBED: Surface = Surface {
    serves: |path| ends(path, &[&["v2", "embed"], &["v1", "embed"]]),
    request: || &EMBEDDED,
    response: || &VECTORS,
    note_response,
    ..Surface::plain("cohere.embed", Dialect::Cohere, &["POST /v2/embed", "POST /v1/embed"])
};

pub(super) static RERANK: Surface = Surface {
    serves: |path| path.ends_with("/rerank"),
    request: || &RANKED,
    note_response,
    ..Surface::plain("cohere.rerank", Dialect::Cohere, &["POST /v2/rerank", "POST /v1/rerank"])
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, Reasoning, System, ToolArguments, ToolDefinition, ToolName, ToolResult, User};
    Table::build(
        &[
            ("model", text(Metadata)),
            ("message", text(User)),
            ("preamble", text(System)),
            ("chat_history.*.message", by_role()),
            ("documents.*", text(User)),
            ("documents.*.data", json(User)),
            ("messages.*.role", text(Metadata)),
            ("messages.*.content", by_role()),
            ("messages.*.content.*.type", text(Metadata)),
            ("messages.*.content.*.text", by_role()),
            ("messages.*.content.*.thinking", text(Reasoning)),
            ("messages.*.content.*.document", json(ToolResult)),
            ("messages.*.content.*.image_url.url", media(When::DataUrl)),
            ("messages.*.tool_plan", text(Reasoning)),
            ("messages.*.tool_call_id", text(Metadata)),
            ("messages.*.tool_calls.*.function.name", text(ToolName)),
            ("messages.*.tool_calls.*.function.arguments", json(ToolArguments)),
            ("tools.*.type", text(Metadata)),
            ("tools.*.function.name", text(ToolDefinition)),
            ("tools.*.function.description", text(ToolDefinition)),
            ("tools.*.function.parameters", json(ToolDefinition)),
            ("tool_results", json(ToolResult)),
        ],
        &[],
    )
});

static RESPONSE: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata, Reasoning, ToolArguments, ToolName, ToolResult};
    Table::build(
        &[
            ("id", text(Metadata)),
            ("generation_id", text(Metadata)),
            ("response_id", text(Metadata)),
            ("finish_reason", text(Metadata)),
            ("text", text(Content)),
            ("chat_history.*.message", by_role()),
            ("message.role", text(Metadata)),
            ("message.content.*.type", text(Metadata)),
            ("message.content.*.text", text(Content)),
            ("message.content.*.thinking", text(Reasoning)),
            ("message.tool_plan", text(Reasoning)),
            ("message.tool_calls.*.id", text(Metadata)),
            ("message.tool_calls.*.function.name", text(ToolName)),
            ("message.tool_calls.*.function.arguments", json(ToolArguments)),
            ("message.citations", json(ToolResult)),
            ("tool_calls.*.name", text(ToolName)),
            ("tool_calls.*.parameters", json(ToolArguments)),
            ("logprobs.+.text", text(Channel::Logprobs).streamed("tokens").repeats(Tokens::Array)),
        ],
        &[],
    )
});

static EVENT: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata, Reasoning, ToolArguments, ToolName, ToolResult};
    Table::build(
        &[
            ("type", text(Metadata)),
            ("id", text(Metadata)),
            ("index", text(Metadata)),
            ("delta.finish_reason", text(Metadata)),
            ("delta.error", text(Metadata)),
            ("delta.message.role", text(Metadata)),
            ("delta.message.content.type", text(Metadata)),
            ("delta.message.content.text", text(Content).streamed("text")),
            ("delta.message.content.thinking", text(Reasoning).streamed("thinking")),
            ("delta.message.tool_plan", text(Reasoning).streamed("plan")),
            ("delta.message.tool_calls.id", text(Metadata)),
            ("delta.message.tool_calls.type", text(Metadata)),
            ("delta.message.tool_calls.function.name", text(ToolName)),
            ("delta.message.tool_calls.function.arguments", json(ToolArguments).streamed("arguments")),
            ("delta.message.citations", json(ToolResult)),
            ("logprobs.text", text(Channel::Logprobs).streamed("tokens").repeats(Tokens::Object)),
        ],
        &["delta"],
    )
});

static EMBEDDED: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, User};
    Table::build(
        &[
            ("model", text(Metadata)),
            ("texts.*", text(User)),
            ("images.*", media(When::DataUrl).of(User)),
            ("inputs.*.content.*.text", text(User)),
            ("inputs.*.content.*.image_url.url", media(When::DataUrl).of(User)),
        ],
        &[],
    )
});

static VECTORS: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, User};
    let numbers = text(Metadata);
    Table::build(
        &[
            ("id", numbers),
            ("texts.*", text(User)),
            ("embeddings.*.*", numbers),
            ("embeddings.float.*.*", numbers),
            ("embeddings.int8.*.*", numbers),
            ("embeddings.uint8.*.*", numbers),
            ("embeddings.binary.*.*", numbers),
            ("embeddings.ubinary.*.*", numbers),
            ("embeddings.base64.*", media(When::Always).of(Channel::Content)),
        ],
        &[],
    )
});

static RANKED: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, User};
    Table::build(
        &[
            ("model", text(Metadata)),
            ("query", text(User)),
            ("documents.*", text(User)),
            ("documents.*.text", text(User)),
        ],
        &[],
    )
});

fn request_facts(root: Value<'_>, _: Address<'_>) -> RequestFacts {
    let children = |name: &str| root.get(name).into_iter().flat_map(|list| list.children()).collect::<Vec<_>>();
    let (messages, tools) = (children("messages"), children("tools"));
    let format =
        root.get("response_format").filter(|format| common::string(*format, "type").as_deref() == Some("json_object"));
    let schema = format.map(|format| format.get("json_schema").or_else(|| format.get("schema")));
    let mut facts = RequestFacts {
        model: common::string(root, "model").unwrap_or_default(),
        stream: root.get("stream").and_then(|s| s.as_bool()).unwrap_or(false),
        messages: (messages.len() as u32).max(1),
        tools: tools.iter().filter_map(|tool| common::string(tool.get("function").unwrap_or(*tool), "name")).collect(),
        response_schema: schema.map(|schema| schema.map_or_else(|| r#"{"type":"object"}"#.to_owned(), text_of)),
        tool_results: messages.iter().filter_map(|message| common::string(*message, "tool_call_id")).collect(),
        ..RequestFacts::default()
    };
    for function in tools.iter().filter_map(|tool| tool.get("function")) {
        facts.note_tool_schema(function.get("name"), function.get("parameters"));
    }
    facts
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    // In a stream what ends the answer stands inside `delta`.
    let delta = root.get("delta");
    facts.id = common::string(root, "id").or_else(|| common::string(root, "generation_id")).or(facts.id.take());
    let reason = common::string(root, "finish_reason").or_else(|| common::string(delta?, "finish_reason"));
    facts.finish_reason = reason.or(facts.finish_reason.take());
    let calls = [root.at(&["message", "tool_calls"]), delta.and_then(|d| d.at(&["message", "tool_calls"]))];
    for calls in calls.into_iter().flatten() {
        facts.note_tool_call(calls.get("id"));
        calls.children().for_each(|call| facts.note_tool_call(call.get("id")));
    }
    let usage = [root.get("usage"), root.get("meta"), delta.and_then(|d| d.get("usage"))];
    for tokens in
        usage.into_iter().flatten().filter_map(|usage| usage.get("tokens").or_else(|| usage.get("billed_units")))
    {
        Usage::note(&mut facts.usage.input, tokens.get("input_tokens"));
        Usage::note(&mut facts.usage.output, tokens.get("output_tokens"));
    }
}

fn signal(root: Value<'_>) -> Signal {
    let index = || root.get("index").and_then(|i| i.as_u64()).map(|i| i.to_string()).unwrap_or_default();
    match common::string(root, "type").as_deref() {
        Some("content-end" | "tool-call-end") => Signal::BlockEnd { index: index() },
        Some("message-end") => Signal::Done,
        _ => Signal::None,
    }
}

fn mark(root: Value<'_>) -> Mark {
    Mark { names: common::string(root, "type").as_deref() == Some("message-start"), ..Mark::default() }
}

/// The end of a message that could not be finished, as the provider tells of it.
fn error_event(refusal: &Refusal<'_>, _: &Shown) -> Bytes {
    let delta = json!({"error": refusal.message, "finish_reason": "ERROR"});
    let data = json!({"type": "message-end", "delta": delta, "clyra": refusal.clyra()});
    format!("event: message-end\ndata: {data}\n\n").into()
}
