//! `POST /model/{model}/invoke` and `/invoke-with-response-stream`: each maker of models has a format of its own. The table
//! is all of them in one: Anthropic, Amazon (Titan, Nova), Meta, Mistral, Cohere, AI21, DeepSeek and what speaks chat.

use std::sync::LazyLock;

use super::converse::{MESSAGE, REQUESTED, note_schemas, tool_specs};
use super::exception;
use crate::json::Value;
use crate::surface::table::{Line, When, by_role, json, media, text};
use crate::surface::{
    Address, Channel, Dialect, Ending, RequestFacts, ResponseFacts, Surface, Table, Usage, anthropic_messages, common,
    openai_chat,
};
use crate::wire::Framing;

const STREAMED: &str = "/invoke-with-response-stream";

pub(in crate::surface) static SURFACE: Surface = Surface {
    serves: |path| path.contains("/model/") && (path.ends_with("/invoke") || path.ends_with(STREAMED)),
    framing: Framing::EventStream,
    request: || &REQUEST,
    response: || &RESPONSE,
    event: |_| &EVENT,
    events: || vec![("{}".to_owned(), &EVENT)],
    request_facts,
    note_response,
    signal: anthropic_messages::SURFACE.signal,
    mark: anthropic_messages::SURFACE.mark,
    ending: Ending { error: exception, in_ok: None, soft: None },
    ..Surface::plain(
        "bedrock.invoke",
        Dialect::Bedrock,
        &["POST /model/{model}/invoke", "POST /model/{model}/invoke-with-response-stream"],
    )
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    use Channel::User;
    let own: &[Line] = &[
        ("inputText", text(User)),
        ("prompt", text(User)),
        ("message", text(User)),
        ("preamble", text(Channel::System)),
        ("query", text(User)),
        ("chat_history.*.message", by_role()),
        ("documents.*", text(User)),
        ("texts.*", text(User)),
        ("texts", text(User)),
        ("images.*", media(When::DataUrl).of(User)),
        ("inputImage", media(When::Always).of(User)),
        ("singleEmbeddingParams.text.value", text(User)),
    ];
    let lines = [openai_chat::REQUEST_LINES, anthropic_messages::REQUEST_LINES, REQUESTED, own];
    Table::build(&lines.concat(), &[])
});

static RESPONSE: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata, System, User};
    let own: &[Line] = &[
        ("completion", text(Content)),
        ("completions.*.data.text", text(Content)),
        ("completions.*.data.tokens", json(Content)),
        ("prompt", text(User)),
        ("prompt.text", text(User)),
        ("prompt.tokens", json(User)),
        ("generation", text(Content)),
        ("generations.*.text", text(Content)),
        ("outputs.*.text", text(Content)),
        ("outputs.*.stop_reason", text(Metadata)),
        ("results.*.outputText", text(Content)),
        ("results.*.completionReason", text(Metadata)),
        ("text", text(Content)),
        ("texts.*", text(User)),
        ("chat_history.*.message", text(System)),
        ("images.*", media(When::Always).of(Content)),
        ("embedding.*", text(Metadata)),
        ("embeddings.*.*", text(Metadata)),
        ("embeddings.*.embedding.*", text(Metadata)),
        ("embeddings.float.*.*", text(Metadata)),
        ("embeddingsByType.float.*", text(Metadata)),
    ];
    let lines = [openai_chat::SAID, openai_chat::RESPONSE_LINES, anthropic_messages::RESPONSE_LINES, MESSAGE, own];
    Table::build(&lines.concat(), &[])
});

static EVENT: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata, Reasoning, ToolArguments, ToolName};
    let own: &[Line] = &[
        ("completion", text(Content).streamed("completion")),
        ("outputText", text(Content).streamed("output")),
        ("text", text(Content).streamed("plain")),
        ("generation", text(Content).streamed("generation")),
        ("outputs.*.text", text(Content).streamed("outputs")),
        ("generations.*.text", text(Content).streamed("generations")),
        ("completionReason", text(Metadata)),
        ("stop_reason", text(Metadata)),
        ("stop", text(Metadata)),
        ("messageStart.role", text(Metadata)),
        ("messageStop.stopReason", text(Metadata)),
        ("contentBlockStart.start.toolUse.name", text(ToolName)),
        ("contentBlockStart.start.toolUse.toolUseId", text(Metadata)),
        ("contentBlockDelta.delta.text", text(Content).streamed("nova")),
        ("contentBlockDelta.delta.reasoningContent.reasoningText.text", text(Reasoning).streamed("nova")),
        ("contentBlockDelta.delta.reasoningContent.text", text(Reasoning).streamed("nova")),
        ("contentBlockDelta.delta.toolUse.input", json(ToolArguments).streamed("nova")),
        ("amazon-bedrock-invocationMetrics", json(Metadata)),
        ("amazon-bedrock-guardrailAction", text(Metadata)),
    ];
    let lines = [openai_chat::SAID, openai_chat::EVENT_LINES, anthropic_messages::EVENT_LINES, own].concat();
    let unknown = ["delta", "choices.*.delta", "contentBlockDelta.delta"];
    Table::build(&lines, &unknown).indexed_by(&["index"])
});

fn request_facts(root: Value<'_>, address: Address<'_>) -> RequestFacts {
    let facts = (anthropic_messages::SURFACE.request_facts)(root, address);
    let chat = (openai_chat::SURFACE.request_facts)(root, address);
    let mut facts = RequestFacts {
        model: address.model(),
        stream: address.ends_with(STREAMED),
        messages: facts.messages.max(1),
        tools: facts
            .tools
            .into_iter()
            .chain(chat.tools)
            .chain(tool_specs(root).filter_map(|tool| common::string(tool, "name")))
            .collect(),
        response_schema: facts.response_schema.or(chat.response_schema),
        tool_schemas: facts.tool_schemas.into_iter().chain(chat.tool_schemas).collect(),
        tool_schemas_over: facts.tool_schemas_over.saturating_add(chat.tool_schemas_over),
        ..facts
    };
    note_schemas(root, &mut facts);
    facts
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    (anthropic_messages::SURFACE.note_response)(root, facts);
    (openai_chat::SURFACE.note_response)(root, facts);
    let results = root.get("results").into_iter().flat_map(|results| results.children());
    let reasons = [
        root.get("completionReason"),
        root.get("finish_reason"),
        root.get("stopReason"),
        root.at(&["messageStop", "stopReason"]),
        results.last().and_then(|result| result.get("completionReason")),
    ];
    if let Some(reason) = reasons.into_iter().flatten().find_map(|reason| reason.as_str()) {
        facts.finish_reason = Some(reason.into_owned());
    }
    let total = &mut facts.usage;
    Usage::note(&mut total.input, root.get("inputTextTokenCount").or_else(|| root.get("prompt_token_count")));
    Usage::note(
        &mut total.output,
        root.get("generation_token_count").or_else(|| root.get("totalOutputTextTokenCount")),
    );
    if let Some(usage) = root.get("usage").or_else(|| root.at(&["metadata", "usage"])) {
        Usage::note(&mut total.input, usage.get("inputTokens"));
        Usage::note(&mut total.output, usage.get("outputTokens"));
    }
    if let Some(metrics) = root.get("amazon-bedrock-invocationMetrics") {
        Usage::note(&mut total.input, metrics.get("inputTokenCount"));
        Usage::note(&mut total.output, metrics.get("outputTokenCount"));
        Usage::note(&mut total.cached, metrics.get("cacheReadInputTokenCount"));
    }
}
