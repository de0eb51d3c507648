//! The events of OpenAI realtime, in both directions: what is text in them, whose it is, and what continues what.
//!
//! The names of the beta are known besides those of today. Audio is declared, not inspected.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::super::table::{Join, Line, Tokens, When, by_role, json as json_of, media, part, text};
use super::super::{Channel, Table};
use super::kind;
use crate::json::Value;

/// What an event is about, the outermost first.
const INDICES: &[&str] = &["output_index", "content_index"];

pub(super) fn event(root: Value<'_>) -> &'static Table {
    kind(root).and_then(|kind| EVENTS.get(kind.as_ref())).unwrap_or(&UNKNOWN)
}

pub(super) fn events() -> Vec<(String, &'static Table)> {
    let known = EVENTS.iter().map(|(kind, table)| (format!(r#"{{"type":"{kind}"}}"#), table));
    known.chain([(r#"{"type":"unforeseen"}"#.to_owned(), &*UNKNOWN)]).collect()
}

/// True of an event of the provider that is in the list.
pub(super) fn is_known(kind: &str) -> bool {
    EVENTS.contains_key(kind)
}

/// Everything that clients say: no two of their events mean different things by one path.
pub(super) static ASKED: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, System, ToolDefinition, User};
    Table::build(
        &[
            ("type", text(Metadata)),
            ("event_id", text(Metadata)),
            ("session.type", text(Metadata)),
            ("session.model", text(Metadata)),
            ("session.instructions", text(System)),
            ("session.tools", json_of(ToolDefinition)),
            ("session.prompt.variables", json_of(User)),
            ("session.input_audio_transcription.prompt", text(System)),
            ("session.audio.input.transcription.prompt", text(System)),
            ("response.instructions", text(System)),
            ("response.tools", json_of(ToolDefinition)),
            ("response.prompt.variables", json_of(User)),
            // Only there: under another event's name the member is looked at.
            ("audio", media(When::Type("input_audio_buffer.append")).of(User)),
        ],
        &[],
    )
    .with("item", asked_item())
    .with("response.input.*", asked_item())
});

fn asked_item() -> Table {
    use Channel::{Metadata, ToolArguments, ToolName, ToolResult};
    Table::build(
        &[
            ("id", text(Metadata)),
            ("type", text(Metadata)),
            ("role", text(Metadata)),
            ("status", text(Metadata)),
            ("call_id", text(Metadata)),
            ("content.*.type", text(Metadata)),
            ("content.*.text", by_role()),
            ("content.*.transcript", by_role()),
            ("content.*.audio", media(When::Type("input_audio"))),
            ("content.*.image_url", media(When::DataUrl)),
            ("name", text(ToolName)),
            ("arguments", json_of(ToolArguments)),
            ("output", text(ToolResult)),
        ],
        &[],
    )
}

/// An item as the provider tells of it.
fn item(join: Join, lane: &'static str) -> Table {
    use Channel::{Metadata, ToolArguments, ToolDefinition, ToolName, ToolResult};
    let whole = if join == Join::Stream { Join::Again } else { join };
    Table::build(
        &[
            ("id", text(Metadata)),
            ("object", text(Metadata)),
            ("type", text(Metadata)),
            ("status", text(Metadata)),
            ("role", text(Metadata)),
            ("phase", text(Metadata)),
            ("call_id", text(Metadata)),
            ("server_label", text(Metadata)),
            ("name", text(ToolName).joined(whole, "name")),
            ("arguments", json_of(ToolArguments).joined(join, "arguments")),
            ("output", json_of(ToolResult).joined(whole, "output")),
            ("error", json_of(ToolResult).joined(whole, "error")),
            ("tools", json_of(ToolDefinition).joined(whole, "item_tools")),
        ],
        &[],
    )
    .with("content.*", content(join, lane))
}

/// A part of a message.
fn content(join: Join, stage: &'static str) -> Table {
    use Channel::{Content, Logprobs, Metadata};
    Table::build(
        &[
            ("type", text(Metadata)),
            ("text", part().joined(join, "text")),
            ("transcript", text(Content).joined(join, "transcript")),
            ("audio", media(When::Always).of(Content)),
            ("image_url", media(When::DataUrl).of(Content)),
            ("logprobs.+.token", text(Logprobs).streamed(stage).repeats(Tokens::Array)),
        ],
        &[],
    )
}

fn response() -> Table {
    use Channel::{Metadata, System, ToolDefinition};
    Table::build(
        &[
            ("id", text(Metadata)),
            ("object", text(Metadata)),
            ("status", text(Metadata)),
            ("conversation_id", text(Metadata)),
            ("status_details", json_of(Metadata)),
            ("usage", json_of(Metadata)),
            ("metadata", json_of(Metadata).again("metadata")),
            ("instructions", text(System).again("instructions")),
            ("tools", json_of(ToolDefinition).again("tools")),
        ],
        &[],
    )
    .with("output.*", item(Join::Again, "response"))
}

static EVENTS: LazyLock<BTreeMap<&'static str, Table>> = LazyLock::new(|| {
    use Channel::{Content, Logprobs, Metadata, System, ToolArguments, ToolDefinition, ToolName, User};
    let tokens = |stage| ("logprobs.+.token", text(Logprobs).streamed(stage).repeats(Tokens::Array));
    let arguments = || json_of(ToolArguments);
    let none: &[Line] = &[];
    let by_lines: &[(&[&'static str], &[Line])] = &[
        (&["response.output_text.delta", "response.text.delta"], &[("delta", text(Content).streamed("text"))]),
        (&["response.output_text.done", "response.text.done"], &[("text", text(Content).again("text"))]),
        (
            &["response.output_audio_transcript.delta", "response.audio_transcript.delta"],
            &[("delta", text(Content).streamed("transcript"))],
        ),
        (
            &["response.output_audio_transcript.done", "response.audio_transcript.done"],
            &[("transcript", text(Content).again("transcript"))],
        ),
        (&["response.output_audio.delta", "response.audio.delta"], &[("delta", media(When::Always).of(Content))]),
        (&["response.output_audio.done", "response.audio.done"], none),
        (
            &["response.function_call_arguments.delta", "response.mcp_call_arguments.delta"],
            &[("delta", arguments().streamed("arguments"))],
        ),
        (
            &["response.function_call_arguments.done", "response.mcp_call_arguments.done"],
            &[("arguments", arguments().again("arguments")), ("name", text(ToolName).again("name"))],
        ),
        (
            &["conversation.item.input_audio_transcription.delta"],
            &[("delta", text(User).streamed("transcript")), tokens("delta")],
        ),
        (
            &["conversation.item.input_audio_transcription.completed"],
            &[("transcript", text(User).again("transcript")), tokens("done")],
        ),
        (&["conversation.item.input_audio_transcription.segment"], &[("text", text(User))]),
        (&["conversation.item.input_audio_transcription.failed", "error"], &[("error", json_of(Metadata))]),
        (
            &["session.created", "session.updated", "transcription_session.created", "transcription_session.updated"],
            &[
                ("session.id", text(Metadata)),
                ("session.model", text(Metadata)),
                ("session.instructions", text(System)),
                ("session.tools", json_of(ToolDefinition)),
                ("session.prompt.variables", json_of(User)),
                ("session.input_audio_transcription.prompt", text(System)),
                ("session.audio.input.transcription.prompt", text(System)),
            ],
        ),
        (
            &[
                "conversation.created",
                "conversation.item.deleted",
                "conversation.item.truncated",
                "input_audio_buffer.committed",
                "input_audio_buffer.cleared",
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.timeout_triggered",
                "output_audio_buffer.started",
                "output_audio_buffer.stopped",
                "output_audio_buffer.cleared",
                "mcp_list_tools.in_progress",
                "mcp_list_tools.completed",
                "mcp_list_tools.failed",
                "rate_limits.updated",
            ],
            none,
        ),
    ];
    let mut events = BTreeMap::new();
    for (kinds, lines) in by_lines {
        events.extend(kinds.iter().map(|kind| (*kind, base(lines))));
    }
    for kind in [
        "conversation.item.created",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.retrieved",
    ] {
        events.insert(kind, base(&[]).with("item", item(Join::Again, "conversation")));
    }
    events.insert("response.output_item.added", base(&[]).with("item", item(Join::Stream, "added")));
    events.insert("response.output_item.done", base(&[]).with("item", item(Join::Again, "item")));
    events.insert("response.content_part.added", base(&[]).with("part", content(Join::Stream, "added")));
    events.insert("response.content_part.done", base(&[]).with("part", content(Join::Again, "part")));
    for kind in ["response.created", "response.done"] {
        events.insert(kind, base(&[]).with("response", response()));
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
    let every = ["type", "event_id", "item_id", "previous_item_id", "response_id", "call_id", "obfuscation"];
    let lines: Vec<Line> =
        every.into_iter().map(|name| (name, text(Channel::Metadata))).chain(lines.iter().copied()).collect();
    Table::build(&lines, stream_unknown_below).indexed_by(INDICES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Doc, Limits};
    use crate::surface::{Form, segments};

    fn asked(event: &str) -> Vec<(String, Channel, Form)> {
        let doc = Doc::parse(event.as_bytes(), Limits::default()).unwrap();
        let all = segments(&ASKED, doc.root(event.as_bytes())).into_iter();
        let told = all.filter(|s| s.channel != Channel::Metadata || s.form == Form::Media);
        told.map(|s| (s.pointer, s.channel, s.form)).collect()
    }

    #[test]
    fn what_clients_say_is_read_by_its_place() {
        let one = |pointer: &str, channel, form| vec![(pointer.to_owned(), channel, form)];
        assert_eq!(
            asked(r#"{"type":"session.update","session":{"instructions":"S"}}"#),
            one("/session/instructions", Channel::System, Form::Text)
        );
        let item = r#"{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"U"}]}}"#;
        assert_eq!(asked(item), one("/item/content/0/text", Channel::User, Form::Text));
        let output =
            r#"{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":"c","output":"T"}}"#;
        assert_eq!(asked(output), one("/item/output", Channel::ToolResult, Form::Text));
        let audio = r#"{"type":"input_audio_buffer.append","audio":"AAAA"}"#;
        assert_eq!(asked(audio), one("/audio", Channel::User, Form::Media));
        // The same member of another event is text.
        assert_eq!(asked(r#"{"type":"x","audio":"AAAA"}"#), one("/audio", Channel::User, Form::Text));
    }
}
