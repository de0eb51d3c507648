//! `POST /model/{model}/invoke` and `/invoke-with-response-stream`: each maker of models has a format of its own. The table
//! is all of them in one: Anthropic, Amazon (Titan, Nova), Meta, Mistral, Cohere, AI21, DeepSeek and what speaks chat.

use std::sync::LazyLock;

use super::converse::{MESSAGE, REQUESTED, note_schemas, tool_specs};
use super::exception;
use crate::json::Value;
use crate::surface::table::{Line, When, by_role, json, media, text};
use crate::surface::{
    Address, Channel, Dialect, Ending, RequestFacts, ResponseFacts, Signal, Surface, Table, Usage, anthropic_messages,
    common, count, openai_chat,
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
    signal,
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
        // Nova gives each piece of a text a number of its own, and its readers join them; only calls are apart by theirs.
        (
            "contentBlockStart.start.toolUse.name",
            text(ToolName).numbered_by(&["contentBlockStart", "contentBlockIndex"]),
        ),
        ("contentBlockStart.start.toolUse.toolUseId", text(Metadata)),
        ("contentBlockDelta.delta.text", text(Content).streamed("nova")),
        ("contentBlockDelta.delta.reasoningContent.reasoningText.text", text(Reasoning).streamed("nova")),
        ("contentBlockDelta.delta.reasoningContent.text", text(Reasoning).streamed("nova")),
        (
            "contentBlockDelta.delta.toolUse.input",
            json(ToolArguments).streamed("nova").numbered_by(&["contentBlockDelta", "contentBlockIndex"]),
        ),
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

fn signal(root: Value<'_>) -> Signal {
    match root.at(&["contentBlockStop", "contentBlockIndex"]).and_then(|index| index.as_u64()) {
        Some(index) => Signal::BlockEnd { index: index.to_string() },
        None => (anthropic_messages::SURFACE.signal)(root),
    }
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    (anthropic_messages::SURFACE.note_response)(root, facts);
    (openai_chat::SURFACE.note_response)(root, facts);
    facts.note_tool_call(root.at(&["contentBlockStart", "start", "toolUse", "toolUseId"]));
    let blocks = root.at(&["output", "message", "content"]).into_iter().flat_map(|blocks| blocks.children());
    blocks.for_each(|block| facts.note_tool_call(block.at(&["toolUse", "toolUseId"])));
    let each = |name: &str| root.get(name).into_iter().flat_map(|list| list.children());
    let last = |name: &str, path: &[&str]| each(name).last().and_then(|one| one.at(path));
    let reasons = [
        root.get("completionReason"),
        root.get("finish_reason"),
        root.get("stopReason"),
        root.at(&["messageStop", "stopReason"]),
        last("results", &["completionReason"]),
        last("generations", &["finish_reason"]),
        last("completions", &["finishReason", "reason"]),
    ];
    if let Some(reason) = reasons.into_iter().flatten().find_map(|reason| reason.as_str()) {
        facts.finish_reason = Some(reason.into_owned());
    }
    let total = &mut facts.usage;
    let results = each("results").filter_map(|result| count(result.get("tokenCount")?)).reduce(u64::saturating_add);
    total.output = total.output.max(results);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Doc, Limits};

    fn answered(events: &[&str]) -> ResponseFacts {
        let mut facts = ResponseFacts::default();
        for event in events {
            let doc = Doc::parse(event.as_bytes(), Limits::default()).unwrap();
            note_response(doc.root(event.as_bytes()), &mut facts);
        }
        facts
    }

    fn told(event: &str) -> (Option<String>, Option<u64>, Option<u64>) {
        let facts = answered(&[event]);
        (facts.finish_reason, facts.usage.input, facts.usage.output)
    }

    #[test]
    fn each_maker_says_in_its_own_way_why_it_ended_and_how_many_tokens_there_are() {
        let reason = |reason: &str| Some(reason.to_owned());
        let titan = r#"{"inputTextTokenCount":28.0,"results":[{"tokenCount":197.0,"outputText":"","completionReason":"FINISH"}]}"#;
        assert_eq!(told(titan), (reason("FINISH"), Some(28), Some(197)));
        let llama = r#"{"generation":"","prompt_token_count":3,"generation_token_count":4,"stop_reason":"length"}"#;
        assert_eq!(told(llama), (reason("length"), Some(3), Some(4)));
        let command = r#"{"generations":[{"text":"","finish_reason":"MAX_TOKENS"}]}"#;
        assert_eq!(told(command), (reason("MAX_TOKENS"), None, None));
        let jurassic = r#"{"completions":[{"data":{"text":""},"finishReason":{"reason":"endoftext"}}]}"#;
        assert_eq!(told(jurassic), (reason("endoftext"), None, None));
        let nova = r#"{"output":{"message":{"content":[{"toolUse":{"toolUseId":"t"}}]}},"stopReason":"tool_use",
            "usage":{"inputTokens":5,"outputTokens":6}}"#;
        assert_eq!(told(nova), (reason("tool_use"), Some(5), Some(6)));
        assert_eq!(answered(&[nova]).tool_calls, ["t"]);
        let streamed = answered(&[
            r#"{"contentBlockStart":{"start":{"toolUse":{"toolUseId":"t"}},"contentBlockIndex":1}}"#,
            r#"{"messageStop":{"stopReason":"tool_use"}}"#,
            r#"{"metadata":{"usage":{"inputTokens":5,"outputTokens":6}}}"#,
        ]);
        assert_eq!(streamed, ResponseFacts { finish_reason: reason("tool_use"), ..answered(&[nova]) });
    }
}
