//! Ollama: `POST /api/chat`, `/api/generate` and `/api/embed`. Streams are JSON Lines, and are the default.

use std::sync::LazyLock;

use bytes::Bytes;

use super::path::ends;
use super::table::{When, by_role, json, media, text};
use super::{
    Address, Channel, Dialect, Ending, Mark, Refusal, RequestFacts, ResponseFacts, Shown, Signal, Surface, Table,
    Usage, common, text_of,
};
use crate::json::{Kind, Value};
use crate::wire::Framing;

pub(super) static CHAT: Surface = answering("ollama.chat", &["POST /api/chat"], |path| path.ends_with("/api/chat"));

pub(super) static GENERATE: Surface =
    answering("ollama.generate", &["POST /api/generate"], |path| path.ends_with("/api/generate"));

/// Both take and give the same members.
const fn answering(id: &'static str, routes: &'static [&'static str], serves: fn(&str) -> bool) -> Surface {
    Surface {
        serves,
        framing: Framing::Lines,
        request: || &REQUEST,
        response: || &RESPONSE,
        event: |_| &EVENT,
        events: || vec![("{}".to_owned(), &EVENT)],
        request_facts,
        note_response,
        signal,
        mark,
        ending: Ending { error: error_line, in_ok: None, soft: None },
        ..Surface::plain(id, Dialect::Ollama, routes)
    }
}

pub(super) static EMBED: Surface = Surface {
    serves: |path| path.ends_with("/api/embed") || path.ends_with("/api/embeddings"),
    request: || &REQUEST,
    response: || &VECTORS,
    ..Surface::plain("ollama.embed", Dialect::Ollama, &["POST /api/embed", "POST /api/embeddings"])
};

/// What a client asks about the models that are there.
pub(super) static INFO: Surface = Surface {
    methods: &["GET"],
    serves: |path| ends(path, &[&["api", "tags"], &["api", "ps"], &["api", "version"]]),
    ..Surface::plain("ollama.info", Dialect::Ollama, &["GET /api/tags", "GET /api/ps", "GET /api/version"])
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, Reasoning, System, ToolArguments, ToolDefinition, ToolName, User};
    Table::build(
        &[
            ("model", text(Metadata)),
            ("system", text(System)),
            ("template", text(System)),
            ("prompt", text(User)),
            ("suffix", text(User)),
            ("input", text(User)),
            ("input.*", text(User)),
            ("images.*", media(When::Always).of(User)),
            ("messages.*.role", text(Metadata)),
            ("messages.*.content", by_role()),
            ("messages.*.thinking", text(Reasoning)),
            ("messages.*.images.*", media(When::Always).of(User)),
            ("messages.*.tool_name", text(Metadata)),
            ("messages.*.tool_calls.*.function.name", text(ToolName)),
            ("messages.*.tool_calls.*.function.arguments", json(ToolArguments)),
            ("tools.*.type", text(Metadata)),
            ("tools.*.function.name", text(ToolDefinition)),
            ("tools.*.function.description", text(ToolDefinition)),
            ("tools.*.function.parameters", json(ToolDefinition)),
        ],
        &[],
    )
});

static RESPONSE: LazyLock<Table> = LazyLock::new(|| answer(false));

static EVENT: LazyLock<Table> = LazyLock::new(|| answer(true));

fn answer(streams: bool) -> Table {
    use Channel::{Content, Logprobs, Metadata, Reasoning, ToolArguments, ToolName};
    let piece = |channel: Channel, lane: &'static str| {
        if streams { text(channel).streamed(lane) } else { text(channel) }
    };
    Table::build(
        &[
            ("model", text(Metadata)),
            ("created_at", text(Metadata)),
            ("done_reason", text(Metadata)),
            ("message.role", text(Metadata)),
            ("message.content", piece(Content, "content")),
            ("message.thinking", piece(Reasoning, "thinking")),
            ("response", piece(Content, "response")),
            ("thinking", piece(Reasoning, "thinking")),
            // Numbers: the conversation for the next call.
            ("context.*", text(Metadata)),
            ("message.tool_calls.*.id", text(Metadata)),
            ("message.tool_calls.*.function.name", text(ToolName)),
            ("message.tool_calls.*.function.arguments", json(ToolArguments)),
            ("logprobs.+.token", text(Logprobs).streamed("tokens").repeats(super::table::Tokens::Array)),
        ],
        if streams { &["message"] } else { &[] },
    )
}

static VECTORS: LazyLock<Table> = LazyLock::new(|| {
    let numbers = text(Channel::Metadata);
    Table::build(&[("model", numbers), ("embedding.*", numbers), ("embeddings.*.*", numbers)], &[])
});

fn request_facts(root: Value<'_>, _: Address<'_>) -> RequestFacts {
    let children = |name: &str| root.get(name).into_iter().flat_map(|list| list.children()).collect::<Vec<_>>();
    let (messages, tools) = (children("messages"), children("tools"));
    let mut facts = RequestFacts {
        model: common::string(root, "model").unwrap_or_default(),
        // Without a word about it the answer streams.
        stream: root.get("stream").and_then(|s| s.as_bool()).unwrap_or(true),
        messages: (messages.len() as u32).max(1),
        tools: tools.iter().filter_map(|tool| common::string(tool.get("function")?, "name")).collect(),
        response_schema: root.get("format").and_then(|format| match format.kind() {
            Kind::Object => Some(text_of(format)),
            Kind::String if format.as_str().is_some_and(|text| text == "json") => {
                Some(r#"{"type":"object"}"#.to_owned())
            }
            _ => None,
        }),
        ..RequestFacts::default()
    };
    for function in tools.iter().filter_map(|tool| tool.get("function")) {
        facts.note_tool_schema(function.get("name"), function.get("parameters"));
    }
    facts
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    facts.model = common::string(root, "model").or(facts.model.take());
    if let Some(reason) = common::string(root, "done_reason") {
        facts.finish_reason = Some(reason);
    }
    for call in root.at(&["message", "tool_calls"]).into_iter().flat_map(|calls| calls.children()) {
        facts.note_tool_call(call.get("id"));
    }
    Usage::note(&mut facts.usage.input, root.get("prompt_eval_count"));
    Usage::note(&mut facts.usage.output, root.get("eval_count"));
}

/// Calls are not numbered, but none goes on over lines.
fn signal(root: Value<'_>) -> Signal {
    let done = root.get("done").and_then(|done| done.as_bool()) == Some(true);
    match root.at(&["message", "tool_calls"]) {
        _ if done => Signal::Done,
        Some(_) => Signal::Whole { last: false },
        None => Signal::None,
    }
}

fn mark(root: Value<'_>) -> Mark {
    Mark { names: root.get("model").is_some(), ..Mark::default() }
}

/// Clients raise on any line that has an `error`.
fn error_line(refusal: &Refusal<'_>, _: &Shown) -> Bytes {
    (Dialect::Ollama.error_body(refusal) + "\n").into()
}
