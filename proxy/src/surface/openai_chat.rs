//! OpenAI chat completions, and the many dialects of it: `POST /v1/chat/completions`.

use std::sync::LazyLock;

use super::table::{Line, Tokens, When, by_role, json, media, stored, text};
use serde_json::{Value as Json, json};

use super::again::{self, Again, Streamed};
use super::ending::own_id;
use super::{
    Address, Channel, Choices, Dialect, Ending, Mark, Refusal, RequestFacts, ResponseFacts, Shown, Signal, Soft,
    Surface, Table, Usage, text_of,
};
use crate::json::{Kind, Value};

pub(super) static SURFACE: Surface = Surface {
    serves: |path| path.ends_with("/chat/completions"),
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
    choices: Some(Choices { list: "choices", usage: "usage", in_stream: ended_choice, whole: refused_choice }),
    ..Surface::plain(
        "openai.chat",
        Dialect::OpenAi,
        &["POST /v1/chat/completions", "POST /openai/deployments/{id}/chat/completions"],
    )
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| Table::build(REQUEST_LINES, &[]));

pub(super) const REQUEST_LINES: &[Line] = {
    use Channel::{Assistant, FunctionCall, Metadata, Reasoning, Refusal, ToolArguments, ToolDefinition, ToolName};
    &[
        ("model", text(Metadata)),
        ("stream", text(Metadata)),
        ("messages.*.role", text(Metadata)),
        ("messages.*.content.*.type", text(Metadata)),
        ("messages.*.tool_call_id", text(Metadata)),
        ("messages.*.tool_calls.*.id", text(Metadata)),
        ("messages.*.tool_calls.*.type", text(Metadata)),
        ("tools.*.type", text(Metadata)),
        ("messages.*.content", by_role()),
        ("messages.*.content.*.text", by_role()),
        ("messages.*.content.*.refusal", text(Refusal)),
        ("messages.*.content.*.thinking.*.text", text(Reasoning)),
        ("messages.*.content.*.image_url", media(When::DataUrl)),
        ("messages.*.content.*.image_url.url", media(When::DataUrl)),
        ("messages.*.content.*.input_audio.data", media(When::Always)),
        ("messages.*.content.*.file.file_data", media(When::DataUrl)),
        ("messages.*.content.*.file.file_id", stored()),
        ("messages.*.audio.id", stored()),
        ("messages.*.refusal", text(Refusal)),
        ("messages.*.reasoning", text(Reasoning)),
        ("messages.*.reasoning_content", text(Reasoning)),
        ("messages.*.prefix", text(Assistant)),
        ("messages.*.tool_calls.*.function.name", text(ToolName)),
        ("messages.*.tool_calls.*.function.arguments", json(ToolArguments)),
        ("messages.*.tool_calls.*.custom.name", text(ToolName)),
        ("messages.*.tool_calls.*.custom.input", json(ToolArguments)),
        ("messages.*.function_call.name", text(ToolName)),
        ("messages.*.function_call.arguments", json(FunctionCall)),
        ("tools.*.function.name", text(ToolDefinition)),
        ("tools.*.function.description", text(ToolDefinition)),
        ("tools.*.function.parameters", json(ToolDefinition)),
        ("tools.*.custom.name", text(ToolDefinition)),
        ("tools.*.custom.description", text(ToolDefinition)),
        ("functions.*.name", text(ToolDefinition)),
        ("functions.*.description", text(ToolDefinition)),
        ("functions.*.parameters", json(ToolDefinition)),
    ]
};

/// What stands in an answer and in each event of one alike.
pub(super) const SAID: &[Line] = {
    use Channel::{Logprobs, Metadata};
    &[
        ("id", text(Metadata)),
        ("object", text(Metadata)),
        ("created", text(Metadata)),
        ("model", text(Metadata)),
        ("system_fingerprint", text(Metadata)),
        ("service_tier", text(Metadata)),
        ("choices.*.index", text(Metadata)),
        ("choices.*.finish_reason", text(Metadata)),
        ("choices.*.logprobs.content.+.token", text(Logprobs).streamed("content").repeats(Tokens::Holder)),
        ("choices.*.logprobs.refusal.+.token", text(Logprobs).streamed("refusal").repeats(Tokens::Holder)),
    ]
};

static RESPONSE: LazyLock<Table> = LazyLock::new(|| Table::build(&[SAID, RESPONSE_LINES].concat(), &[]));

/// An answer, beside [`SAID`].
pub(super) const RESPONSE_LINES: &[Line] = {
    use Channel::{Content, FunctionCall, Metadata, Reasoning, Refusal, ToolArguments, ToolName};
    &[
        ("choices.*.message.role", text(Metadata)),
        ("choices.*.text", text(Content)),
        ("choices.*.message.content", text(Content)),
        ("choices.*.message.content.*.text", text(Content)),
        ("choices.*.message.content.*.refusal", text(Refusal)),
        ("choices.*.message.content.*.thinking.*.text", text(Reasoning)),
        ("choices.*.message.reasoning", text(Reasoning)),
        ("choices.*.message.reasoning_content", text(Reasoning)),
        ("choices.*.message.reasoning_details.*.text", text(Reasoning)),
        ("choices.*.message.reasoning_details.*.summary", text(Reasoning)),
        ("choices.*.message.refusal", text(Refusal)),
        ("choices.*.message.audio.transcript", text(Content)),
        ("choices.*.message.audio.data", media(When::Always).of(Content)),
        ("choices.*.message.tool_calls.*.function.name", text(ToolName)),
        ("choices.*.message.tool_calls.*.function.arguments", json(ToolArguments)),
        ("choices.*.message.tool_calls.*.custom.name", text(ToolName)),
        ("choices.*.message.tool_calls.*.custom.input", json(ToolArguments)),
        ("choices.*.message.function_call.name", text(ToolName)),
        ("choices.*.message.function_call.arguments", json(FunctionCall)),
    ]
};

static EVENT: LazyLock<Table> = LazyLock::new(|| Table::build(&[SAID, EVENT_LINES].concat(), &["choices.*.delta"]));

/// An event, beside [`SAID`].
pub(super) const EVENT_LINES: &[Line] = {
    use Channel::{Content, FunctionCall, Metadata, Reasoning, Refusal, ToolArguments, ToolName};
    &[
        ("choices.*.delta.tool_calls.*.index", text(Metadata)),
        ("choices.*.text", text(Content).streamed("text")),
        ("choices.*.delta.role", text(Metadata)),
        ("choices.*.delta.content", text(Content).streamed("content")),
        ("choices.*.delta.content.+.text", text(Content).streamed("content")),
        ("choices.*.delta.content.+.type", text(Metadata)),
        ("choices.*.delta.content.+.thinking.+.text", text(Reasoning).streamed("thinking")),
        ("choices.*.delta.content.+.thinking.+.type", text(Metadata)),
        ("choices.*.delta.reasoning", text(Reasoning).streamed("reasoning")),
        ("choices.*.delta.reasoning_content", text(Reasoning).streamed("reasoning_content")),
        ("choices.*.delta.reasoning_details.*.text", text(Reasoning).streamed("reasoning_details")),
        ("choices.*.delta.reasoning_details.*.summary", text(Reasoning).streamed("reasoning_summary")),
        ("choices.*.delta.reasoning_details.*.type", text(Metadata)),
        ("choices.*.delta.reasoning_details.*.format", text(Metadata)),
        ("choices.*.delta.reasoning_details.*.id", text(Metadata)),
        ("choices.*.delta.reasoning_details.*.data", text(Metadata)),
        ("choices.*.delta.reasoning_details.*.signature", text(Metadata)),
        ("choices.*.delta.refusal", text(Refusal).streamed("refusal")),
        ("choices.*.delta.audio.id", text(Metadata)),
        ("choices.*.delta.audio.transcript", text(Content).streamed("transcript")),
        ("choices.*.delta.audio.data", media(When::Always).of(Content)),
        ("choices.*.delta.tool_calls.*.id", text(Metadata)),
        ("choices.*.delta.tool_calls.*.type", text(Metadata)),
        ("choices.*.delta.tool_calls.*.function.name", text(ToolName)),
        ("choices.*.delta.tool_calls.*.function.arguments", json(ToolArguments).streamed("arguments")),
        ("choices.*.delta.tool_calls.*.custom.name", text(ToolName)),
        ("choices.*.delta.tool_calls.*.custom.input", json(ToolArguments).streamed("arguments")),
        ("choices.*.delta.function_call.name", text(ToolName)),
        ("choices.*.delta.function_call.arguments", json(FunctionCall).streamed("arguments")),
    ]
};

fn request_facts(root: Value<'_>, _: Address<'_>) -> RequestFacts {
    let names = |list: &str, path: &[&str]| -> Vec<String> {
        let tools = root.get(list).into_iter().flat_map(|t| t.children());
        tools.filter_map(|t| t.at(path)?.as_str().map(|n| n.into_owned())).collect()
    };
    let mut tools = names("tools", &["function", "name"]);
    tools.extend(names("tools", &["custom", "name"]));
    tools.extend(names("functions", &["name"]));
    let format = root.get("response_format");
    let response_schema = match format.and_then(|f| f.get("type")).and_then(|t| t.as_str()).as_deref() {
        Some("json_schema") => format.and_then(|f| f.at(&["json_schema", "schema"])).map(text_of),
        Some("json_object") => Some(r#"{"type":"object"}"#.to_owned()),
        _ => None,
    };
    let mut facts = RequestFacts {
        model: root.get("model").and_then(|m| m.as_str()).unwrap_or_default().into_owned(),
        stream: root.get("stream").and_then(|s| s.as_bool()).unwrap_or(false),
        messages: root.get("messages").map_or(0, |m| m.children().count() as u32),
        choices: root.get("n").and_then(|n| n.as_u64()).and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
        tools,
        response_schema,
        tool_results: root
            .get("messages")
            .into_iter()
            .flat_map(|messages| messages.children())
            .filter_map(|message| Some(message.get("tool_call_id")?.as_str()?.into_owned()))
            .collect(),
        ..RequestFacts::default()
    };
    let functions = root.get("tools").into_iter().flat_map(|tools| tools.children()).filter_map(|t| t.get("function"));
    for function in functions.chain(root.get("functions").into_iter().flat_map(|f| f.children())) {
        facts.note_tool_schema(function.get("name"), function.get("parameters"));
    }
    facts
}

pub(super) fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    let text = |name: &str| root.get(name).and_then(|v| v.as_str()).filter(|s| !s.is_empty()).map(|s| s.into_owned());
    facts.model = text("model").or(facts.model.take());
    facts.id = text("id").or(facts.id.take());
    for (position, choice) in root.get("choices").into_iter().flat_map(|c| c.children()).enumerate() {
        if let Some(reason) = choice.get("finish_reason").and_then(|r| r.as_str()) {
            let index = choice.get("index").and_then(|i| i.as_u64()).unwrap_or(position as u64);
            facts.note_reason(index, reason.into_owned());
        }
        for part in ["message", "delta"] {
            for call in choice.at(&[part, "tool_calls"]).into_iter().flat_map(|calls| calls.children()) {
                facts.note_tool_call(call.get("id"));
            }
        }
    }
    if let Some(usage) = root.get("usage").filter(|u| u.kind() == Kind::Object) {
        let total = &mut facts.usage;
        Usage::note(&mut total.input, usage.get("prompt_tokens"));
        Usage::note(&mut total.output, usage.get("completion_tokens"));
        Usage::note(&mut total.cached, usage.at(&["prompt_tokens_details", "cached_tokens"]));
        Usage::note(&mut total.reasoning, usage.at(&["completion_tokens_details", "reasoning_tokens"]));
    }
}

/// Chat has no event that ends a block; `data: [DONE]` is no JSON and is seen by the framing.
fn signal(_: Value<'_>) -> Signal {
    Signal::None
}

pub(super) fn mark(root: Value<'_>) -> Mark {
    let mut mark = Mark { names: root.get("id").is_some(), ..Mark::default() };
    for (position, choice) in root.get("choices").into_iter().flat_map(|c| c.children()).enumerate() {
        let index = choice.get("index").and_then(|i| i.as_u64()).unwrap_or(position as u64);
        let over = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
        if over { mark.closes.push(index) } else { mark.opens.push(index) }
    }
    mark
}

fn error_event(refusal: &Refusal<'_>, _: &Shown) -> String {
    format!("event: error\ndata: {}\n\n", Dialect::OpenAi.error_body(refusal))
}

/// Each choice that is open ends as one that the provider's filter has stopped: no SDK takes that for an error.
fn refusal_events(refusal: &Refusal<'_>, shown: &Shown) -> String {
    let head = shown.head();
    let known = |name: &str, otherwise: Json| head.get(name).cloned().unwrap_or(otherwise);
    let chunk = |choices: Json| {
        json!({
            "id": known("id", own_id("chatcmpl-", refusal).into()),
            "object": "chat.completion.chunk",
            "created": known("created", shown.now_unix_s.into()),
            "model": known("model", shown.asked_model.as_str().into()),
            "choices": choices,
        })
    };
    let mut events = Vec::new();
    let mut open = shown.open();
    if open.is_empty() {
        open.push(0);
        let delta = json!({"role": "assistant", "content": ""});
        events.push(chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}])));
    }
    events.extend(
        open.iter().map(|index| chunk(json!([{"index": index, "delta": {}, "finish_reason": "content_filter"}]))),
    );
    if let Some(members) = events.last_mut().and_then(Json::as_object_mut) {
        members.insert("clyra".into(), refusal.clyra());
    }
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    events + "data: [DONE]\n\n"
}

/// The end of one choice of several. Its role is said once: clients put what comes of it together.
fn ended_choice(index: u64, begun: bool, _: &str) -> Json {
    let delta = if begun { json!({}) } else { json!({"role": "assistant", "content": ""}) };
    json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": "content_filter"})
}

fn refused_choice(index: u64, reason: &str) -> Json {
    let message = json!({"role": "assistant", "content": "", "refusal": reason});
    json!({"index": index, "message": message, "logprobs": null, "finish_reason": "content_filter"})
}

fn refusal_document(refusal: &Refusal<'_>, shown: &Shown) -> Json {
    json!({
        "id": own_id("chatcmpl-", refusal),
        "object": "chat.completion",
        "created": shown.now_unix_s,
        "model": shown.asked_model,
        "choices": [refused_choice(0, refusal.message)],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        "clyra": refusal.clyra(),
    })
}

/// A whole answer of one text as chunks.
fn again_stream(body: Json, _: Streamed) -> Option<Vec<String>> {
    let [choice] = body.get("choices")?.as_array()?.as_slice() else { return None };
    let message = choice.get("message")?.as_object()?;
    let text = message.get("content")?.as_str()?;
    let plain = |(name, value): (&String, &Json)| {
        matches!(name.as_str(), "role" | "content") || value.is_null() || value.as_array().is_some_and(Vec::is_empty)
    };
    if !message.iter().all(plain) {
        return None;
    }
    let of = |name: &str| body.get(name).cloned().unwrap_or(Json::Null);
    let chunk = |choices: Json, usage: Json| {
        let mut chunk = json!({"id": of("id"), "object": "chat.completion.chunk", "created": of("created"),
            "model": of("model"), "choices": choices});
        if let (false, Some(members)) = (usage.is_null(), chunk.as_object_mut()) {
            members.insert("usage".into(), usage);
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Json, reason: Json| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]), Json::Null)
    };
    let mut events = vec![
        delta(json!({"role": "assistant", "content": text}), Json::Null),
        delta(json!({}), choice.get("finish_reason").cloned().unwrap_or(Json::Null)),
    ];
    if !of("usage").is_null() {
        events.push(chunk(json!([]), of("usage")));
    }
    events.push("data: [DONE]\n\n".to_owned());
    Some(events)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::surface::ending::tests::{asked, data, refusal};

    #[test]
    fn a_refusal_ends_every_open_choice() {
        let mut shown = asked("m");
        let events = refusal_events(&refusal(), &shown);
        assert!(events.ends_with("data: [DONE]\n\n"));
        let read = data(&events, "\n");
        assert_eq!(read[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(
            (&read[1]["choices"][0]["finish_reason"], &read[1]["model"]),
            (&json!("content_filter"), &json!("m"))
        );
        assert_eq!(read[1]["clyra"]["rule"], "r");

        let head = Bytes::from_static(br#"{"id":"c1","created":7,"model":"gpt","choices":[]}"#);
        shown.note(&Mark { names: true, opens: vec![0, 1, 2], closes: vec![1], ..Mark::default() }, Some(&head));
        let read = data(&refusal_events(&refusal(), &shown), "\n");
        let ended: Vec<_> = read.iter().map(|e| (e["choices"][0]["index"].as_u64(), e["id"].as_str())).collect();
        assert_eq!(ended, [(Some(0), Some("c1")), (Some(2), Some("c1"))]);
        assert_eq!((read[1]["created"].as_u64(), read[1]["model"].as_str()), (Some(7), Some("gpt")));
    }
}
