//! OpenAI responses: `POST /v1/responses`, plain and as the typed events of a stream.
//!
//! A stream says every text up to five times: in pieces, then whole when it is done, when its part is done, when its item is
//! done, and when the answer is. All of them are in the tables, in lanes that fit, so that a text which is said again is
//! known as such and is redacted where its pieces were.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::table::{Join, Line, Tokens, When, by_role, json, media, part, text};
use serde_json::{Value as Json, json};

use super::ending::{openai_error, own_id};
use super::{
    Address, Channel, Dialect, Ending, Mark, Refusal, RequestFacts, ResponseFacts, Shown, Signal, Surface, Table,
    Usage, text_of,
};
use crate::json::{Kind, Value};

pub(super) static SURFACE: Surface = Surface {
    id: "openai.responses",
    dialect: Dialect::OpenAi,
    serves: |path| path.ends_with("/responses"),
    request: || &REQUEST,
    response: || &RESPONSE,
    event,
    repeats: true,
    request_facts,
    note_response,
    signal,
    mark,
    ending: Ending { error: error_event, refusal: refusal_events, document: refusal_document },
};

/// What an event is about, the outermost first.
const INDICES: &[&str] = &["output_index", "content_index", "summary_index", "command_index"];

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, Reasoning, Refusal, System, ToolArguments, ToolDefinition, ToolName, ToolResult, User};
    Table::build(
        &[
            ("model", text(Metadata)),
            ("stream", text(Metadata)),
            ("previous_response_id", text(Metadata)),
            ("include.*", text(Metadata)),
            ("instructions", text(System)),
            ("input", text(User)),
            ("input.*.type", text(Metadata)),
            ("input.*.role", text(Metadata)),
            ("input.*.id", text(Metadata)),
            ("input.*.call_id", text(Metadata)),
            ("input.*.status", text(Metadata)),
            ("input.*.encrypted_content", text(Metadata)),
            ("input.*.content", by_role()),
            ("input.*.content.*.type", text(Metadata)),
            ("input.*.content.*.text", by_role()),
            ("input.*.content.*.refusal", text(Refusal)),
            ("input.*.content.*.transcript", by_role()),
            ("input.*.content.*.image_url", media(When::DataUrl)),
            ("input.*.content.*.file_data", media(When::DataUrl)),
            ("input.*.content.*.input_audio.data", media(When::Always)),
            ("input.*.summary.*.text", text(Reasoning)),
            ("input.*.summary.*.type", text(Metadata)),
            ("input.*.name", text(ToolName)),
            ("input.*.arguments", json(ToolArguments)),
            ("input.*.input", json(ToolArguments)),
            ("input.*.code", text(ToolArguments)),
            ("input.*.action", json(ToolArguments)),
            ("input.*.operation", json(ToolArguments)),
            ("input.*.queries", json(ToolArguments)),
            ("input.*.output", text(ToolResult)),
            ("input.*.output.*.text", text(ToolResult)),
            ("input.*.output.*.stdout", text(ToolResult)),
            ("input.*.output.*.stderr", text(ToolResult)),
            ("input.*.output.*.type", text(Metadata)),
            ("input.*.output.*.image_url", media(When::DataUrl).of(ToolResult)),
            ("input.*.output.*.file_data", media(When::DataUrl).of(ToolResult)),
            ("input.*.output.image_url", media(When::DataUrl).of(ToolResult)),
            ("input.*.output.type", text(Metadata)),
            ("input.*.outputs", json(ToolResult)),
            ("input.*.results", json(ToolResult)),
            ("input.*.error", json(ToolResult)),
            ("input.*.result", media(When::Type("image_generation_call")).of(ToolResult)),
            ("input.*.tools", json(ToolDefinition)),
            ("prompt.variables.*.text", text(User)),
            ("tools.*.type", text(Metadata)),
            ("tools.*.name", text(ToolDefinition)),
            ("tools.*.description", text(ToolDefinition)),
            ("tools.*.parameters", json(ToolDefinition)),
            ("tools.*.format", json(ToolDefinition)),
            ("tools.*.tools", json(ToolDefinition)),
            ("tools.*.server_description", text(ToolDefinition)),
            ("text", json(Metadata)),
        ],
        &[],
    )
});

static RESPONSE: LazyLock<Table> = LazyLock::new(|| response(Join::Whole));

/// A response object, plain or inside an event.
fn response(join: Join) -> Table {
    use Channel::{Content, Metadata, System, ToolDefinition};
    Table::build(
        &[
            ("id", text(Metadata)),
            ("object", text(Metadata)),
            ("model", text(Metadata)),
            ("status", text(Metadata)),
            ("service_tier", text(Metadata)),
            ("truncation", text(Metadata)),
            ("background", text(Metadata)),
            ("created_at", text(Metadata)),
            ("completed_at", text(Metadata)),
            ("frequency_penalty", text(Metadata)),
            ("presence_penalty", text(Metadata)),
            ("max_output_tokens", text(Metadata)),
            ("max_tool_calls", text(Metadata)),
            ("parallel_tool_calls", text(Metadata)),
            ("previous_response_id", text(Metadata)),
            ("prompt_cache_key", text(Metadata)),
            ("prompt_cache_retention", text(Metadata)),
            ("safety_identifier", text(Metadata)),
            ("store", text(Metadata)),
            ("temperature", text(Metadata)),
            ("top_logprobs", text(Metadata)),
            ("top_p", text(Metadata)),
            ("user", text(Metadata)),
            ("error", json(Metadata)),
            ("incomplete_details", json(Metadata)),
            ("usage", json(Metadata)),
            ("billing", json(Metadata)),
            ("metadata", json(Metadata).joined(join, "metadata")),
            ("reasoning", json(Metadata).joined(join, "reasoning_settings")),
            ("text", json(Metadata).joined(join, "text_settings")),
            ("tool_choice", json(Metadata).joined(join, "tool_choice")),
            // What the request said comes back.
            ("instructions", text(System).joined(join, "instructions")),
            ("tools", json(ToolDefinition).joined(join, "tools")),
            ("output_text", text(Content).joined(join, "output_text")),
        ],
        &[],
    )
    .with("output.*", item(join, "response"))
}

/// An output item. Where `lane` is a stage of the stream, its tokens stand in a lane of their own: the same ones come at
/// each stage.
fn item(join: Join, lane: &'static str) -> Table {
    use Channel::{Content, Metadata, Reasoning, ToolArguments, ToolDefinition, ToolName, ToolResult};
    // Only texts that pieces follow are joined to them; the rest of a new item is whole, and said again when it is done.
    let whole = if join == Join::Stream { Join::Again } else { join };
    Table::build(
        &[
            ("id", text(Metadata)),
            ("type", text(Metadata)),
            ("status", text(Metadata)),
            ("role", text(Metadata)),
            ("phase", text(Metadata)),
            ("call_id", text(Metadata)),
            ("namespace", text(Metadata)),
            ("server_label", text(Metadata)),
            ("execution", text(Metadata)),
            ("encrypted_content", text(Metadata).joined(whole, "encrypted")),
            ("summary.*.type", text(Metadata)),
            ("summary.*.text", text(Reasoning).joined(join, "summary")),
            ("name", text(ToolName).joined(whole, "name")),
            ("arguments", json(ToolArguments).joined(join, "arguments")),
            ("input", json(ToolArguments).joined(join, "input")),
            ("code", text(ToolArguments).joined(join, "code")),
            ("action", json(ToolArguments).joined(whole, "action")),
            ("operation", json(ToolArguments).joined(whole, "operation")),
            ("queries", json(ToolArguments).joined(whole, "queries")),
            ("output", json(ToolResult).joined(whole, "output")),
            ("outputs", json(ToolResult).joined(whole, "outputs")),
            ("results", json(ToolResult).joined(whole, "results")),
            ("error", json(ToolResult).joined(whole, "error")),
            ("result", media(When::Type("image_generation_call")).of(Content)),
            ("revised_prompt", text(Content).joined(whole, "revised_prompt")),
            ("tools", json(ToolDefinition).joined(whole, "item_tools")),
        ],
        &[],
    )
    .with("content.*", content(join, "text", lane))
}

/// A part of a message or of reasoning.
fn content(join: Join, lane: &'static str, stage: &'static str) -> Table {
    use Channel::{Content, Logprobs, Metadata, Refusal};
    let whole = if join == Join::Stream { Join::Again } else { join };
    Table::build(
        &[
            ("type", text(Metadata)),
            ("text", part().joined(join, lane)),
            ("refusal", text(Refusal).joined(join, "refusal")),
            ("transcript", text(Content).joined(join, "transcript")),
            ("annotations", json(Metadata).joined(whole, "annotations")),
            ("logprobs.+.token", text(Logprobs).streamed(stage).repeats(Tokens::Array)),
        ],
        &[],
    )
}

static EVENTS: LazyLock<BTreeMap<&'static str, Table>> = LazyLock::new(|| {
    use Channel::{Content, Logprobs, Metadata, Reasoning, Refusal, ToolArguments, ToolName, ToolResult};
    const ADDED: Join = Join::Stream;
    const DONE: Join = Join::Again;
    let tokens = |stage| ("logprobs.+.token", text(Logprobs).streamed(stage).repeats(Tokens::Array));
    let arguments = || json(ToolArguments);
    let by_lines: &[(&[&'static str], &[Line])] = &[
        (&["response.output_text.delta"], &[("delta", text(Content).streamed("text")), tokens("delta")]),
        (&["response.output_text.done"], &[("text", text(Content).again("text")), tokens("done")]),
        (&["response.refusal.delta"], &[("delta", text(Refusal).streamed("refusal"))]),
        (&["response.refusal.done"], &[("refusal", text(Refusal).again("refusal"))]),
        (&["response.reasoning_text.delta"], &[("delta", text(Reasoning).streamed("text"))]),
        (&["response.reasoning_text.done"], &[("text", text(Reasoning).again("text"))]),
        (&["response.reasoning_summary_text.delta"], &[("delta", text(Reasoning).streamed("summary"))]),
        (&["response.reasoning_summary_text.done"], &[("text", text(Reasoning).again("summary"))]),
        (
            &[
                "response.function_call_arguments.delta",
                "response.mcp_call_arguments.delta",
                "response.mcp_call.arguments.delta",
            ],
            &[("delta", arguments().streamed("arguments"))],
        ),
        (
            &[
                "response.function_call_arguments.done",
                "response.mcp_call_arguments.done",
                "response.mcp_call.arguments.done",
            ],
            &[("arguments", arguments().again("arguments")), ("name", text(ToolName).again("name"))],
        ),
        (&["response.custom_tool_call_input.delta"], &[("delta", arguments().streamed("input"))]),
        (&["response.custom_tool_call_input.done"], &[("input", arguments().again("input"))]),
        (&["response.code_interpreter_call_code.delta"], &[("delta", text(ToolArguments).streamed("code"))]),
        (&["response.code_interpreter_call_code.done"], &[("code", text(ToolArguments).again("code"))]),
        (&["response.shell_call_command.added"], &[("command", text(ToolArguments).streamed("command"))]),
        (&["response.shell_call_command.delta"], &[("delta", text(ToolArguments).streamed("command"))]),
        (&["response.shell_call_command.done"], &[("command", text(ToolArguments).again("command"))]),
        (&["response.apply_patch_call_operation_diff.delta"], &[("delta", text(ToolArguments).streamed("diff"))]),
        (&["response.apply_patch_call_operation_diff.done"], &[("diff", text(ToolArguments).again("diff"))]),
        (
            &["response.shell_call_output_content.delta"],
            &[
                ("delta.stdout", text(ToolResult).streamed("stdout")),
                ("delta.stderr", text(ToolResult).streamed("stderr")),
            ],
        ),
        (&["response.shell_call_output_content.done"], &[("output", json(ToolResult))]),
        (&["response.audio.delta"], &[("delta", media(When::Always).of(Content))]),
        (&["response.audio.transcript.delta"], &[("delta", text(Content).streamed("transcript"))]),
        (&["response.image_generation_call.partial_image"], &[("partial_image_b64", media(When::Always).of(Content))]),
        (&["response.output_text.annotation.added"], &[("annotation", json(Metadata))]),
        (&["error"], &[("code", text(Metadata)), ("message", text(Metadata)), ("param", text(Metadata))]),
    ];
    let mut events = BTreeMap::new();
    for (kinds, lines) in by_lines {
        events.extend(kinds.iter().map(|kind| (*kind, base(lines))));
    }
    for (kind, join, stage) in
        [("response.output_item.added", ADDED, "added"), ("response.output_item.done", DONE, "item")]
    {
        events.insert(kind, base(&[]).with("item", item(join, stage)));
    }
    for (kind, join, lane, stage) in [
        ("response.content_part.added", ADDED, "text", "added"),
        ("response.content_part.done", DONE, "text", "part"),
        ("response.reasoning_part.added", ADDED, "text", "added"),
        ("response.reasoning_part.done", DONE, "text", "part"),
        ("response.reasoning_summary_part.added", ADDED, "summary", "added"),
        ("response.reasoning_summary_part.done", DONE, "summary", "part"),
    ] {
        events.insert(kind, base(&[]).with("part", content(join, lane, stage)));
    }
    for kind in [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ] {
        events.insert(kind, base(&[]).with("response", response(DONE)));
    }
    events
});

/// Of an event that is not in the list, what is called `delta` is read as if it continued.
static UNKNOWN: LazyLock<Table> = LazyLock::new(|| {
    let delta = ("delta", text(Channel::Metadata).streamed("delta").typed());
    build(&[delta], &["delta"])
});

fn base(lines: &[Line]) -> Table {
    build(lines, &[])
}

fn build(lines: &[Line], stream_unknown_below: &[&'static str]) -> Table {
    let every = ["type", "item_id", "sequence_number", "obfuscation", "output_index", "content_index", "summary_index"];
    let every = every.into_iter().chain(["command_index", "annotation_index", "partial_image_index"]);
    let lines: Vec<Line> = every.map(|name| (name, text(Channel::Metadata))).chain(lines.iter().copied()).collect();
    Table::build(&lines, stream_unknown_below).indexed_by(INDICES)
}

/// Clients go by the `type` in the data.
fn event(root: Value<'_>) -> &'static Table {
    let kind = kind(root);
    kind.and_then(|kind| EVENTS.get(kind.as_ref())).unwrap_or(&UNKNOWN)
}

fn kind(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.get("type").and_then(|kind| kind.as_str())
}

fn children<'a>(value: Value<'a>, name: &str) -> impl Iterator<Item = Value<'a>> + use<'a> {
    value.get(name).into_iter().flat_map(|list| list.children())
}

fn string(value: Value<'_>, name: &str) -> Option<String> {
    Some(value.get(name)?.as_str()?.into_owned())
}

fn request_facts(root: Value<'_>, _: Address<'_>) -> RequestFacts {
    let input = root.get("input");
    let items = || input.into_iter().flat_map(|input| input.children());
    let format = root.at(&["text", "format"]);
    let response_schema = match format.and_then(kind).as_deref() {
        Some("json_schema") => format.and_then(|f| f.get("schema")).map(text_of),
        Some("json_object") => Some(r#"{"type":"object"}"#.to_owned()),
        _ => None,
    };
    let mut facts = RequestFacts {
        model: string(root, "model").unwrap_or_default(),
        stream: root.get("stream").and_then(|s| s.as_bool()).unwrap_or(false),
        messages: if input.is_some_and(|i| i.kind() == Kind::String) { 1 } else { items().count() as u32 },
        response_schema,
        // Only results have an id and no call of their own.
        tool_results: items()
            .filter(|item| kind(*item).is_some_and(|kind| kind.ends_with("_output")))
            .filter_map(|item| string(item, "call_id"))
            .collect(),
        ..RequestFacts::default()
    };
    for tool in children(root, "tools") {
        // A namespace is a list of tools; what the provider runs itself has no name but its type.
        for tool in std::iter::once(tool).chain(children(tool, "tools")) {
            facts.tools.extend(string(tool, "name").or_else(|| string(tool, "type")));
            facts.note_tool_schema(tool.get("name"), tool.get("parameters"));
        }
    }
    facts
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    // A whole answer is the response; in a stream it stands inside the events that begin and end it.
    let streamed = kind(root).is_some();
    let response = if streamed { root.get("response") } else { Some(root) };
    let items = response.into_iter().flat_map(|response| children(response, "output"));
    for item in items.chain(root.get("item").filter(|_| streamed)) {
        if is_call(item) {
            facts.note_tool_call(item.get("call_id"));
        }
    }
    let Some(response) = response else { return };
    facts.model = string(response, "model").filter(|m| !m.is_empty()).or(facts.model.take());
    facts.id = string(response, "id").filter(|i| !i.is_empty()).or(facts.id.take());
    let reason = match finish_reason(response) {
        Some("stop") if !facts.tool_calls.is_empty() => Some("tool_calls"),
        reason => reason,
    };
    facts.finish_reason = reason.map(str::to_owned).or(facts.finish_reason.take());
    if let Some(usage) = response.get("usage") {
        let total = &mut facts.usage;
        Usage::note(&mut total.input, usage.get("input_tokens"));
        Usage::note(&mut total.output, usage.get("output_tokens"));
        Usage::note(&mut total.cached, usage.at(&["input_tokens_details", "cached_tokens"]));
        Usage::note(&mut total.reasoning, usage.at(&["output_tokens_details", "reasoning_tokens"]));
    }
}

/// A call that the application is to carry out.
fn is_call(item: Value<'_>) -> bool {
    matches!(
        kind(item).as_deref(),
        Some(
            "function_call"
                | "custom_tool_call"
                | "local_shell_call"
                | "shell_call"
                | "apply_patch_call"
                | "computer_call"
        )
    )
}

/// Why the answer ended, in the words of chat.
fn finish_reason(response: Value<'_>) -> Option<&'static str> {
    match response.get("status")?.as_str()?.as_ref() {
        "completed" => Some("stop"),
        "incomplete" => match response.at(&["incomplete_details", "reason"]).and_then(|r| r.as_str()).as_deref() {
            Some("content_filter") => Some("content_filter"),
            _ => Some("length"),
        },
        "failed" => Some("error"),
        "cancelled" => Some("cancelled"),
        _ => None,
    }
}

fn signal(root: Value<'_>) -> Signal {
    match kind(root).as_deref() {
        Some("response.output_item.done") => {
            let index = root.get("output_index").and_then(|i| i.as_u64());
            index.map_or(Signal::None, |index| Signal::BlockEnd { index: index.to_string() })
        }
        Some("response.completed" | "response.incomplete" | "response.failed" | "error") => Signal::Done,
        _ => Signal::None,
    }
}

fn mark(root: Value<'_>) -> Mark {
    let kind = kind(root);
    let done = kind.as_deref() == Some("response.output_item.done");
    Mark {
        names: matches!(kind.as_deref(), Some("response.created" | "response.queued" | "response.in_progress")),
        item: root.get("output_index").filter(|_| done).and_then(|i| i.as_u64()),
        sequence: root.get("sequence_number").and_then(|n| n.as_u64()),
        ..Mark::default()
    }
}

fn stream_event(kind: &str, data: &Json) -> String {
    format!("event: {kind}\ndata: {data}\n\n")
}

/// The event that the specification has, with the member `error` besides: by it SDKs raise an exception, while those that
/// check types find all that belongs there.
fn error_event(refusal: &Refusal<'_>, shown: &Shown) -> String {
    let data = json!({
        "type": "error",
        "sequence_number": shown.next_sequence(),
        "code": refusal.code,
        "message": refusal.message,
        "param": null,
        "error": openai_error(refusal),
        "clyra": refusal.clyra(),
    });
    stream_event("error", &data)
}

/// The response ends incomplete, as one that the provider's filter has stopped.
fn refusal_events(refusal: &Refusal<'_>, shown: &Shown) -> String {
    let mut out = String::new();
    let mut next = shown.next_sequence();
    let mut response = shown.head().get_mut("response").map(Json::take).unwrap_or_default();
    if !response.is_object() {
        response = skeleton(refusal, shown, "in_progress");
        let created = json!({"type": "response.created", "sequence_number": next, "response": response});
        out += &stream_event("response.created", &created);
        next = next.saturating_add(1);
    }
    let output: Vec<Json> = shown.items().filter_map(|mut event| Some(event.get_mut("item")?.take())).collect();
    if let Some(members) = response.as_object_mut() {
        members.insert("status".into(), "incomplete".into());
        members.insert("incomplete_details".into(), json!({"reason": "content_filter"}));
        members.insert("output".into(), output.into());
    }
    let incomplete = json!({
        "type": "response.incomplete",
        "sequence_number": next,
        "response": response,
        "clyra": refusal.clyra(),
    });
    out + &stream_event("response.incomplete", &incomplete)
}

fn skeleton(refusal: &Refusal<'_>, shown: &Shown, status: &str) -> Json {
    json!({
        "id": own_id("resp_", refusal),
        "object": "response",
        "created_at": shown.now_unix_s,
        "status": status,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "metadata": {},
        "model": shown.asked_model,
        "output": [],
        "parallel_tool_calls": true,
        "temperature": null,
        "tool_choice": "auto",
        "tools": [],
        "top_p": null,
        "usage": null,
    })
}

fn refusal_document(refusal: &Refusal<'_>, shown: &Shown) -> Json {
    let mut document = skeleton(refusal, shown, "incomplete");
    if let Some(members) = document.as_object_mut() {
        members.insert("incomplete_details".into(), json!({"reason": "content_filter"}));
        members.insert("clyra".into(), refusal.clyra());
    }
    document
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::surface::ending::tests::{asked, data, refusal};

    #[test]
    fn an_error_goes_on_counting_and_is_one_to_every_sdk() {
        let mut shown = Shown::default();
        shown.note(&Mark { sequence: Some(41), ..Mark::default() }, None);
        let event = error_event(&refusal(), &shown);
        assert!(event.starts_with("event: error\ndata: {\"type\":\"error\""), "{event}");
        let data = &data(&event, "\n")[0];
        assert_eq!(
            (data["sequence_number"].as_u64(), data["code"].as_str()),
            (Some(42), Some("content_policy_violation"))
        );
        assert_eq!(data["error"]["code"], data["code"]);
    }

    #[test]
    fn a_refusal_is_the_same_response_incomplete() {
        let mut shown = asked("m");
        let read = data(&refusal_events(&refusal(), &shown), "\n");
        let kinds: Vec<_> = read.iter().map(|e| (e["type"].as_str().unwrap(), e["sequence_number"].as_u64())).collect();
        assert_eq!(kinds, [("response.created", Some(0)), ("response.incomplete", Some(1))]);
        assert_eq!(read[0]["response"]["id"], read[1]["response"]["id"]);

        let created = Bytes::from_static(br#"{"response":{"id":"resp_1","status":"in_progress","output":[],"x":1}}"#);
        shown.note(&Mark { names: true, sequence: Some(0), ..Mark::default() }, Some(&created));
        let item = Bytes::from_static(br#"{"item":{"id":"i"}}"#);
        shown.note(&Mark { item: Some(0), sequence: Some(5), ..Mark::default() }, Some(&item));
        let read = data(&refusal_events(&refusal(), &shown), "\n");
        let response = json!({"id": "resp_1", "status": "incomplete", "output": [{"id": "i"}], "x": 1,
            "incomplete_details": {"reason": "content_filter"}});
        assert_eq!((read.len(), &read[0]["response"], read[0]["sequence_number"].as_u64()), (1, &response, Some(6)));
    }
}
