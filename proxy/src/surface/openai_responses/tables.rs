//! The tables of responses: what of a request, of an answer and of each kind of event is text.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::surface::Channel;
use crate::surface::table::{Join, Line, Table, Tokens, When, by_role, json, media, part, stored, text};

/// What an event is about, the outermost first.
const INDICES: &[&str] = &["output_index", "content_index", "summary_index", "command_index"];

pub(super) static REQUEST: LazyLock<Table> = LazyLock::new(request);

/// What a client may put into a conversation: the elements of `input`, under this name.
pub(in crate::surface) fn asked(name: &'static str) -> Table {
    Table::default().with(name, request().below("input"))
}

fn request() -> Table {
    use Channel::{Metadata, Reasoning, Refusal, System, ToolArguments, ToolDefinition, ToolName, ToolResult, User};
    Table::build(
        &[
            ("model", text(Metadata)),
            ("stream", text(Metadata)),
            ("previous_response_id", stored()),
            ("conversation", stored()),
            ("conversation.id", stored()),
            ("prompt.id", stored()),
            ("input.*.id", text(Metadata).reference()),
            ("input.*.content.*.file_id", stored()),
            ("input.*.output.*.file_id", stored()),
            ("tools.*.vector_store_ids.*", stored()),
            ("tools.*.container", stored()),
            ("tools.*.container.file_ids.*", stored()),
            ("include.*", text(Metadata)),
            ("instructions", text(System)),
            ("input", text(User)),
            ("input.*.type", text(Metadata)),
            ("input.*.role", text(Metadata)),
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
}

pub(super) static RESPONSE: LazyLock<Table> = LazyLock::new(|| response(Join::Whole));

/// What a provider has kept: an answer, or a list of items that were asked or answered.
pub(in crate::surface) fn kept() -> Table {
    response(Join::Whole).with("data.*", kept_item())
}

/// An item that was asked or answered, as the provider kept it.
pub(in crate::surface) fn kept_item() -> Table {
    item(Join::Whole, "kept")
}

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

pub(super) static EVENTS: LazyLock<BTreeMap<&'static str, Table>> = LazyLock::new(|| {
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

/// Every kind of event with its table.
pub(super) fn events() -> Vec<(String, &'static Table)> {
    let known = EVENTS.iter().map(|(kind, table)| (format!(r#"{{"type":"{kind}"}}"#), table));
    known.chain([(r#"{"type":"unforeseen"}"#.to_owned(), &*UNKNOWN)]).collect()
}

/// Of an event that is not in the list, what is called `delta` is read as if it continued.
pub(super) static UNKNOWN: LazyLock<Table> = LazyLock::new(|| {
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
