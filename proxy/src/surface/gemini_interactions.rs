//! Gemini interactions: `POST /v1beta/interactions`, plain and as server-sent events, and what is kept of them.

use std::sync::LazyLock;

use super::path::ends;
use super::table::{When, by_role, json, media, part, stored, text};
use super::{
    Address, Asks, Channel, Dialect, Ending, Mark, RequestFacts, ResponseFacts, Signal, Surface, Table, Usage, common,
};
use crate::json::{Kind, Value};

pub(super) static SURFACE: Surface = Surface {
    methods: &["POST", "GET", "DELETE"],
    serves: |path| ends(path, &[&["interactions"], &["interactions", "*"], &["interactions", "*", "cancel"]]),
    asks: Asks::Maybe,
    request: || &REQUEST,
    response: || &RESPONSE,
    event: |_| &EVENT,
    events: || vec![("{}".to_owned(), &EVENT)],
    request_facts,
    note_response,
    signal,
    mark: |root| Mark { names: root.get("interaction").is_some(), ..Mark::default() },
    ending: Ending {
        error: |refusal, _| {
            format!(
                "event: error\ndata: {}\n\n",
                Dialect::Gemini.error_body(refusal).replacen('{', "{\"event_type\":\"error\",", 1)
            )
            .into()
        },
        in_ok: None,
        soft: None,
    },
    ..Surface::plain(
        "gemini.interactions",
        Dialect::Gemini,
        &[
            "POST /v1beta/interactions",
            "GET /v1beta/interactions/{id}",
            "DELETE /v1beta/interactions/{id}",
            "POST /v1beta/interactions/{id}/cancel",
        ],
    )
};

static REQUEST: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Metadata, System, ToolArguments, ToolDefinition, ToolResult, User};
    let piece = || {
        Table::build(
            &[
                ("type", text(Metadata)),
                ("role", text(Metadata)),
                ("text", by_role()),
                ("name", text(Metadata)),
                ("data", media(When::Always).of(User)),
                ("mime_type", text(Metadata)),
                ("arguments", json(ToolArguments)),
                ("result", json(ToolResult)),
                ("signature", text(Metadata)),
            ],
            &[],
        )
    };
    Table::build(
        &[
            ("model", text(Metadata)),
            ("agent", text(Metadata)),
            ("previous_interaction_id", stored()),
            ("input", text(User)),
            ("input.*.content", by_role()),
            ("system_instruction", text(System)),
            ("tools.*.name", text(ToolDefinition)),
            ("tools.*.description", text(ToolDefinition)),
            ("tools.*.parameters", json(ToolDefinition)),
        ],
        &[],
    )
    .with("input.*", piece())
    .with("input.*.content.*", piece())
});

/// A step of an answer, or what a stream begins one with.
fn step() -> Table {
    use Channel::{Content, Metadata, ToolArguments, ToolName, ToolResult};
    Table::build(
        &[
            ("type", text(Metadata)),
            ("id", text(Metadata)),
            ("call_id", text(Metadata)),
            ("content.*.type", text(Metadata)),
            ("content.*.text", part()),
            ("content.*.data", media(When::Always).of(Content)),
            ("summary.*.text", text(Channel::Reasoning)),
            ("name", text(ToolName)),
            ("arguments", json(ToolArguments)),
            ("result", json(ToolResult)),
            ("signature", text(Metadata)),
        ],
        &[],
    )
}

fn interaction() -> Table {
    let own = ["id", "object", "model", "agent", "status", "created", "updated", "service_tier"];
    let own: Vec<_> = own.into_iter().map(|name| (name, text(Channel::Metadata))).collect();
    Table::build(&own, &[]).with("steps.*", step()).with("outputs.*", step())
}

static RESPONSE: LazyLock<Table> = LazyLock::new(interaction);

static EVENT: LazyLock<Table> = LazyLock::new(|| {
    use Channel::{Content, Metadata, Reasoning, ToolArguments, ToolName};
    let own = [
        ("event_type", text(Metadata)),
        ("event_id", text(Metadata)),
        ("index", text(Metadata)),
        ("delta.type", text(Metadata)),
        ("delta.text", text(Content).streamed("text")),
        ("delta.content.type", text(Metadata)),
        ("delta.content.text", text(Reasoning).streamed("summary")),
        ("delta.signature", text(Metadata)),
        ("delta.data", media(When::Always).of(Content)),
        ("delta.name", text(ToolName)),
        ("delta.arguments", json(ToolArguments).streamed("arguments")),
        ("delta.partial_arguments", json(ToolArguments).streamed("arguments")),
    ];
    Table::build(&own, &["delta"]).with("step", step()).with("interaction", interaction())
});

fn request_facts(root: Value<'_>, _: Address<'_>) -> RequestFacts {
    let input = root.get("input");
    RequestFacts {
        model: common::string(root, "model").or_else(|| common::string(root, "agent")).unwrap_or_default(),
        stream: root.get("stream").and_then(|s| s.as_bool()).unwrap_or(false),
        messages: input.map_or(0, |i| if i.kind() == Kind::Array { i.children().count() as u32 } else { 1 }),
        tools: root
            .get("tools")
            .into_iter()
            .flat_map(|tools| tools.children())
            .filter_map(|tool| common::string(tool, "name").or_else(|| common::string(tool, "type")))
            .collect(),
        ..RequestFacts::default()
    }
}

fn note_response(root: Value<'_>, facts: &mut ResponseFacts) {
    let root = root.get("interaction").unwrap_or(root);
    facts.model = common::string(root, "model").or(facts.model.take());
    facts.id = common::string(root, "id").or(facts.id.take());
    if let Some(status) = common::string(root, "status").filter(|status| status != "in_progress") {
        facts.finish_reason = Some(status);
    }
    if let Some(usage) = root.get("usage") {
        let total = &mut facts.usage;
        Usage::note(&mut total.input, usage.get("total_input_tokens"));
        Usage::note(&mut total.cached, usage.get("total_cached_tokens"));
        let thoughts = usage.get("total_thought_tokens").or_else(|| usage.get("total_reasoning_tokens"));
        Usage::note(&mut total.reasoning, thoughts);
        // The output is counted without the thoughts that led to it.
        let output = usage.get("total_output_tokens").and_then(|count| count.as_u64());
        let with_thoughts = output.map(|output| output.saturating_add(thoughts.and_then(|t| t.as_u64()).unwrap_or(0)));
        total.output = with_thoughts.max(total.output);
    }
}

fn signal(root: Value<'_>) -> Signal {
    let index = || root.get("index").and_then(|i| i.as_u64()).map(|i| i.to_string()).unwrap_or_default();
    match root.get("event_type").and_then(|t| t.as_str()).as_deref() {
        Some("step.stop") => Signal::BlockEnd { index: index() },
        Some("interaction.completed" | "interaction.complete") => Signal::Whole { last: true },
        _ => Signal::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Doc, Limits};

    #[test]
    fn thoughts_are_part_of_the_output() {
        let answer = r#"{"status":"completed","usage":{"total_input_tokens":10,"total_output_tokens":12,
            "total_cached_tokens":4,"total_thought_tokens":160}}"#;
        let doc = Doc::parse(answer.as_bytes(), Limits::default()).unwrap();
        let mut facts = ResponseFacts::default();
        note_response(doc.root(answer.as_bytes()), &mut facts);
        let usage = Usage { input: Some(10), output: Some(172), cached: Some(4), reasoning: Some(160) };
        assert_eq!(facts.usage, usage);
    }
}
