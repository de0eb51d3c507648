//! OpenAI chat completions, and the many dialects of it: `POST /v1/chat/completions`.

use std::sync::LazyLock;

use super::table::{When, by_role, json, media, text};
use super::{Channel, Dialect, RequestFacts, ResponseFacts, Signal, Surface, Table, Usage, text_of};
use crate::json::{Kind, Value};

pub(super) static SURFACE: Surface = Surface {
    id: "openai.chat",
    dialect: Dialect::OpenAi,
    path: "/chat/completions",
    request: || &REQUEST,
    response: || &RESPONSE,
    event: || &EVENT,
    request_facts,
    note_response,
    signal,
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Assistant, FunctionCall, Metadata, Reasoning, Refusal, ToolArguments, ToolDefinition, ToolName};
    Table::build(
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
        ],
        &[],
    )
});

static RESPONSE: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, FunctionCall, Logprobs, Metadata, Reasoning, Refusal, ToolArguments, ToolName};
    Table::build(
        &[
            ("id", text(Metadata)),
            ("object", text(Metadata)),
            ("created", text(Metadata)),
            ("model", text(Metadata)),
            ("system_fingerprint", text(Metadata)),
            ("service_tier", text(Metadata)),
            ("choices.*.index", text(Metadata)),
            ("choices.*.finish_reason", text(Metadata)),
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
            ("choices.*.message.audio.data", media(When::Always)),
            ("choices.*.message.tool_calls.*.function.name", text(ToolName)),
            ("choices.*.message.tool_calls.*.function.arguments", json(ToolArguments)),
            ("choices.*.message.tool_calls.*.custom.name", text(ToolName)),
            ("choices.*.message.tool_calls.*.custom.input", json(ToolArguments)),
            ("choices.*.message.function_call.name", text(ToolName)),
            ("choices.*.message.function_call.arguments", json(FunctionCall)),
            ("choices.*.logprobs.content.+.token", text(Logprobs).streamed("content").repeats()),
            ("choices.*.logprobs.refusal.+.token", text(Logprobs).streamed("refusal").repeats()),
        ],
        &[],
    )
});

static EVENT: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, FunctionCall, Logprobs, Metadata, Reasoning, Refusal, ToolArguments, ToolName};
    Table::build(
        &[
            ("id", text(Metadata)),
            ("object", text(Metadata)),
            ("created", text(Metadata)),
            ("model", text(Metadata)),
            ("system_fingerprint", text(Metadata)),
            ("service_tier", text(Metadata)),
            ("choices.*.index", text(Metadata)),
            ("choices.*.finish_reason", text(Metadata)),
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
            ("choices.*.delta.audio.data", media(When::Always)),
            ("choices.*.delta.tool_calls.*.id", text(Metadata)),
            ("choices.*.delta.tool_calls.*.type", text(Metadata)),
            ("choices.*.delta.tool_calls.*.function.name", text(ToolName)),
            ("choices.*.delta.tool_calls.*.function.arguments", json(ToolArguments).streamed("arguments")),
            ("choices.*.delta.tool_calls.*.custom.name", text(ToolName)),
            ("choices.*.delta.tool_calls.*.custom.input", json(ToolArguments).streamed("arguments")),
            ("choices.*.delta.function_call.name", text(ToolName)),
            ("choices.*.delta.function_call.arguments", json(FunctionCall).streamed("arguments")),
            ("choices.*.logprobs.content.+.token", text(Logprobs).streamed("content").repeats()),
            ("choices.*.logprobs.refusal.+.token", text(Logprobs).streamed("refusal").repeats()),
        ],
        &["choices.*.delta"],
    )
});

fn request_facts(root: Value<'_>) -> RequestFacts {
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

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    let text = |name: &str| root.get(name).and_then(|v| v.as_str()).filter(|s| !s.is_empty()).map(|s| s.into_owned());
    facts.model = text("model").or(facts.model.take());
    facts.id = text("id").or(facts.id.take());
    for choice in root.get("choices").into_iter().flat_map(|c| c.children()) {
        if let Some(reason) = choice.get("finish_reason").and_then(|r| r.as_str()) {
            facts.finish_reason = Some(reason.into_owned());
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
