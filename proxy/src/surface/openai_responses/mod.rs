//! OpenAI responses: `POST /v1/responses`, plain and as the typed events of a stream.
//!
//! A stream says every text up to five times: in pieces, then whole when it is done, when its part is done, when its item is
//! done, and when the answer is. All of them are in the tables, in lanes that fit, so that a text which is said again is
//! known as such and is redacted where its pieces were.

mod again;
mod ending;
mod tables;

use std::borrow::Cow;

use super::{Address, Dialect, RequestFacts, ResponseFacts, Signal, Surface, Table, Usage, text_of};
use crate::json::{Kind, Value};

pub(super) use tables::{asked, kept, kept_item};

pub(super) static SURFACE: Surface = Surface {
    serves: |path| path.ends_with("/responses"),
    request: || &tables::REQUEST,
    response: || &tables::RESPONSE,
    event,
    events: tables::events,
    repeats: true,
    request_facts,
    note_response,
    signal,
    mark: ending::mark,
    ending: ending::ENDING,
    again: Some(again::AGAIN),
    ..Surface::plain("openai.responses", Dialect::OpenAi, &["POST /v1/responses"])
};

/// Clients go by the `type` in the data.
fn event(root: Value<'_>) -> &'static Table {
    let kind = kind(root);
    kind.and_then(|kind| tables::EVENTS.get(kind.as_ref())).unwrap_or(&tables::UNKNOWN)
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
        facts.note_item(item.get("id"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Doc, Limits};

    fn facts(request: &str) -> RequestFacts {
        let doc = Doc::parse(request.as_bytes(), Limits::default()).unwrap();
        request_facts(doc.root(request.as_bytes()), Address { path: "/v1/responses", query: None })
    }

    fn answered(events: &[&str]) -> ResponseFacts {
        let mut facts = ResponseFacts::default();
        for event in events {
            let doc = Doc::parse(event.as_bytes(), Limits::default()).unwrap();
            note_response(doc.root(event.as_bytes()), &mut facts);
        }
        facts
    }

    #[test]
    fn what_is_asked_is_read_from_a_request() {
        let request = r#"{"model":"m","stream":true,"input":[{"role":"user","content":"U"},
            {"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},
            {"type":"function_call_output","call_id":"c1","output":"T"}],
            "tools":[{"type":"function","name":"f","parameters":{"type":"object"}},{"type":"web_search"},
            {"type":"namespace","name":"n","tools":[{"type":"function","name":"g","parameters":true}]}],
            "text":{"format":{"type":"json_schema","name":"s","schema":{"type":"array"}}}}"#;
        let facts = facts(request);
        assert_eq!((facts.model.as_str(), facts.stream, facts.messages), ("m", true, 3));
        assert_eq!(facts.tools, ["f", "web_search", "n", "g"]);
        let schema = |name: &str, schema: &str| (name.to_owned(), schema.to_owned());
        assert_eq!(facts.tool_schemas, [schema("f", r#"{"type":"object"}"#), schema("g", "true")]);
        assert_eq!(facts.tool_results, ["c1"]);
        assert_eq!(facts.response_schema.as_deref(), Some(r#"{"type":"array"}"#));
        assert_eq!(self::facts(r#"{"input":"U"}"#).messages, 1);
        let object = self::facts(r#"{"text":{"format":{"type":"json_object"}}}"#).response_schema;
        assert_eq!(object.as_deref(), Some(r#"{"type":"object"}"#));
        assert_eq!(self::facts(r#"{"text":{"format":{"type":"text"}}}"#).response_schema, None);
    }

    #[test]
    fn an_answer_says_the_same_plain_and_streamed() {
        let response = r#"{"id":"resp_1","model":"gpt","status":"completed","output":[
            {"type":"function_call","call_id":"c1","name":"f","arguments":"{}"}],
            "usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":1},"output_tokens":5,
            "output_tokens_details":{"reasoning_tokens":2}}}"#;
        let plain = answered(&[response]);
        assert_eq!((plain.id.as_deref(), plain.model.as_deref()), (Some("resp_1"), Some("gpt")));
        assert_eq!(
            (plain.finish_reason.as_deref(), &plain.tool_calls[..]),
            (Some("tool_calls"), &["c1".to_owned()][..])
        );
        let usage = Usage { input: Some(3), output: Some(5), cached: Some(1), reasoning: Some(2) };
        assert_eq!(plain.usage, usage);
        let streamed = answered(&[
            r#"{"type":"response.created","response":{"id":"resp_1","model":"gpt","status":"in_progress","output":[]}}"#,
            r#"{"type":"response.output_item.done","item":{"type":"function_call","call_id":"c1"}}"#,
            r#"{"type":"response.output_text.delta","delta":"x"}"#,
            &format!(r#"{{"type":"response.completed","response":{response}}}"#),
        ]);
        assert_eq!(streamed, plain);
    }

    #[test]
    fn reasons_are_in_the_words_of_all_surfaces() {
        let reason = |response: &str| answered(&[response]).finish_reason;
        assert_eq!(reason(r#"{"status":"completed","output":[]}"#).as_deref(), Some("stop"));
        let incomplete =
            |reason: &str| format!(r#"{{"status":"incomplete","incomplete_details":{{"reason":"{reason}"}}}}"#);
        assert_eq!(reason(&incomplete("max_output_tokens")).as_deref(), Some("length"));
        assert_eq!(reason(&incomplete("content_filter")).as_deref(), Some("content_filter"));
        assert_eq!(reason(r#"{"status":"failed"}"#).as_deref(), Some("error"));
        assert_eq!(reason(r#"{"status":"in_progress"}"#), None);
    }
}
