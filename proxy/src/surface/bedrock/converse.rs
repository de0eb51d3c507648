//! `POST /model/{model}/converse` and `/converse-stream`.

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::{event, exception};
use crate::json::Value;
use crate::surface::table::{Line, When, by_role, json, media, text};
use crate::surface::{
    Address, Channel, Dialect, Ending, Mark, Refusal, RequestFacts, ResponseFacts, Shown, Signal, Soft, Surface, Table,
    Usage, common, text_of,
};
use crate::wire::Framing;

const STREAMED: &str = "/converse-stream";

pub(in crate::surface) static SURFACE: Surface = Surface {
    serves: |path| path.ends_with("/converse") || path.ends_with(STREAMED),
    framing: Framing::EventStream,
    request: || &REQUEST,
    response: || &RESPONSE,
    event: |_| &EVENT,
    events: || vec![("{}".to_owned(), &EVENT)],
    request_facts,
    note_response,
    signal,
    mark,
    ending: Ending {
        error: exception,
        in_ok: None,
        soft: Some(Soft { events: refusal_events, document: refusal_document }),
    },
    ..Surface::plain(
        "bedrock.converse",
        Dialect::Bedrock,
        &["POST /model/{model}/converse", "POST /model/{model}/converse-stream"],
    )
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, Reasoning, System, ToolResult, User};
    let own: &[Line] = &[
        ("system.*.text", text(System)),
        ("system.*.guardContent.text.text", text(System)),
        ("messages.*.role", text(Metadata)),
        ("messages.*.content.*.text", by_role()),
        ("messages.*.content.*.guardContent.text.text", by_role()),
        ("messages.*.content.*.document.name", by_role()),
        ("messages.*.content.*.document.context", by_role()),
        ("messages.*.content.*.document.source.text", by_role()),
        ("messages.*.content.*.document.source.content.*.text", by_role()),
        ("messages.*.content.*.document.source.bytes", media(When::Always).of(User)),
        ("messages.*.content.*.video.source.bytes", media(When::Always).of(User)),
        ("messages.*.content.*.audio.source.bytes", media(When::Always).of(User)),
        ("messages.*.content.*.reasoningContent.reasoningText.text", text(Reasoning)),
        ("messages.*.content.*.reasoningContent.redactedContent", media(When::Always).of(Reasoning)),
        ("messages.*.content.*.toolUse.toolUseId", text(Metadata)),
        ("messages.*.content.*.toolResult.toolUseId", text(Metadata)),
        ("messages.*.content.*.toolResult.status", text(Metadata)),
        ("messages.*.content.*.toolResult.content.*.searchResult", json(ToolResult)),
        ("messages.*.content.*.toolResult.content.*.document.name", text(ToolResult)),
        ("messages.*.content.*.toolResult.content.*.document.source.text", text(ToolResult)),
        ("messages.*.content.*.toolResult.content.*.document.source.bytes", media(When::Always).of(ToolResult)),
        ("messages.*.content.*.toolResult.content.*.image.source.bytes", media(When::Always).of(ToolResult)),
        ("messages.*.content.*.toolResult.content.*.video.source.bytes", media(When::Always).of(ToolResult)),
    ];
    Table::build(&[REQUESTED, own].concat(), &[])
});

/// Pictures, tools, their calls and results in a request, here and where Amazon's own models are invoked.
pub(super) const REQUESTED: &[Line] = {
    use Channel::{ToolArguments, ToolDefinition, ToolName, ToolResult, User};
    &[
        ("messages.*.content.*.image.source.bytes", media(When::Always).of(User)),
        ("messages.*.content.*.toolUse.name", text(ToolName)),
        ("messages.*.content.*.toolUse.input", json(ToolArguments)),
        ("messages.*.content.*.toolResult.content.*.text", text(ToolResult)),
        ("messages.*.content.*.toolResult.content.*.json", json(ToolResult)),
        ("toolConfig.tools.*.toolSpec.name", text(ToolDefinition)),
        ("toolConfig.tools.*.toolSpec.description", text(ToolDefinition)),
        ("toolConfig.tools.*.toolSpec.inputSchema.json", json(ToolDefinition)),
    ]
};

static RESPONSE: LazyLock<Table> = LazyLock::new(|| Table::build(&[MESSAGE, HEAD].concat(), &[]));

const HEAD: &[Line] = {
    use Channel::Metadata;
    &[
        ("stopReason", text(Metadata)),
        ("usage", json(Metadata)),
        ("metrics", json(Metadata)),
        ("trace", json(Metadata)),
        ("output.message.role", text(Metadata)),
    ]
};

/// The message of an answer, here and where Amazon's own models are invoked.
pub(super) const MESSAGE: &[Line] = {
    use Channel::{Content, Metadata, Reasoning, ToolArguments, ToolName, ToolResult};
    &[
        ("output.message.content.*.text", text(Content)),
        ("output.message.content.*.reasoningContent.reasoningText.text", text(Reasoning)),
        ("output.message.content.*.reasoningContent.reasoningText.signature", text(Metadata)),
        ("output.message.content.*.reasoningContent.redactedContent", media(When::Always).of(Reasoning)),
        ("output.message.content.*.toolUse.name", text(ToolName)),
        ("output.message.content.*.toolUse.toolUseId", text(Metadata)),
        ("output.message.content.*.toolUse.input", json(ToolArguments)),
        ("output.message.content.*.toolResult", json(ToolResult)),
        ("output.message.content.*.citationsContent.content.*.text", text(Content)),
        ("output.message.content.*.citationsContent.citations", json(Metadata)),
        ("output.message.content.*.image.source.bytes", media(When::Always).of(Content)),
    ]
};

static EVENT: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata, Reasoning, ToolArguments, ToolName, ToolResult};
    Table::build(
        &[
            ("role", text(Metadata)),
            ("stopReason", text(Metadata)),
            ("usage", json(Metadata)),
            ("metrics", json(Metadata)),
            ("trace", json(Metadata)),
            // Padding against guesses from the length.
            ("p", text(Metadata)),
            ("start.toolUse.name", text(ToolName)),
            ("start.toolUse.toolUseId", text(Metadata)),
            ("start.toolUse.type", text(Metadata)),
            ("delta.text", text(Content).streamed("text")),
            ("delta.reasoningContent.text", text(Reasoning).streamed("reasoning")),
            ("delta.reasoningContent.signature", text(Metadata)),
            ("delta.reasoningContent.redactedContent", media(When::Always).of(Reasoning)),
            ("delta.toolUse.input", json(ToolArguments).streamed("input")),
            ("delta.toolResult", json(ToolResult)),
            ("delta.citation", json(Metadata)),
        ],
        &["delta"],
    )
    .indexed_by(&["contentBlockIndex"])
});

fn request_facts(root: Value<'_>, address: Address<'_>) -> RequestFacts {
    let list = |path: &[&str]| root.at(path).into_iter().flat_map(|list| list.children()).collect::<Vec<_>>();
    let (messages, tools) = (list(&["messages"]), list(&["toolConfig", "tools"]));
    let format = root.at(&["outputConfig", "textFormat"]);
    // Here the schema is text with JSON inside.
    let schema = format.and_then(|format| format.at(&["structure", "jsonSchema", "schema"]));
    let mut facts = RequestFacts {
        model: address.model(),
        stream: address.ends_with(STREAMED),
        messages: messages.len() as u32,
        tools: tools
            .iter()
            .filter_map(|tool| common::string(tool.get("toolSpec").or_else(|| tool.get("systemTool"))?, "name"))
            .collect(),
        response_schema: schema.map(|schema| schema.as_str().map_or_else(|| text_of(schema), |text| text.into_owned())),
        tool_results: messages
            .iter()
            .filter_map(|message| message.get("content"))
            .flat_map(|content| content.children())
            .filter_map(|block| common::string(block.get("toolResult")?, "toolUseId"))
            .collect(),
        ..RequestFacts::default()
    };
    note_schemas(root, &mut facts);
    facts
}

/// The tools of a request that come with a schema, here and where Amazon's own models are invoked.
pub(super) fn tool_specs<'a>(root: Value<'a>) -> impl Iterator<Item = Value<'a>> {
    let tools = root.at(&["toolConfig", "tools"]).into_iter().flat_map(|tools| tools.children());
    tools.filter_map(|tool| tool.get("toolSpec"))
}

pub(super) fn note_schemas(root: Value<'_>, facts: &mut RequestFacts) {
    for tool in tool_specs(root) {
        facts.note_tool_schema(tool.get("name"), tool.at(&["inputSchema", "json"]));
    }
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    if let Some(reason) = common::string(root, "stopReason") {
        facts.finish_reason = Some(reason);
    }
    let blocks = root.at(&["output", "message", "content"]).into_iter().flat_map(|content| content.children());
    for block in blocks.chain(root.get("start")) {
        facts.note_tool_call(block.at(&["toolUse", "toolUseId"]));
    }
    if let Some(usage) = root.get("usage") {
        let total = &mut facts.usage;
        Usage::note(&mut total.input, usage.get("inputTokens"));
        Usage::note(&mut total.output, usage.get("outputTokens"));
        Usage::note(&mut total.cached, usage.get("cacheReadInputTokens"));
    }
}

fn block_index(root: Value<'_>) -> Option<u64> {
    root.get("contentBlockIndex")?.as_u64()
}

/// What an event is stands in a header of the message; its members tell as well.
fn signal(root: Value<'_>) -> Signal {
    match block_index(root) {
        Some(index) if is_stop(root) => Signal::BlockEnd { index: index.to_string() },
        None if root.get("stopReason").is_some() => Signal::Whole { last: true },
        _ => Signal::None,
    }
}

fn is_stop(root: Value<'_>) -> bool {
    root.get("delta").is_none() && root.get("start").is_none()
}

fn mark(root: Value<'_>) -> Mark {
    let mut mark = Mark { names: root.get("role").is_some(), ..Mark::default() };
    let list = if is_stop(root) { &mut mark.closes } else { &mut mark.opens };
    list.extend(block_index(root));
    mark
}

fn refusal_events(refusal: &Refusal<'_>, shown: &Shown) -> Bytes {
    let mut out = Vec::new();
    if shown.is_empty() {
        out.extend_from_slice(&event("messageStart", &json!({"role": "assistant"})));
    }
    for index in shown.still_open() {
        out.extend_from_slice(&event("contentBlockStop", &json!({"contentBlockIndex": index})));
    }
    out.extend_from_slice(&event("messageStop", &json!({"stopReason": "content_filtered", "clyra": refusal.clyra()})));
    out.extend_from_slice(&event("metadata", &json!({"usage": usage(shown), "metrics": {"latencyMs": 0}})));
    out.into()
}

fn usage(shown: &Shown) -> Json {
    let (input, output) = (shown.usage.input.unwrap_or(0), shown.usage.output.unwrap_or(0));
    json!({"inputTokens": input, "outputTokens": output, "totalTokens": input.saturating_add(output)})
}

fn refusal_document(refusal: &Refusal<'_>, shown: &Shown) -> Json {
    json!({
        "output": {"message": {"role": "assistant", "content": [{"text": refusal.message}]}},
        "stopReason": "content_filtered",
        "usage": usage(shown),
        "metrics": {"latencyMs": 0},
        "clyra": refusal.clyra(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surface::ending::tests::{asked, refusal};

    fn data(bytes: &Bytes) -> Vec<Json> {
        let (mut framer, mut frames) = (Framing::EventStream.framer(), Vec::new());
        framer.feed(bytes, &mut frames).unwrap();
        assert!(framer.finish().unwrap().is_none());
        frames.iter().map(|frame| serde_json::from_slice(frame.data.as_ref().unwrap()).unwrap()).collect()
    }

    #[test]
    fn an_ending_fits_what_was_shown() {
        let fresh = data(&refusal_events(&refusal(), &asked("m")));
        assert_eq!((fresh.len(), &fresh[0]["role"]), (3, &json!("assistant")));
        let mut shown = asked("m");
        shown.note(&Mark { names: true, opens: vec![1], ..Mark::default() }, Some(&Bytes::from_static(b"{}")));
        let open = data(&refusal_events(&refusal(), &shown));
        assert_eq!(open[0], json!({"contentBlockIndex": 1}));
        assert_eq!(open[1]["stopReason"], "content_filtered");
        let error = data(&exception(&refusal(), &shown));
        assert_eq!((&error[0]["message"], &error[0]["clyra"]["rule"]), (&json!("m"), &json!("r")));
    }
}
