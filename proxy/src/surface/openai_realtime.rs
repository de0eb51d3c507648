//! OpenAI realtime: `GET /v1/realtime`, a session over a WebSocket.
//!
//! Events go both ways, one JSON document a message, and are known by their `type`. An answer (`response.created` to
//! `response.done`) says its texts as a stream of responses does, several times; a transcript of what the user said is a
//! thread of its own. The names of the beta are known besides those of today. Audio is declared, not inspected.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::json;

use super::common::string;
use super::ending::openai_error;
use super::table::{Join, Line, Tokens, When, by_role, json as json_of, media, part, text};
use super::{
    Address, Channel, Dialect, Ending, Live, Refusal, RequestFacts, ResponseFacts, Shown, Signal, Surface, Table,
    Thread, Usage,
};
use crate::json::Value;
use crate::wire::Framing;

pub(super) static SURFACE: Surface = Surface {
    methods: &["GET"],
    serves: |path| path.ends_with("/realtime"),
    framing: Framing::Messages,
    request: || &ASKED,
    event,
    events,
    repeats: true,
    request_facts,
    note_response,
    signal,
    ending: Ending { error: |refusal, shown| error_event(refusal, shown).into(), in_ok: None, soft: None },
    live: Some(Live { thread, cancel: r#"{"type":"response.cancel"}"# }),
    ..Surface::plain("openai.realtime", Dialect::OpenAi, &["GET /v1/realtime", "GET /openai/realtime"])
};

/// What an event is about, the outermost first.
const INDICES: &[&str] = &["output_index", "content_index"];

fn kind(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.get("type").and_then(|kind| kind.as_str())
}

fn event(root: Value<'_>) -> &'static Table {
    kind(root).and_then(|kind| EVENTS.get(kind.as_ref())).unwrap_or(&UNKNOWN)
}

fn events() -> Vec<(String, &'static Table)> {
    let known = EVENTS.iter().map(|(kind, table)| (format!(r#"{{"type":"{kind}"}}"#), table));
    known.chain([(r#"{"type":"unforeseen"}"#.to_owned(), &*UNKNOWN)]).collect()
}

/// Everything that clients say: no two of their events mean different things by one path.
static ASKED: LazyLock<Table> = LazyLock::new(|| {
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

/// Events of one answer carry its id. Transcripts, and whatever nobody foresaw, go by their item. What says neither is taken
/// for the next piece of what came under the same name.
fn thread(root: Value<'_>) -> Option<Thread> {
    let id = root.get("response_id").or_else(|| root.at(&["response", "id"])).and_then(|id| id.as_str());
    if let Some(id) = id {
        return Some(Thread { name: format!("response {id}"), aside: false, once: true });
    }
    let kind = kind(root).unwrap_or_default();
    if kind.starts_with("response.") {
        return Some(Thread { name: "response".into(), aside: false, once: false });
    }
    let is_transcript = kind.starts_with("conversation.item.input_audio_transcription.");
    if !is_transcript && EVENTS.contains_key(kind.as_ref()) {
        return None;
    }
    // One item may have several parts, each with a transcript that ends by itself.
    let part = root.get("content_index").and_then(|index| index.as_u64()).unwrap_or(0);
    match root.get("item_id").and_then(|item| item.as_str()) {
        Some(item) => Some(Thread { name: format!("item {part} {item}"), aside: true, once: true }),
        None if is_transcript => Some(Thread { name: "transcript".into(), aside: true, once: false }),
        None => root.get("delta").map(|_| Thread { name: format!("unforeseen {kind}"), aside: true, once: false }),
    }
}

fn signal(root: Value<'_>) -> Signal {
    match kind(root).as_deref() {
        Some("response.output_item.done") => {
            let index = root.get("output_index").and_then(|i| i.as_u64());
            index.map_or(Signal::None, |index| Signal::BlockEnd { index: index.to_string() })
        }
        Some(
            "response.done"
            | "conversation.item.input_audio_transcription.completed"
            | "conversation.item.input_audio_transcription.failed",
        ) => Signal::Done,
        _ => Signal::None,
    }
}

/// The model that a session is opened for stands in its address; Azure calls it the deployment.
fn request_facts(root: Value<'_>, address: Address<'_>) -> RequestFacts {
    let named = |wanted: &str| address.parameter(wanted).filter(|value| !value.is_empty());
    let mut facts = RequestFacts {
        model: named("model").or_else(|| named("deployment")).unwrap_or_default(),
        stream: true,
        ..RequestFacts::default()
    };
    if let Some(model) = root.at(&["session", "model"]).and_then(|model| model.as_str()) {
        facts.model = model.into_owned();
    }
    for place in ["session", "response"] {
        let tools = root.at(&[place, "tools"]).into_iter().flat_map(|tools| tools.children());
        facts.tools.extend(tools.filter_map(|tool| string(tool, "name").or_else(|| string(tool, "type"))));
    }
    facts.tool_results.extend(
        root.get("item")
            .into_iter()
            .chain(root.at(&["response", "input"]).into_iter().flat_map(|list| list.children()))
            .filter(|item| kind(*item).as_deref() == Some("function_call_output"))
            .filter_map(|item| string(item, "call_id")),
    );
    facts.messages = u32::from(kind(root).as_deref() == Some("conversation.item.create"));
    facts
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    if let Some(model) = root.at(&["session", "model"]).and_then(|model| model.as_str()) {
        facts.model = Some(model.into_owned()).filter(|model| !model.is_empty());
    }
    let response = root.get("response");
    let items = response.and_then(|response| response.get("output")).into_iter().flat_map(|list| list.children());
    for item in items.chain(root.get("item")) {
        if kind(item).as_deref() == Some("function_call") {
            facts.note_tool_call(item.get("call_id"));
        }
    }
    let Some(response) = response else { return };
    facts.id = string(response, "id").or(facts.id.take());
    let reason = match string(response, "status").as_deref() {
        Some("completed") if !facts.tool_calls.is_empty() => Some("tool_calls"),
        Some("completed") => Some("stop"),
        Some("incomplete") => match string_at(response, &["status_details", "reason"]).as_deref() {
            Some("content_filter") => Some("content_filter"),
            _ => Some("length"),
        },
        Some("failed") => Some("error"),
        Some("cancelled") => Some("cancelled"),
        _ => None,
    };
    facts.finish_reason = reason.map(str::to_owned).or(facts.finish_reason.take());
    if let Some(usage) = response.get("usage") {
        let total = &mut facts.usage;
        Usage::note(&mut total.input, usage.get("input_tokens"));
        Usage::note(&mut total.output, usage.get("output_tokens"));
        Usage::note(&mut total.cached, usage.at(&["input_token_details", "cached_tokens"]));
    }
}

fn string_at(value: Value<'_>, path: &[&str]) -> Option<String> {
    Some(value.at(path)?.as_str()?.into_owned())
}

/// The event that the specification has; it names the client's event, where it is about one.
fn error_event(refusal: &Refusal<'_>, shown: &Shown) -> String {
    let about = shown.rpc_id.as_deref().and_then(|id| serde_json::from_str::<serde_json::Value>(id).ok());
    let mut error = openai_error(refusal);
    if let Some(members) = error.as_object_mut() {
        members.insert("event_id".into(), about.unwrap_or_default());
    }
    let id = refusal.request_id.replace('-', "");
    json!({"type": "error", "event_id": format!("event_{id}"), "error": error, "clyra": refusal.clyra()}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Doc, Limits};
    use crate::surface::ending::tests::refusal;
    use crate::surface::{Form, segments};

    fn read<T>(event: &str, of: impl FnOnce(Value<'_>) -> T) -> T {
        let doc = Doc::parse(event.as_bytes(), Limits::default()).unwrap();
        of(doc.root(event.as_bytes()))
    }

    fn seen(table: fn(Value<'_>) -> &'static Table, event: &str) -> Vec<(String, Channel, Form)> {
        read(event, |root| {
            let all = segments(table(root), root)
                .into_iter()
                .filter(|s| s.channel != Channel::Metadata || s.form == Form::Media);
            all.map(|s| (s.pointer, s.channel, s.form)).collect()
        })
    }

    #[test]
    fn what_clients_say_is_read_by_its_place() {
        let asked = |event: &str| seen(|_| &ASKED, event);
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

    #[test]
    fn threads_are_answers_and_transcripts() {
        let of = |event: &str| read(event, thread).map(|thread| thread.name);
        assert_eq!(of(r#"{"type":"response.created","response":{"id":"r"}}"#).as_deref(), Some("response r"));
        assert_eq!(
            of(r#"{"type":"response.text.delta","response_id":"r","item_id":"i"}"#).as_deref(),
            Some("response r")
        );
        let delta = r#"{"type":"conversation.item.input_audio_transcription.delta","item_id":"i","content_index":1}"#;
        assert_eq!(of(delta).as_deref(), Some("item 1 i"));
        assert_eq!(of(r#"{"type":"unforeseen.delta","item_id":"i"}"#).as_deref(), Some("item 0 i"));
        assert_eq!(of(r#"{"type":"response.text.delta","item_id":"i","delta":"x"}"#).as_deref(), Some("response"));
        assert_eq!(of(r#"{"type":"unforeseen","delta":"x"}"#).as_deref(), Some("unforeseen unforeseen"));
        for alone in
            [r#"{"type":"input_audio_buffer.committed","item_id":"i"}"#, r#"{"type":"session.created","session":{}}"#]
        {
            assert_eq!(of(alone), None, "{alone}");
        }
    }

    #[test]
    fn an_answer_says_what_it_was() {
        let mut facts = ResponseFacts::default();
        for event in [
            r#"{"type":"session.created","session":{"model":"gpt-realtime"}}"#,
            r#"{"type":"response.created","response":{"id":"r","status":"in_progress","output":[]}}"#,
            r#"{"type":"response.done","response":{"id":"r","status":"completed","output":[{"type":"function_call","call_id":"c"}],
                "usage":{"input_tokens":3,"output_tokens":5,"input_token_details":{"cached_tokens":1}}}}"#,
        ] {
            read(event, |root| note_response(root, &mut facts));
        }
        assert_eq!((facts.model.as_deref(), facts.id.as_deref()), (Some("gpt-realtime"), Some("r")));
        assert_eq!(
            (facts.finish_reason.as_deref(), &facts.tool_calls[..]),
            (Some("tool_calls"), &["c".to_owned()][..])
        );
        assert_eq!((facts.usage.input, facts.usage.output, facts.usage.cached), (Some(3), Some(5), Some(1)));
    }

    #[test]
    fn the_model_stands_in_the_address() {
        let model = |query| request_facts_of(query).model;
        assert_eq!(model("model=gpt%2Drealtime"), "gpt-realtime");
        assert_eq!(model("api-version=1&deployment=mine"), "mine");
        assert_eq!(model("intent=transcription"), "");
    }

    fn request_facts_of(query: &str) -> RequestFacts {
        read("{}", |root| request_facts(root, Address { path: "/v1/realtime", query: Some(query) }))
    }

    #[test]
    fn an_error_names_the_event_that_it_is_about() {
        let mut shown = Shown::default();
        shown.rpc_id.replace("\"event_7\"".into());
        let event: serde_json::Value = serde_json::from_str(&error_event(&refusal(), &shown)).unwrap();
        assert_eq!((event["type"].as_str(), event["error"]["event_id"].as_str()), (Some("error"), Some("event_7")));
        assert_eq!(event["error"]["code"], "content_policy_violation");
        let none: serde_json::Value = serde_json::from_str(&error_event(&refusal(), &Shown::default())).unwrap();
        assert!(
            none["error"]["event_id"].is_null()
                && none["error"]["param"].is_null()
                && none["clyra"]["rule"].is_string()
        );
    }
}
